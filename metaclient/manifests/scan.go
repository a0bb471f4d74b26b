package manifests

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxFileSize is what the kubelet reads of a manifest at most.
const maxFileSize = 10 << 20

// file is what one file gave when it was last read.
type file struct {
	sum      [sha256.Size]byte // of its content; zero if it could not be read
	entries  []entry
	problems []Problem
	broken   bool // something in it cannot be used
	whole    bool // all that it holds is known: it was not broken, now or once before
}

// entry is an object and its place in the file.
type entry struct {
	document int
	kind     string
	object   metav1.Object
}

// id is what no two objects of a folder may share.
type id struct {
	kind string
	name types.NamespacedName
}

func (e entry) id() id {
	return id{e.kind, types.NamespacedName{Namespace: e.object.GetNamespace(), Name: e.object.GetName()}}
}

func (e entry) String() string { return e.kind + " " + e.id().name.String() }

// scan reads the folder and returns its objects, or false if the folder cannot be
// read. A file whose content is known is not decoded again.
func (s *Source) scan() (content, bool) {
	names, err := list(s.dir)
	if err != nil {
		s.report([]Problem{{File: s.dir, Message: fmt.Sprintf("folder cannot be read, all stays as it was: %v", err)}})
		return content{}, false
	}
	files := make(map[string]file, len(names))
	for _, name := range names {
		if f, ok := s.read(name, s.files[name]); ok {
			files[name] = f
		}
	}
	s.files = files
	now, problems := merge(names, files, s.now())
	s.report(problems)
	return now, true
}

// list returns the names of the folder's manifests, sorted.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !isManifest(e.Name()) {
			continue
		}
		// Stat follows links, so that a link to a folder is a folder.
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && info.IsDir() {
			continue
		}
		names = append(names, e.Name())
	}
	return names, nil
}

func isManifest(name string) bool {
	return !strings.HasPrefix(name, ".") && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}

// read returns what the file gives now, or false if it is gone.
func (s *Source) read(name string, previous file) (file, bool) {
	path := filepath.Join(s.dir, name)
	data, err := readFile(path)
	if err != nil {
		if _, lerr := os.Lstat(path); errors.Is(lerr, os.ErrNotExist) {
			return file{}, false
		}
		f := file{problems: []Problem{{File: name, Message: err.Error()}}}
		return f.keep(name, previous), true
	}
	sum := sha256.Sum256(data)
	if sum == previous.sum {
		return previous, true
	}
	f := s.decoder.file(name, data)
	f.sum, f.whole = sum, true
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		f.problems = append(f.problems, Problem{File: name, Message: "file is empty", Warning: true})
		f = f.keep(name, previous)
	case f.broken:
		f = f.keep(name, previous)
	}
	return f, true
}

// keep adds the objects that a file gave before it broke, and says so, except those
// that it still gives.
func (f file) keep(name string, previous file) file {
	f.whole = previous.whole
	given := make(map[id]bool, len(f.entries))
	for _, e := range f.entries {
		given[e.id()] = true
	}
	for _, e := range previous.entries {
		if given[e.id()] {
			continue
		}
		f.entries = append(f.entries, e)
		f.problems = append(f.problems, Problem{
			File: name, Document: e.document, Object: e.String(), Warning: true,
			Message: kindName(e.kind) + " stays as it was before its file broke; mend or remove the file",
		})
	}
	return f
}

// readFile reads a regular file of bounded size. Its kind is looked at first,
// since opening a pipe may block for ever.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, min(info.Size(), maxFileSize)+1))
	if err == nil && len(data) > maxFileSize {
		return nil, fmt.Errorf("file is larger than %d MiB", maxFileSize>>20)
	}
	return data, err
}
