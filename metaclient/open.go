package metaclient

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.uber.org/zap"
)

const (
	// schemaVersion rises when an older program could no longer read the file.
	schemaVersion = 1
	// lockTimeout is time enough for a predecessor that is just ending.
	lockTimeout = 5 * time.Second
	// fileMode: what is stored may be secret.
	fileMode = 0o600
)

const (
	bucketSchema     = "edged"
	keySchemaVersion = "schema"
	bucketQuarantine = "quarantine"
)

var allBuckets = []string{bucketSchema, bucketQuarantine, bucketPods, bucketStatuses}

// openStore opens or creates the file at path. A file that cannot be trusted is
// set aside once.
func openStore(path string, check valueCheck, log *zap.Logger) (*boltStore, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	s, err := openFile(path, check, log)
	if !errors.Is(err, errCorrupt) {
		return s, err
	}
	aside, renameErr := setAside(path, time.Now())
	if renameErr != nil {
		return nil, errors.Join(err, renameErr)
	}
	log.Error("store is damaged, it was set aside and an empty one is used",
		zap.String("path", path), zap.String("aside", aside), zap.Error(err))
	return openFile(path, check, log)
}

// setAside renames the file, and never over another: a node without a clock
// starts at the same second every time.
func setAside(path string, now time.Time) (string, error) {
	base := path + ".corrupt-" + now.UTC().Format("20060102T150405Z")
	aside := base
	for i := 1; ; i++ {
		if _, err := os.Lstat(aside); errors.Is(err, os.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s-%d", base, i)
	}
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("set damaged store aside: %w", err)
	}
	return aside, syncFolder(path)
}

func openFile(path string, check valueCheck, log *zap.Logger) (*boltStore, error) {
	if err := inspect(path); err != nil {
		return nil, err
	}
	db, err := openBolt(path, false)
	if err != nil {
		return nil, err
	}
	s := &boltStore{db: db, log: log}
	if err = s.prepare(path); err == nil {
		err = s.scrub(check)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// prepare writes only where something is missing, so that opening a store that is
// in order costs the flash nothing.
func (s *boltStore) prepare(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm() != fileMode {
		if err := os.Chmod(path, fileMode); err != nil {
			return err
		}
	}
	ready := false
	err = guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			ready = !slices.ContainsFunc(allBuckets, func(name string) bool { return tx.Bucket([]byte(name)) == nil })
			return nil
		})
	})
	if err != nil || ready {
		return err
	}
	if err := guard(func() error { return s.db.Update(createBuckets) }); err != nil {
		return err
	}
	return syncFolder(path)
}

func createBuckets(tx *bolt.Tx) error {
	for _, name := range allBuckets {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	return tx.Bucket([]byte(bucketSchema)).Put([]byte(keySchemaVersion), strconv.AppendInt(nil, schemaVersion, 10))
}

// inspect looks at an existing file without changing a byte of it, and decides
// whether it is ours to open for writing.
func inspect(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	db, err := openBolt(path, true)
	if err != nil {
		return err
	}
	err = guard(func() error {
		return db.View(func(tx *bolt.Tx) error {
			if err := verify(tx); err != nil {
				return err
			}
			return checkSchema(tx)
		})
	})
	return errors.Join(err, db.Close())
}

// openBolt opens the file and sorts what can go wrong: in use, damaged
// (errCorrupt), or refused by the system.
func openBolt(path string, readOnly bool) (db *bolt.DB, err error) {
	var file *os.File
	options := &bolt.Options{
		ReadOnly: readOnly,
		Timeout:  lockTimeout,
		// A commit then writes a page less, and a list of free pages that is
		// computed at open cannot be wrong.
		NoFreelistSync: true,
		NoStatistics:   true,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	}
	err = guard(func() error {
		db, err = bolt.Open(path, fileMode, options)
		return err
	})
	var errno syscall.Errno
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, errCorrupt):
		// bbolt has let go of everything but the file and its lock.
		return nil, errors.Join(err, file.Close())
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, ErrLocked
	case errors.As(err, &errno):
		return nil, err
	default:
		return nil, fmt.Errorf("%w: %w", errCorrupt, err)
	}
}

// checkSchema refuses what a newer program, or another one, has written.
func checkSchema(tx *bolt.Tx) error {
	bucket := tx.Bucket([]byte(bucketSchema))
	if bucket == nil {
		if name, _ := tx.Cursor().First(); name != nil {
			return errors.New("file is a bbolt database of another program")
		}
		return nil
	}
	version, err := strconv.Atoi(string(bucket.Get([]byte(keySchemaVersion))))
	if err != nil || version < 1 {
		return fmt.Errorf("%w: schema version is unreadable", errCorrupt)
	}
	if version > schemaVersion {
		return &VersionError{Stored: version, Supported: schemaVersion}
	}
	return nil
}

// syncFolder makes the names in path's folder durable.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
