package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// What else lies beside the file.
func copyPath(path string) string  { return path + ".good" } // as it was when last opened
func draftPath(path string) string { return path + ".new" }  // not finished, of no value

// compactFrom is the size below which free space is not worth a write.
const compactFrom = 1 << 20

func wasteful(size, used int64) bool { return size >= compactFrom && used < size/2 }

// compact writes what db holds into a new file, which then takes the place of the
// old one in one step.
func compact(path string, db *bolt.DB) error {
	draft := draftPath(path)
	if err := os.RemoveAll(draft); err != nil {
		return err
	}
	fresh, err := openBolt(draft, false)
	if err != nil {
		return err
	}
	err = guard(func() error {
		if err := bolt.Compact(fresh, db, 0); err != nil {
			return err
		}
		return fresh.Update(compactDone)
	})
	if err = errors.Join(err, fresh.Close()); err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(draft))
	}
	return syncFolder(path)
}

// compactDue reports whether the file must be compacted whatever its size.
func compactDue(tx *bolt.Tx) bool {
	schema := tx.Bucket([]byte(bucketSchema))
	return schema != nil && schema.Get([]byte(keyCompactDue)) != nil
}

func compactDone(tx *bolt.Tx) error {
	if !compactDue(tx) {
		return nil
	}
	return tx.Bucket([]byte(bucketSchema)).Delete([]byte(keyCompactDue))
}

// keepCopy keeps the file as it is now, which is sound, for the day when it is not.
// It costs a write for each start after which something had changed. What secrets lie
// open in is not copied.
func (s *File) keepCopy(path string) {
	open := false
	err := guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			open = compactDue(tx)
			return nil
		})
	})
	if err == nil && !open {
		err = copyFile(path, copyPath(path))
	}
	if err != nil {
		s.log.Warn("no copy of the store could be made", zap.String("path", path), zap.Error(err))
	}
}

// copyFile makes to a durable copy of from, in one step, unless it is one already.
func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if before, err := os.ReadFile(to); err == nil && bytes.Equal(before, content) {
		return nil
	}
	if err := writeDraft(to, content); err != nil {
		return err
	}
	return useDraft(to)
}

// writeDraft makes a durable file that is to take the place of path.
func writeDraft(path string, content []byte) error {
	draft := draftPath(path)
	file, err := os.OpenFile(draft, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, bytes.NewReader(content))
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(draft))
	}
	return nil
}

func useDraft(path string) error {
	if err := os.Rename(draftPath(path), path); err != nil {
		return errors.Join(err, os.Remove(draftPath(path)))
	}
	return syncFolder(path)
}

// errNoCopy says that there is no copy that could be used, now or later.
var errNoCopy = errors.New("there is no sound copy")

// draftCopy makes a draft of the last good copy.
func draftCopy(path string) error {
	err := look(copyPath(path), zap.NewNop())
	content := []byte(nil)
	if err == nil {
		content, err = os.ReadFile(copyPath(path))
	}
	switch {
	case errors.Is(err, errCorrupt), errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: %w", errNoCopy, err)
	case err == nil && len(content) == 0:
		return errNoCopy
	case err != nil:
		return err
	}
	return writeDraft(path, content)
}

// replace sets a damaged file aside and puts the last good copy in its place, if
// there is one. When that fails for another reason, such as a full disk, all stays
// as it is: an empty store in its place would be the end of the copy, too.
func replace(path string, why error, log *zap.Logger) error {
	noCopy := draftCopy(path)
	if noCopy != nil && !errors.Is(noCopy, errNoCopy) {
		return errors.Join(why, noCopy)
	}
	aside, err := setAside(path, time.Now())
	if err != nil {
		return errors.Join(why, err)
	}
	if noCopy == nil {
		log.Error("store is damaged, it was set aside and the copy from the last start is used",
			zap.String("path", path), zap.String("aside", aside), zap.NamedError("damage", why))
		return useDraft(path)
	}
	log.Error("store is damaged, it was set aside and an empty one is used",
		zap.String("path", path), zap.String("aside", aside), zap.NamedError("damage", why), zap.NamedError("copy", noCopy))
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(why, err)
	}
	return syncFolder(path)
}

// restore puts the last good copy in the place of a file that is missing, or was cut
// to nothing by a power cut. Without one the store is new.
func restore(path string, log *zap.Logger) error {
	if info, err := os.Stat(path); err == nil && info.Size() > 0 || err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err := draftCopy(path)
	if errors.Is(err, errNoCopy) {
		return nil
	}
	if err != nil {
		return err
	}
	log.Error("store is lost, the copy from the last start is used", zap.String("path", path))
	return useDraft(path)
}

// setAside gives the file a second name, and never that of another: a node without
// a clock starts at the same second every time. Where the file system has links it
// keeps its own name until there is something to put in its place. A power cut in
// between is no loss either way, since a file that is missing is restored.
func setAside(path string, now time.Time) (string, error) {
	base := path + ".corrupt-" + now.UTC().Format("20060102T150405Z")
	aside := base
	for i := 1; ; i++ {
		if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s-%d", base, i)
	}
	_ = os.Chmod(path, fileMode) // it may hold secrets
	if err := os.Link(path, aside); err != nil {
		if err := os.Rename(path, aside); err != nil {
			return "", fmt.Errorf("set damaged store aside: %w", err)
		}
	}
	return aside, syncFolder(path)
}

// syncFolder makes the names in path's folder durable.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
