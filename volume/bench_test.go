package volume_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/edged-project/edged/volume"
)

// BenchmarkMountAgain is what a look at a pod costs whose volumes are as they should
// be, beside what a change of one costs.
func BenchmarkMountAgain(b *testing.B) {
	for _, change := range []bool{false, true} {
		b.Run(fmt.Sprintf("changed=%v", change), func(b *testing.B) {
			s := newShelf()
			s.setConfigMap("settings", map[string]string{"a": "1", "b": "2"})
			m := volume.New(s, volume.Config{Root: b.TempDir()})
			pod := shopPod(configMap("settings"), emptyDir("data"))
			for i := 0; b.Loop(); i++ {
				if change {
					s.setConfigMap("settings", map[string]string{"a": fmt.Sprint(i), "b": "2"})
				}
				_, err := m.Mount(b.Context(), pod)
				require.NoError(b, err)
			}
		})
	}
}
