package crilog

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A file that was rotated away has the name of the log, a dot and the time, as the
// kubelet has it, and one more ending when it is compressed.
const (
	rotationFormat   = "20060102-150405"
	compressedSuffix = ".gz"
	temporarySuffix  = ".tmp"
)

// rotatedName is the name of a log that is rotated away at a time: a later one than
// those before, also if the clock was set back, as the names tell the order.
func rotatedName(path string, at time.Time) string {
	at = at.UTC().Truncate(time.Second)
	if files := rotated(path); len(files) > 0 {
		if last, _ := rotationTime(path, files[len(files)-1]); !at.After(last) {
			at = last.Add(time.Second)
		}
	}
	return path + "." + at.Format(rotationFormat)
}

// rotationTime is when a file was rotated away, by its name.
func rotationTime(path, file string) (time.Time, error) {
	return time.Parse(rotationFormat, strings.TrimPrefix(strings.TrimSuffix(file, compressedSuffix), path+"."))
}

// rotated returns what was rotated away of a log, the oldest first, each time once:
// a file that is being compressed is there in both forms for a moment, and the one
// that is whole is the plain one.
func rotated(path string) []string {
	var files []string
	for _, file := range relatives(path) {
		plain, compressed := strings.CutSuffix(file, compressedSuffix)
		switch _, err := rotationTime(path, file); {
		case err != nil:
		case compressed && slices.Contains(files, plain):
		default:
			files = append(files, file)
		}
	}
	return files
}

// relatives returns the files that have the name of a log and more after a dot, in
// the order of their names.
func relatives(path string) []string {
	dir, name := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return nil
	}
	var files []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), name+".") && entry.Type().IsRegular() {
			files = append(files, filepath.Join(dir, entry.Name()))
		}
	}
	return files
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
