package podcgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The controllers by which pods are limited.
const (
	cpu     = "cpu"
	memory  = "memory"
	hugetlb = "hugetlb"
)

var controllers = []string{cpu, memory, hugetlb}

// layout is how a node's cgroups are mounted.
type layout struct {
	// unified: there is one hierarchy for all controllers (cgroup v2).
	unified bool
	// byController are the hierarchies of the controllers that pods are limited by,
	// as far as the node has them.
	byController map[string]string
	// all hierarchies; a runtime may make the cgroups of containers in each.
	all []string
}

// errNoCgroups says that there is no hierarchy with a controller for pods.
var errNoCgroups = errors.New("no cgroups with the cpu or memory controller")

// findLayout looks at what is mounted.
func findLayout(mount string) (*layout, error) {
	found := &layout{byController: map[string]string{}}
	if content, err := os.ReadFile(filepath.Join(mount, "cgroup.controllers")); err == nil {
		found.unified, found.all = true, []string{mount}
		for _, controller := range strings.Fields(string(content)) {
			found.add(controller, mount)
		}
		return found, found.check(mount)
	}
	entries, err := os.ReadDir(mount)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoCgroups, err)
	}
	for _, entry := range entries {
		dir, err := filepath.EvalSymlinks(filepath.Join(mount, entry.Name()))
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
			continue // not the root of a hierarchy
		}
		if !slices.Contains(found.all, dir) {
			found.all = append(found.all, dir)
		}
		for controller := range strings.SplitSeq(entry.Name(), ",") {
			found.add(controller, dir)
		}
	}
	return found, found.check(mount)
}

func (l *layout) add(controller, dir string) {
	if slices.Contains(controllers, controller) {
		l.byController[controller] = dir
	}
}

func (l *layout) check(mount string) error {
	if l.byController[cpu] == "" && l.byController[memory] == "" {
		return fmt.Errorf("%s: %w", mount, errNoCgroups)
	}
	return nil
}

// own are the hierarchies in which this package makes cgroups. In the others the
// runtime does.
func (l *layout) own() []string {
	var dirs []string
	for _, controller := range controllers {
		if dir := l.byController[controller]; dir != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
