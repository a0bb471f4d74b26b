package volume_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/volume"
)

var errOffline = errors.New("the cloud is out of reach")

func TestAConfigMapShowsItsKeys(t *testing.T) {
	setUmask(t, 0o077)
	s, root := newShelf(), t.TempDir()
	s.configMaps["settings"] = &corev1.ConfigMap{
		Data: map[string]string{"color": "red", "x.conf": "a=1"}, BinaryData: map[string][]byte{"logo": {0, 255}},
	}
	paths, err := s.manager(root).Mount(t.Context(), shopPod(configMap("settings")))
	require.NoError(t, err)
	dir := filepath.Join(root, "pods/uid/volumes/kubernetes.io~configmap/v-settings")
	assert.Equal(t, map[string]string{"v-settings": dir}, paths)
	assert.Equal(t, map[string]string{"color": "red", "x.conf": "a=1", "logo": "\x00\xff"}, filesIn(t, dir))
	info, err := os.Stat(filepath.Join(dir, "color"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o644), info.Mode())
}

func TestItemsAndModes(t *testing.T) {
	s := newShelf()
	s.setConfigMap("settings", map[string]string{"a": "A", "b": "B", "c": "C"})
	paths, err := s.manager(t.TempDir()).Mount(t.Context(), shopPod(configMap("settings", func(source *corev1.ConfigMapVolumeSource) {
		source.DefaultMode = new(int32(0o440))
		source.Items = []corev1.KeyToPath{{Key: "a", Path: "first"}, {Key: "b", Path: "deep/er/second", Mode: new(int32(0o755))}}
	})))
	require.NoError(t, err)
	dir := paths["v-settings"]
	for name, mode := range map[string]fs.FileMode{"first": 0o440, "deep/er/second": 0o755} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm())
	}
	assert.NoFileExists(t, filepath.Join(dir, "c"), "only the items are shown")
	data, err := os.ReadFile(filepath.Join(dir, "deep/er/second"))
	require.NoError(t, err)
	assert.Equal(t, "B", string(data))
}

func TestContentThatIsRefused(t *testing.T) {
	item := func(key, path string, mode int32) func(*corev1.ConfigMapVolumeSource) {
		return func(source *corev1.ConfigMapVolumeSource) {
			source.Items = []corev1.KeyToPath{{Key: key, Path: path, Mode: &mode}}
		}
	}
	optional := func(source *corev1.ConfigMapVolumeSource) { source.Optional = new(true) }
	tests := map[string]struct {
		volume corev1.Volume
		err    string
	}{
		"missing object":    {configMap("absent"), `configmap "absent": configmaps "absent" not found`},
		"missing key":       {configMap("settings", item("z", "z", 0)), `configmap "settings" has no key "z"`},
		"path that climbs":  {configMap("settings", item("a", "../a", 0)), `configmap "settings", item with key "a": path "../a": it contains '..'`},
		"absolute path":     {configMap("settings", item("a", "/a", 0)), `path "/a": it is not relative`},
		"own name":          {configMap("settings", item("a", "..data", 0)), `path "..data": it begins with '..'`},
		"mode too large":    {configMap("settings", item("a", "a", 0o1000)), "mode 01000 is not between 0 and 0777"},
		"mode too small":    {configMap("settings", item("a", "a", -1)), "mode -01 is not between 0 and 0777"},
		"key that climbs":   {configMap("evil"), `configmap "evil": path "..": it contains '..'`},
		"optional is no go": {configMap("broken", optional), `configmap "broken": the cloud is out of reach`},
		"default mode": {configMap("settings", func(source *corev1.ConfigMapVolumeSource) { source.DefaultMode = new(int32(0o7777)) }),
			"defaultMode: mode 07777 is not between 0 and 0777"},
		"trust bundle": {projected(corev1.VolumeProjection{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Path: "ca"}}),
			"volumes of kind projected with the source clusterTrustBundle are not supported"},
		"certificate": {projected(corev1.VolumeProjection{PodCertificate: &corev1.PodCertificateProjection{}}),
			"volumes of kind projected with the source podCertificate are not supported"},
		"source without a kind": {projected(corev1.VolumeProjection{}), "source 0: it has no kind that is known"},
		"one of several":        {projected(ofConfigMap("settings"), ofConfigMap("absent")), `configmap "absent"`},
		"field": {corev1.Volume{Name: "labels", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{{Path: "x", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "bad"}}},
		}}}, `downwardAPI item with path "x": fieldPath: bad is not supported`},
		"downward mode": {corev1.Volume{Name: "labels", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{{Path: "x", Mode: new(int32(0o1777)), FieldRef: &corev1.ObjectFieldSelector{}}},
		}}}, `downwardAPI item with path "x": mode 01777`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, root := newShelf(), t.TempDir()
			s.setConfigMap("settings", map[string]string{"a": "confidential"})
			s.setConfigMap("evil", map[string]string{"..": "confidential"})
			s.whenAsked(func(what string) {
				if what == "configmaps broken" {
					s.fail(errOffline)
				}
			})
			if name == "optional is no go" {
				s.fail(errOffline)
			}
			paths, err := s.manager(root).Mount(t.Context(), shopPod(test.volume))
			assert.Nil(t, paths)
			require.ErrorContains(t, err, "mount volumes: volume \""+test.volume.Name+"\": ")
			require.ErrorContains(t, err, test.err)
			assert.NotContains(t, err.Error(), "confidential")
		})
	}
}

