package crilog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// timestampFormat is RFC 3339 with all nine digits, so that timestamps line up.
const timestampFormat = "2006-01-02T15:04:05.000000000Z07:00"

// maxEntry bounds an entry. Runtimes write parts of 16 KiB; what is longer than this
// is no entry.
const maxEntry = 1 << 20

// Options say which part of a log is read, and how. The zero value reads all that
// is there.
type Options struct {
	// Tail is how many of the last lines are read first, nil for all.
	Tail *int64
	// Since leaves out what was written earlier.
	Since time.Time
	// Limit is how many bytes are given at most; 0 is no limit.
	Limit int64
	// Timestamps puts the time before each line.
	Timestamps bool
	// Follow goes on with what is written while reading, until the container has
	// ended.
	Follow bool
	// Running reports whether the container may still write; it is asked at the end
	// of the log, no more than once a second. An error is taken for yes: a runtime
	// that does not answer is no reason to stop. Nil: until ctx ends.
	Running func(ctx context.Context) (bool, error)
}

// Read writes a container's output from its log file to stdout and stderr, either of
// which may be nil to leave that out. It writes each line as soon as it is read, and
// blocks until all is written, the limit is reached, ctx ends (which is no error), or
// a write fails. path may be a link.
//
// As with kubectl logs, what was rotated away before is not read; but while following,
// nothing is missed that is rotated away meanwhile, as long as it is not yet deleted.
// Lines that are no entries of a log are left out. The error for a file that does not
// exist is fs.ErrNotExist.
func Read(ctx context.Context, path string, opts Options, stdout, stderr io.Writer) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	r := &reader{path: real, opts: opts, out: &printer{opts: opts, streams: [2]stream{{w: stdout, fresh: true}, {w: stderr, fresh: true}}}}
	err = r.run(ctx)
	r.close()
	if errors.Is(err, errLimit) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read log %s: %w", path, err)
	}
	return nil
}

// reader reads a log, file after file.
type reader struct {
	path string // of the newest file
	opts Options
	out  *printer

	source           // that is open
	part   []byte    // of an entry that is not written to its end yet
	skip   bool      // the rest of an entry that is too long
	last   time.Time // of the newest entry that was read, or passed over
	asked  time.Time // when Running was asked
}

// source is a file of a log.
type source struct {
	file  *os.File
	info  os.FileInfo
	lines *bufio.Reader
}

func (r *reader) run(ctx context.Context) (err error) {
	if r.source, err = open(r.path); err != nil {
		return err
	}
	if err := r.seek(); err != nil {
		return err
	}
	if err := r.drain(ctx, !r.opts.Follow); err != nil || !r.opts.Follow {
		return err
	}
	return r.follow(ctx)
}

func open(path string) (source, error) {
	file, err := os.Open(path)
	if err != nil {
		return source{}, err
	}
	info, statErr := file.Stat()
	content, err := uncompressed(path, file)
	if err := errors.Join(statErr, err); err != nil {
		_ = file.Close()
		return source{}, err
	}
	return source{file, info, bufio.NewReaderSize(content, 64<<10)}, nil
}

func (s source) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

// seek goes to where the tail begins.
func (r *reader) seek() error {
	if r.opts.Tail == nil {
		return nil
	}
	offset, err := tailOffset(r.file, r.info.Size(), *r.opts.Tail)
	if err != nil {
		return err
	}
	r.last = time.Now() // until an entry is read: what is passed over is older
	_, err = r.file.Seek(offset, io.SeekStart)
	return err
}

// drain gives all entries up to the end of the file. finally: the last one may lack
// its newline.
func (r *reader) drain(ctx context.Context, finally bool) error {
	for ctx.Err() == nil {
		piece, err := r.lines.ReadSlice('\n')
		r.take(piece)
		whole := err == nil
		if whole || finally && errors.Is(err, io.EOF) && len(r.part) > 0 {
			if err := r.give(); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
	return ctx.Err()
}

// take adds a piece of an entry.
func (r *reader) take(piece []byte) {
	if len(r.part)+len(piece) > maxEntry {
		r.skip, r.part = true, r.part[:0]
	}
	if !r.skip {
		r.part = append(r.part, piece...)
	}
}

// give gives the entry that was read to its end.
func (r *reader) give() error {
	part, skip := r.part, r.skip
	r.part, r.skip = r.part[:0], false
	entry, ok := parseEntry(part)
	if skip || !ok {
		return nil
	}
	r.last = entry.time
	if entry.time.Before(r.opts.Since) {
		return nil
	}
	return r.out.print(entry)
}

// tailOffset is where the last lines of a file begin. A line that is in several
// entries is one line, and so is one that has not ended.
func tailOffset(file io.ReaderAt, size, lines int64) (int64, error) {
	end := size
	for found := int64(0); end > 0; {
		begin, err := lineStart(file, end)
		if err != nil {
			return 0, err
		}
		ends, err := endsLine(file, begin, end)
		if err != nil {
			return 0, err
		}
		if ends || end == size {
			if found == lines {
				return end, nil
			}
			found++
		}
		end = begin
	}
	return 0, nil
}

// lineStart is where the line of the file begins that ends at the given offset.
func lineStart(file io.ReaderAt, end int64) (int64, error) {
	const block = 4 << 10
	buffer := make([]byte, block)
	for at := end - 1; at > 0; { // the last byte may be the line's own newline
		from := max(0, at-block)
		n, err := file.ReadAt(buffer[:at-from], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.LastIndexByte(buffer[:n], '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		at = from
	}
	return 0, nil
}

// endsLine reports whether the entry between the offsets is the last of its line.
// What is no entry is none of anybody's.
func endsLine(file io.ReaderAt, begin, end int64) (bool, error) {
	line := make([]byte, min(end-begin, maxEntry))
	if _, err := file.ReadAt(line, begin); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	entry, ok := parseEntry(line)
	return ok && entry.finished(), nil
}

// errLimit says that all that was asked for is written.
var errLimit = errors.New("limit reached")

// printer writes entries to their streams.
type printer struct {
	opts    Options
	written int64
	streams [2]stream // stdout and stderr
}

type stream struct {
	w     io.Writer
	fresh bool // at the start of a line
}

func (p *printer) print(e entry) error {
	to := &p.streams[0]
	if e.stderr {
		to = &p.streams[1]
	}
	if to.w == nil {
		return nil
	}
	text := e.text
	if p.opts.Timestamps && to.fresh {
		text = append([]byte(e.time.Format(timestampFormat)+" "), text...)
	}
	to.fresh = e.finished()
	full := p.opts.Limit > 0 && p.written+int64(len(text)) >= p.opts.Limit
	if full {
		text = text[:p.opts.Limit-p.written]
	}
	p.written += int64(len(text))
	if _, err := to.w.Write(text); err != nil {
		return err
	}
	if full {
		return errLimit
	}
	return nil
}
