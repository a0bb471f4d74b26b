package volume

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// The kernel's limits for a name and a path, and what is left of a mode that the
// API lets a file have.
const (
	maxName = 255
	maxPath = 4096
	maxMode = 0o777
)

// file is a file of a volume that the agent fills.
type file struct {
	data []byte
	mode fs.FileMode
	// owner is the user to whom it belongs, nil for the agent.
	owner *int64
}

// payload is the content of a volume: its files by path.
type payload map[string]file

// add puts a file into the payload, in place of one of the same path.
func (p payload) add(name string, f file) error {
	clean, err := checkPath(name)
	if err != nil {
		return err
	}
	for dir := path.Dir(clean); dir != "."; dir = path.Dir(dir) {
		if _, ok := p[dir]; ok {
			return fmt.Errorf("path %q: %q is a file", name, dir)
		}
	}
	for other := range p {
		if strings.HasPrefix(other, clean+"/") {
			return fmt.Errorf("path %q: it is a directory, as of %q", name, other)
		}
	}
	p[clean] = f
	return nil
}

// merge adds the files of another payload, which win over those of the same path.
func (p payload) merge(other payload) error {
	for _, name := range slices.Sorted(maps.Keys(other)) {
		if err := p.add(name, other[name]); err != nil {
			return err
		}
	}
	return nil
}

// tops returns the first elements of the paths, which the volume shows.
func (p payload) tops() map[string]bool {
	tops := make(map[string]bool, len(p))
	for name := range p {
		top, _, _ := strings.Cut(name, "/")
		tops[top] = true
	}
	return tops
}

// checkPath refuses a path of a file that would not be inside the volume, that the
// kernel does not take, or that begins as the names do which the volume takes for
// itself. It returns the path without what does not matter in it.
func checkPath(name string) (string, error) {
	elements := strings.Split(name, "/")
	var problem string
	switch {
	case name == "":
		problem = "it is empty"
	case strings.ContainsRune(name, 0):
		problem = "it has a zero byte"
	case path.IsAbs(name):
		problem = "it is not relative"
	case len(name) > maxPath:
		return "", fmt.Errorf("path %q…: it is longer than %d bytes", name[:maxName], maxPath)
	case slices.Contains(elements, ".."):
		problem = "it contains '..'"
	case slices.ContainsFunc(elements, func(e string) bool { return len(e) > maxName }):
		problem = fmt.Sprintf("an element is longer than %d bytes", maxName)
	case path.Clean(name) == ".":
		problem = "it is the volume itself"
	case strings.HasPrefix(path.Clean(name), ".."):
		problem = "it begins with '..'"
	default:
		return path.Clean(name), nil
	}
	return "", fmt.Errorf("path %q: %s", name, problem)
}

// fileMode returns the mode that was asked for, the fallback if none was.
func fileMode(asked *int32, fallback fs.FileMode) (fs.FileMode, error) {
	if asked == nil {
		return fallback, nil
	}
	if *asked < 0 || *asked > maxMode {
		return 0, fmt.Errorf("mode %#o is not between 0 and 0777", *asked)
	}
	return fs.FileMode(*asked), nil
}