func TestWhatIsOptionalMayBeMissing(t *testing.T) {
	s := newShelf()
	s.setConfigMap("settings", map[string]string{"a": "A"})
	optional := func(source *corev1.ConfigMapVolumeSource) { source.Optional = new(true) }
	paths, err := s.manager(t.TempDir()).Mount(t.Context(), shopPod(
		configMap("absent", optional),
		configMap("settings", optional, func(source *corev1.ConfigMapVolumeSource) {
			source.Items = []corev1.KeyToPath{{Key: "a", Path: "a"}, {Key: "z", Path: "z"}}
		}),
	))
	require.NoError(t, err)
	assert.Empty(t, filesIn(t, paths["v-absent"]))
	assert.Equal(t, map[string]string{"a": "A"}, filesIn(t, paths["v-settings"]))
}

func TestContentFollowsItsObjectAtEachMount(t *testing.T) {
	s := newShelf()
	m := s.manager(t.TempDir())
	pod := shopPod(configMap("settings"))
	for _, data := range []map[string]string{{"a": "1", "b": "1"}, {"b": "2", "c": "2"}, {}} {
		s.setConfigMap("settings", data)
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, data, filesIn(t, paths["v-settings"]))
	}
}

// Neither a cloud out of reach, nor an object that is gone, takes from a running pod
// what it has; by the next agent neither. It is told once.
func TestContentIsKeptWhileItsSourceFails(t *testing.T) {
	s, root := newShelf(), t.TempDir()
	s.setConfigMap("settings", map[string]string{"a": "1"})
	pod := shopPod(configMap("settings"))
	first := s.manager(root)
	_, err := first.Mount(t.Context(), pod)
	require.NoError(t, err)
	for name, m := range map[string]*volume.Manager{"same agent": first, "next agent": s.manager(root)} {
		t.Run(name, func(t *testing.T) {
			s.events = nil
			for _, err := range []error{errOffline, errOffline, nil, errOffline} {
				s.fail(err)
				paths, err := m.Mount(t.Context(), pod)
				require.NoError(t, err)
				assert.Equal(t, map[string]string{"a": "1"}, filesIn(t, paths["v-settings"]))
			}
			event := `Pod/web Warning FailedMount MountVolume.SetUp failed for volume "v-settings" : configmap "settings": the cloud is out of reach`
			assert.Equal(t, []string{event, event}, s.told(), "once for each time that it began")
		})
	}
	s.fail(nil)
	delete(s.configMaps, "settings")
	paths, err := first.Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a": "1"}, filesIn(t, paths["v-settings"]))
}

