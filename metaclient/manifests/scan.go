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

	corev1 "k8s.io/api/core/v1"
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
}

// entry is a pod and its place in the file.
type entry struct {
	document int
	pod      *corev1.Pod
}

func (e entry) name() types.NamespacedName {
	return types.NamespacedName{Namespace: e.pod.Namespace, Name: e.pod.Name}
}

// scan reads the folder and returns its pods, or false if the folder cannot be
// read. A file whose content is known is not decoded again.
func (s *Source) scan() ([]*corev1.Pod, bool) {
	names, err := list(s.dir)
	if err != nil {
		s.report([]Problem{{File: s.dir, Message: fmt.Sprintf("folder cannot be read, all stays as it was: %v", err)}})
		return nil, false
	}
	files := make(map[string]file, len(names))
	for _, name := range names {
		if f, ok := s.read(name, s.files[name]); ok {
			files[name] = f
		}
	}
	s.files = files
	pods, problems := merge(names, files)
	s.report(problems)
	return pods, true
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
	f.sum = sum
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		f.problems = append(f.problems, Problem{File: name, Message: "file is empty", Warning: true})
		f = f.keep(name, previous)
	case f.broken:
		f = f.keep(name, previous)
	}
	return f, true
}

// keep adds the pods that a file gave before it broke, and says so, except those
// that it still gives.
func (f file) keep(name string, previous file) file {
	given := make(map[types.NamespacedName]bool, len(f.entries))
	for _, e := range f.entries {
		given[e.name()] = true
	}
	for _, e := range previous.entries {
		if given[e.name()] {
			continue
		}
		f.entries = append(f.entries, e)
		f.problems = append(f.problems, Problem{
			File: name, Document: e.document, Object: describePod(e.pod), Warning: true,
			Message: "pod stays as it was before its file broke; mend or remove the file",
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

// merge joins the pods of all files in order. Of two with one name, or one UID,
// the first wins.
func merge(names []string, files map[string]file) (pods []*corev1.Pod, problems []Problem) {
	byName := map[types.NamespacedName]string{}
	byUID := map[types.UID]string{}
	for _, name := range names {
		problems = append(problems, files[name].problems...)
		for _, e := range files[name].entries {
			taken := Problem{File: name, Document: e.document, Object: describePod(e.pod)}
			if other, ok := byName[e.name()]; ok {
				taken.Field, taken.Message = "metadata.name", fmt.Sprintf("pod is already given by file %s", other)
				problems = append(problems, taken)
				continue
			}
			if other, ok := byUID[e.pod.UID]; ok {
				taken.Field, taken.Message = "metadata.uid", fmt.Sprintf("uid is already used in file %s", other)
				problems = append(problems, taken)
				continue
			}
			byName[e.name()], byUID[e.pod.UID] = name, name
			pods = append(pods, e.pod)
		}
	}
	return pods, problems
}
