package volume

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const table = `22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
98 22 0:44 / /run/pods/uid rw,nosuid - tmpfs tmpfs rw,size=1024k
99 98 259:1 /data /run/pods/uid/a\040b\134\011c rw shared:1 master:2 propagate_from:3 - ext4 /dev/root rw
97 22 0:45 / /run/pods/uid2 rw - tmpfs tmpfs rw
96 22 0:46 / /run/pods rw - tmpfs tmpfs rw
`

func TestMountTable(t *testing.T) {
	mounts, err := parseMounts(table, "/run/pods/uid")
	require.NoError(t, err)
	assert.Equal(t, []mount{
		{point: "/run/pods/uid", rel: ".", source: "/", fsType: "tmpfs"},
		{point: "/run/pods/uid/a b\\\tc", rel: "a b\\\tc", source: "/data", fsType: "ext4"},
	}, mounts)

	mounts, err = parseMounts(table, "/")
	require.NoError(t, err)
	assert.Len(t, mounts, 5)
}

func TestMountTableThatIsNotUnderstood(t *testing.T) {
	for name, line := range map[string]string{
		"no dash":          "22 1 259:1 / / rw shared:1 ext4 /dev/root rw",
		"cut off":          "22 1 259:1 / / rw shared:1 -",
		"escape cut off":   `22 1 259:1 / /a\04 rw - ext4 /dev/root rw`,
		"escape not octal": `22 1 259:1 / /a\0x0 rw - ext4 /dev/root rw`,
		"escape too large": `22 1 259:1 / /a\777 rw - ext4 /dev/root rw`,
		"empty line":       "\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseMounts(table+line, "/")
			require.ErrorContains(t, err, "mount table has the line")
		})
	}
}

// FuzzMountPoint proves that a mount is found whatever its path is made of, if
// it is below the directory, and not found if it is not.
func FuzzMountPoint(f *testing.F) {
	f.Add("plain", true)
	f.Add("a b\\c\td\n", true)
	f.Add("\u00a0\u0085\v", true)
	f.Add("..", false)
	f.Fuzz(func(t *testing.T, name string, below bool) {
		point := filepath.Join("/elsewhere", filepath.Join("/", name))
		if below {
			point = filepath.Join("/dir", filepath.Join("/", name))
		}
		escaped := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(point)
		mounts, err := parseMounts("98 22 0:44 / "+escaped+" rw - tmpfs tmpfs rw\n", "/dir")
		require.NoError(t, err)
		if !below {
			require.Empty(t, mounts)
			return
		}
		require.Len(t, mounts, 1)
		require.Equal(t, point, mounts[0].point)
	})
}

func FuzzMountTable(f *testing.F) {
	f.Add(table)
	f.Add("22 1 259:1 / /a\\04")
	f.Fuzz(func(t *testing.T, table string) {
		mounts, err := parseMounts(table, "/run")
		if err != nil {
			require.Empty(t, mounts)
		}
		for _, mount := range mounts {
			require.True(t, filepath.IsLocal(mount.rel), mount.rel)
		}
	})
}
