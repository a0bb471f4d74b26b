package volume

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzName proves that a name that passes is an entry of the directory it is
// put in, and nothing else.
func FuzzName(f *testing.F) {
	f.Add("0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0")
	f.Add("..")
	f.Add("a/b")
	f.Fuzz(func(t *testing.T, name string) {
		if checkName(name) != nil {
			return
		}
		dir, entry := filepath.Split(filepath.Join("/root/pods", name))
		require.Equal(t, "/root/pods/", dir)
		require.Equal(t, name, entry)
	})
}
