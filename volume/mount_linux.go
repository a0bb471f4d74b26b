package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountIn mounts a file system in memory, whose pages are not swapped to a disk
// where the kernel (6.4 and later) can do without.
func mountIn(dir string, wanted memoryFS) error {
	options := wanted.options
	if wanted.fsType == tmpfsType {
		options += ",noswap"
	}
	err := unix.Mount(wanted.fsType, dir, wanted.fsType, 0, options)
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount(wanted.fsType, dir, wanted.fsType, 0, wanted.options)
	}
	if err != nil {
		return fmt.Errorf("mount %s at %s: %w", wanted.fsType, dir, err)
	}
	return nil
}

func unmount(point string) error {
	if err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s: %w", point, err)
	}
	return nil
}

// mountsIn returns the mounts at and below a directory, none if there is no such
// directory. The kernel's list is asked because it also has what a file's device
// does not tell: mounts of the same file system.
func mountsIn(dir string) ([]mount, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	return parseMounts(string(table), dir)
}

// parseMounts picks the mounts at and below dir from a table in the form of
// proc_pid_mountinfo(5). A line that it does not understand is an error, as it
// may be a mount that must not be missed.
func parseMounts(table, dir string) ([]mount, error) {
	var mounts []mount
	for line := range strings.Lines(table) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		// The sixth field and more before a dash are options; then comes the type.
		dash := slices.Index(fields, "-")
		if dash < 6 || dash+1 >= len(fields) {
			return nil, fmt.Errorf("mount table has the line %q", line)
		}
		point, err := unescape(fields[4])
		if err != nil {
			return nil, fmt.Errorf("mount table has the line %q: %w", line, err)
		}
		rel, err := filepath.Rel(dir, point)
		if err == nil && filepath.IsLocal(rel) {
			mounts = append(mounts, mount{point: point, rel: rel, source: fields[3], fsType: fields[dash+1]})
		}
	}
	return mounts, nil
}

// unescape undoes the kernel's escapes: a backslash and three octal digits for
// each space, tab, newline and backslash.
func unescape(field string) (string, error) {
	var plain strings.Builder
	for {
		before, after, found := strings.Cut(field, `\`)
		plain.WriteString(before)
		if !found {
			return plain.String(), nil
		}
		if len(after) < 3 {
			return "", fmt.Errorf("the escape \\%s is cut off", after)
		}
		char, err := strconv.ParseUint(after[:3], 8, 8)
		if err != nil {
			return "", fmt.Errorf("read the escape: %w", err)
		}
		plain.WriteByte(byte(char))
		field = after[3:]
	}
}
