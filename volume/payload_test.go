package volume

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPathsThatAreRefused(t *testing.T) {
	for name, want := range map[string]string{
		"":                              "it is empty",
		"/etc/passwd":                   "it is not relative",
		"..":                            "it contains '..'",
		"a/../../b":                     "it contains '..'",
		"..data":                        "it begins with '..'",
		"./..data":                      "it begins with '..'",
		"..2026/x":                      "it begins with '..'",
		".":                             "it is the volume itself",
		"a\x00b":                        "it has a zero byte",
		strings.Repeat("a", 256):        "an element is longer than 255 bytes",
		strings.Repeat("abcd/", 1000):   "it is longer than 4096 bytes",
		"a/" + strings.Repeat("b", 300): "an element is longer than 255 bytes",
	} {
		_, err := checkPath(name)
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, "path \"")
	}
	for name, want := range map[string]string{"a": "a", ".hidden": ".hidden", "a/..b": "a/..b", "a//b/": "a/b", "./a": "a"} {
		got, err := checkPath(name)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

// FuzzPath proves that what passes is a file inside of the volume, under a name that
// is not the volume's own.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"a/b", "..", "a/../b", "./..data", "/x", "a//b", "..a/b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		clean, err := checkPath(name)
		if err != nil {
			return
		}
		require.True(t, filepath.IsLocal(clean))
		require.NotEqual(t, ".", clean)
		require.Equal(t, filepath.Clean(clean), clean)
		require.False(t, strings.HasPrefix(clean, ".."))
		require.Equal(t, filepath.Join("/v", name), filepath.Join("/v", clean))
	})
}

func TestFilesThatAreDirectoriesToo(t *testing.T) {
	p := payload{}
	require.NoError(t, p.add("a/b", file{}))
	require.NoError(t, p.add("a/b", file{data: []byte("later")}))
	assert.Equal(t, "later", string(p["a/b"].data))
	require.ErrorContains(t, p.add("a", file{}), `path "a": it is a directory, as of "a/b"`)
	require.ErrorContains(t, p.add("a/b/c", file{}), `path "a/b/c": "a/b" is a file`)
}
