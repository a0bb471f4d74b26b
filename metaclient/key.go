package metaclient

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// KeyFile is a Config.Key that is the content of a file, byte for byte: 32 random
// bytes, say. A file that others than its owner can read is refused.
func KeyFile(path string) func() ([]byte, error) {
	return func() ([]byte, error) {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if info.Mode().Perm()&0o077 != 0 {
			return nil, fmt.Errorf("key file %s can be read by others than its owner", path)
		}
		return os.ReadFile(path)
	}
}

// KeyCredential is a Config.Key that systemd passes to the service under the name
// (LoadCredential=, or LoadCredentialEncrypted=, which binds it to a TPM).
func KeyCredential(name string) func() ([]byte, error) {
	return func() ([]byte, error) {
		folder := os.Getenv("CREDENTIALS_DIRECTORY")
		if folder == "" {
			return nil, errors.New("CREDENTIALS_DIRECTORY is not set: systemd passes no credentials")
		}
		if name != filepath.Base(name) {
			return nil, fmt.Errorf("credential name %q is a path", name)
		}
		return os.ReadFile(filepath.Join(folder, name))
	}
}
