package crilog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// tailWindow bounds how much of a log's end Tail reads: room for lines far longer
// than anybody asks for.
const tailWindow = 1 << 20

// Tail returns the last output of a container from its log file: at most so many
// lines and bytes, both streams as they came, without timestamps. Lines that are no
// entries of a log are left out; a file that does not exist has no output. It reads no
// more than the last MiB, once, and does not follow the log over rotations.
func Tail(path string, lines, limit int) (string, error) {
	window, err := lastBytes(path, tailWindow)
	if err != nil {
		return "", err
	}
	text := lastLines(output(window), lines)
	if len(text) > limit {
		text = text[len(text)-limit:]
	}
	return string(text), nil
}

func lastBytes(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read end of log: %w", err)
	}
	defer func() { _ = file.Close() }()
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("read end of log %s: %w", path, err)
	}
	content := make([]byte, min(end, limit))
	if _, err := file.ReadAt(content, end-int64(len(content))); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read end of log %s: %w", path, err)
	}
	return content, nil
}

// output joins the text of the entries.
func output(entries []byte) []byte {
	var text []byte
	for line := range bytes.Lines(entries) {
		if part, ok := parseEntry(line); ok {
			text = append(text, part.text...)
		}
	}
	return text
}

// lastLines keeps the end of a text. What follows the last newline is a line.
func lastLines(text []byte, lines int) []byte {
	if lines <= 0 {
		return nil
	}
	all := slices.Collect(bytes.Lines(text))
	if len(all) <= lines {
		return text
	}
	return bytes.Join(all[len(all)-lines:], nil)
}
