package imagepull

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func FuzzDefaultTag(f *testing.F) {
	for _, seed := range []string{"nginx", "nginx:1", "a.b:5000/c/d", "nginx@sha256:abc", "http://nginx", ":", "a:b:c", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, image string) {
		name, err := withDefaultTag(image)
		if err != nil {
			assert.Empty(t, name)
			return
		}
		again, err := withDefaultTag(name)
		require.NoError(t, err)
		assert.Equal(t, name, again, "it has a tag or digest now")
		assert.Contains(t, []string{image, image + ":latest"}, name)
	})
}
