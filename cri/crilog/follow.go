package crilog

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// How often a log that is followed is looked at: soon after something came, and less
// and less often when nothing does.
const (
	firstLook = 50 * time.Millisecond
	lastLook  = 500 * time.Millisecond
	// askEvery is how often Running is asked.
	askEvery = time.Second
)

// follow gives what is written from now on. It polls: notifications are lost on some
// file systems, and a log is looked at for as long as a person does.
func (r *reader) follow(ctx context.Context) error {
	for pause := firstLook; ; {
		ended := r.ended(ctx) // asked before the last look, so that nothing is left
		read := r.last
		if err := r.drain(ctx, ended); err != nil {
			return err
		}
		moved, err := r.advance(ctx, ended)
		if err != nil {
			return err
		}
		if ended && !moved {
			return nil
		}
		switch {
		case moved:
			continue
		case r.last != read:
			pause = firstLook
		default:
			pause = min(2*pause, lastLook)
		}
		wait(ctx, pause)
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// ended reports whether the container is known to write no more.
func (r *reader) ended(ctx context.Context) bool {
	if r.opts.Running == nil || time.Since(r.asked) < askEvery {
		return false
	}
	r.asked = time.Now()
	running, err := r.opts.Running(ctx)
	return err == nil && !running && ctx.Err() == nil
}

// advance goes over to the next file of the log if this one was rotated away and
// read to its end, and reports whether it did.
func (r *reader) advance(ctx context.Context, ended bool) (bool, error) {
	following, err := r.openNext()
	if err != nil || following.file == nil {
		return false, err
	}
	// The runtime may have been writing when the new file came: once more, and then
	// nobody writes to this one.
	if !ended {
		wait(ctx, firstLook)
	}
	if err := r.drain(ctx, true); err != nil {
		following.close()
		return false, err
	}
	r.close()
	r.source, r.part, r.skip = following, nil, false
	return true, nil
}

// openNext opens the file that follows the one that is open, if there is one and it
// can be had: what has its name may be another one already, if it was rotated away
// too. Then it is looked for again later.
func (r *reader) openNext() (source, error) {
	path := r.next()
	if path == "" {
		return source{}, nil
	}
	following, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return source{}, nil
	}
	if err == nil && !following.isFile(r.next()) {
		following.close()
		return source{}, nil
	}
	return following, err
}

// next is the file that follows the one that is open, empty if that is the newest.
// That one is found by its identity or, if it was compressed meanwhile, by how it
// begins. If it was deleted, what follows is what begins later.
func (r *reader) next() string {
	if r.isFile(r.path) {
		return ""
	}
	files := append(rotated(r.path), r.path)
	for _, isOpen := range []func(string) bool{r.isFile, r.beginsAlike} {
		if i := slices.IndexFunc(files, isOpen); i >= 0 {
			if i+1 == len(files) || !exists(files[i+1]) { // renamed, and not made again yet
				return ""
			}
			return files[i+1]
		}
	}
	for _, file := range files {
		if first, ok := parseEntry(firstLine(head(file))); ok && !first.time.Before(r.last) {
			return file
		}
	}
	return ""
}

// isFile reports whether the source is the file that has this name now.
func (s source) isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && os.SameFile(info, s.info)
}

// beginsAlike reports whether a file has the content of the source, as far as its
// first entries tell, which have their time in nanoseconds.
func (s source) beginsAlike(path string) bool {
	begin := make([]byte, headSize)
	n, err := s.file.ReadAt(begin, 0)
	return n > 0 && (err == nil || errors.Is(err, io.EOF)) && bytes.Equal(begin[:n], head(path))
}

// headSize is how much of a file tells it from others.
const headSize = 4 << 10

// head is how a file begins, uncompressed.
func head(path string) []byte {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	content, err := uncompressed(path, file)
	if err != nil {
		return nil
	}
	begin := make([]byte, headSize)
	n, _ := io.ReadFull(content, begin)
	return begin[:n]
}

func firstLine(content []byte) []byte {
	line, _, _ := bytes.Cut(content, newline)
	return line
}

// uncompressed reads a file of a log in either form.
func uncompressed(path string, file io.Reader) (io.Reader, error) {
	if !strings.HasSuffix(path, compressedSuffix) {
		return file, nil
	}
	return gzip.NewReader(file)
}
