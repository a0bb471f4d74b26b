package store

import (
	"errors"
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
	// SchemaVersion rises when an older program could no longer read the file. A
	// new bucket is no such case: an older program lets it be.
	SchemaVersion = 1
	// lockTimeout is time enough for a predecessor that is just ending.
	lockTimeout = 5 * time.Second
	// fileMode: what is stored may be secret.
	fileMode = 0o600
)

const (
	bucketSchema     = "edged"
	keySchemaVersion = "schema"
	keyCompactDue    = "compact" // secrets that were sealed still lie open in free pages
	bucketQuarantine = "quarantine"
)

// Open opens or creates the store at path. A file that cannot be trusted is set
// aside; the copy of it that was good when the store was last opened takes its
// place, or that of one that is lost, or else an empty file. A file with much free
// space is written anew.
func Open(path string, cfg Config) (*File, error) {
	s, err := newFile(cfg)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := restore(path, s.log); err != nil {
		return nil, err
	}
	err = s.open(path)
	if errors.Is(err, errCorrupt) {
		if err = replace(path, err, s.log); err == nil {
			err = s.open(path)
		}
	}
	if err != nil {
		return nil, err
	}
	s.keepCopy(path)
	return s, nil
}

func newFile(cfg Config) (*File, error) {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	seal, err := newSeal(cfg.Key)
	if err != nil {
		return nil, err
	}
	s := &File{buckets: cfg.Buckets, secret: map[string]bool{}, seal: seal, log: cfg.Logger}
	for _, b := range cfg.Buckets {
		s.secret[b.Name] = b.Secret
	}
	return s, nil
}

func (s *File) open(path string) error {
	if err := s.openSound(path); err != nil {
		return err
	}
	sealed, err := s.scrub()
	if err == nil && sealed {
		if err = s.db.Close(); err == nil {
			err = s.openSound(path) // compacts: what was sealed still lies open in free pages
		}
	}
	if err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// openSound opens the file for writing once it is known to be sound.
func (s *File) openSound(path string) error {
	if err := look(path, s.log); err != nil {
		return err
	}
	db, err := openBolt(path, false)
	if err != nil {
		return err
	}
	s.db = db
	if err := s.prepare(path); err != nil {
		return errors.Join(err, db.Close())
	}
	return nil
}

// prepare writes only where something is missing, so that opening a store that is
// in order costs the flash nothing.
func (s *File) prepare(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm() != fileMode {
		if err := os.Chmod(path, fileMode); err != nil {
			return err
		}
	}
	names := []string{bucketSchema, bucketQuarantine}
	for _, b := range s.buckets {
		names = append(names, b.Name)
	}
	ready := false
	err = guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			ready = !slices.ContainsFunc(names, func(name string) bool { return tx.Bucket([]byte(name)) == nil })
			return nil
		})
	})
	if err != nil || ready {
		return err
	}
	if err := guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error { return createBuckets(tx, names) })
	}); err != nil {
		return err
	}
	return syncFolder(path)
}

func createBuckets(tx *bolt.Tx, names []string) error {
	for _, name := range names {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	return tx.Bucket([]byte(bucketSchema)).Put([]byte(keySchemaVersion), strconv.AppendInt(nil, SchemaVersion, 10))
}

// look decides, without changing a byte of an existing file, whether it is ours to
// open for writing. Then it may write the file anew, without what is free in it.
func look(path string, log *zap.Logger) error {
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
	used, due := int64(0), false
	err = guard(func() error {
		return db.View(func(tx *bolt.Tx) (err error) {
			if used, err = verify(tx); err != nil {
				return err
			}
			due = compactDue(tx)
			return checkSchema(tx)
		})
	})
	if err == nil && due {
		_ = os.Remove(copyPath(path)) // the secrets lie open there, too
	}
	if err == nil && (due || wasteful(info.Size(), used)) {
		if err := compact(path, db); err != nil {
			log.Warn("store could not be compacted, it is used as it is", zap.String("path", path), zap.Error(err))
		} else {
			log.Info("store was compacted", zap.Int64("before", info.Size()), zap.Int64("used", used))
		}
	}
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
	case err == nil && replaced(path, file):
		// It was set aside, or written anew, while we waited for its lock.
		return nil, errors.Join(ErrLocked, db.Close())
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
		return nil, errors.Join(errCorrupt, err)
	}
}

// replaced reports whether path no longer names the open file.
func replaced(path string, file *os.File) bool {
	open, err := file.Stat()
	if err != nil {
		return true
	}
	named, err := os.Stat(path)
	return err != nil || !os.SameFile(open, named)
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
		return errors.Join(errCorrupt, errors.New("schema version is unreadable"))
	}
	if version > SchemaVersion {
		return &VersionError{Stored: version, Supported: SchemaVersion}
	}
	return nil
}