// What is left of a volume, as by the kubelet or an older agent, is shown before it is
// taken for content.
func TestContentWhoseLinksAreMissingIsShown(t *testing.T) {
	s, root := newShelf(), t.TempDir()
	dir := filepath.Join(root, "pods/uid/volumes/kubernetes.io~configmap/v-settings")
	write(t, filepath.Join(dir, "..2026.1/a"))
	require.NoError(t, os.Symlink("..2026.1", filepath.Join(dir, "..data")))
	s.fail(errOffline)
	m := s.manager(root)
	paths, err := m.Mount(t.Context(), shopPod(configMap("settings")))
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a": "data"}, filesIn(t, paths["v-settings"]))

	require.NoError(t, os.Remove(filepath.Join(dir, "a")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "a"), 0o755)) // in the way
	_, err = m.Mount(t.Context(), shopPod(configMap("settings")))
	require.ErrorIs(t, err, errOffline)
}

// A key that has the name of another volume's mount point keeps a pod from its start,
// and one that comes later changes nothing for the pod.
func TestAKeyWithTheNameOfAMountPoint(t *testing.T) {
	s := newShelf()
	s.setConfigMap("settings", map[string]string{"cache": "1", "a": "1"})
	pod := shopPod(configMap("settings"), emptyDir("inner"))
	mounts := pod.Spec.Containers[0].VolumeMounts
	mounts[0].MountPath, mounts[1].MountPath = "/etc/app", "/etc/app/cache"
	m := s.manager(t.TempDir())
	_, err := m.Mount(t.Context(), pod)
	require.ErrorContains(t, err, "v-settings/cache: file exists")
	s.setConfigMap("settings", map[string]string{"a": "2"})
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	s.setConfigMap("settings", map[string]string{"cache": "3", "a": "3"})
	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join(paths["v-settings"], "a"))
	require.NoError(t, err)
	assert.Equal(t, "2", string(data))
	require.Len(t, s.told(), 1)
	assert.Contains(t, s.told()[0], "v-settings/cache: file exists")
}

func TestAPodWhoseContentNeverCameWaits(t *testing.T) {
	s := newShelf()
	s.fail(errOffline)
	m := s.manager(t.TempDir())
	pod := shopPod(configMap("settings"), emptyDir("fine"))
	for range 2 {
		_, err := m.Mount(t.Context(), pod)
		require.ErrorIs(t, err, errOffline)
	}
	s.fail(nil)
	s.setConfigMap("settings", nil)
	_, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
}

// The runtime could not make the mount points in a volume that is read-only.
func TestMountPointsInsideAVolumeAreMade(t *testing.T) {
	s := newShelf()
	s.setConfigMap("settings", map[string]string{"a": "1"})
	pod := shopPod(configMap("settings"), emptyDir("inner"))
	mounts := pod.Spec.Containers[0].VolumeMounts
	mounts[0].MountPath, mounts[1].MountPath = "/etc/app", "/etc/app/cache/tmp/"
	m := s.manager(t.TempDir())
	for range 2 {
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		assert.DirExists(t, filepath.Join(paths["v-settings"], "cache/tmp"))
		assert.FileExists(t, filepath.Join(paths["v-settings"], "a"))
	}
	mounts[1].MountPath = "/etc/app/..data"
	s.setConfigMap("settings", map[string]string{"a": "2"})
	_, err := m.Mount(t.Context(), pod)
	require.NoError(t, err, "it has content")
	assert.Contains(t, s.told()[0], `make the mount point of another volume: path "..data"`)
}

func TestAConfigMapBelongsToThePodsGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to a group")
	}
	s := newShelf()
	s.setConfigMap("settings", map[string]string{"a": "1"})
	pod := shopPod(configMap("settings", func(source *corev1.ConfigMapVolumeSource) {
		source.Items = []corev1.KeyToPath{{Key: "a", Path: "d/a", Mode: new(int32(0o600))}}
	}), emptyDir("cache"))
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(4242))}
	paths, err := s.manager(t.TempDir()).Mount(t.Context(), pod)
	require.NoError(t, err)
	dir := paths["v-settings"]
	for path, mode := range map[string]fs.FileMode{
		filepath.Join(dir, "d/a"):    0o640,
		filepath.Join(dir, "d"):      0o755 | fs.ModeDir | fs.ModeSetgid,
		filepath.Join(dir, "..data"): 0o755 | fs.ModeDir | fs.ModeSetgid,
		dir:                          0o755 | fs.ModeDir | fs.ModeSetgid,
		paths["cache"]:               0o777 | fs.ModeDir | fs.ModeSetgid,
	} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode(), path)
		assert.EqualValues(t, 4242, gidOf(info), path)
	}
}
