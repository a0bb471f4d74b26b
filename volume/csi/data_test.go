package csi

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is accepted can be written again, says the same, and leads to no path outside
// of the folder of drivers.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"driverName":"disk.example.org","volumeHandle":"vol","specVolID":"pv","published":"true"}`))
	f.Add([]byte(`{"driverName":"..","volumeHandle":"vol"}`))
	f.Add([]byte(`{"driverName":"a/b","volumeHandle":"../x","volumeLifecycleMode":"Ephemeral","volumeMountGroup":"true"}`))
	f.Add([]byte(`{"driverName":1}`))
	f.Add([]byte("null"))
	p := New(Config{Root: "/root"})
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := decode(content)
		if err != nil {
			assert.Zero(t, r)
			return
		}
		dir := p.stagingDir(r.driver, r.handle)
		rel, err := filepath.Rel("/root/plugins/kubernetes.io/csi/"+r.driver, dir)
		require.NoError(t, err)
		assert.Len(t, rel, 64+len("/globalmount"))
		assert.Equal(t, "/root/plugins/kubernetes.io/csi", filepath.Dir(filepath.Dir(filepath.Dir(dir))))

		encoded, err := r.encode()
		require.NoError(t, err)
		again, err := decode(encoded)
		require.NoError(t, err)
		assert.Equal(t, r, again)
		var fields map[string]string
		require.NoError(t, json.Unmarshal(encoded, &fields), "as the kubelet reads it")
	})
}
