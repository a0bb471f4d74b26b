package csi

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// mounted reports whether something is mounted at a path. It asks the kernel's list
// and not the path, which would block when the mount is dead.
func mounted(path string) (bool, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, fmt.Errorf("read the mount table: %w", err)
	}
	return lists(string(table), filepath.Join(dir, filepath.Base(path))), nil
}

// escape writes a path as proc_pid_mountinfo(5) does.
var escape = strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`)

// lists reports whether a mount table has a mount point: the fifth field of a line.
func lists(table, point string) bool {
	want := escape.Replace(point)
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == want {
			return true
		}
	}
	return false
}
