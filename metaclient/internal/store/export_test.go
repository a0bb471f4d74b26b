package store

import "errors"

// SealOnly seals what lies open and does no more: the file is then as a power cut
// right after that commit leaves it.
func SealOnly(path string, cfg Config) error {
	s, err := newFile(cfg)
	if err != nil {
		return err
	}
	if err := s.openSound(path); err != nil {
		return err
	}
	_, err = s.scrub()
	return errors.Join(err, s.db.Close())
}
