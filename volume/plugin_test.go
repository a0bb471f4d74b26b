package volume_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/volume"
)

// diskPlugin serves inline CSI volumes and persistent ones, and notes its steps.
type diskPlugin struct {
	steps []string
	fail  map[string]error // by the step, with or without the volume
	old   error            // why what is mounted is not up to date
	seen  *volume.Volume
}

func (p *diskPlugin) step(ctx context.Context, name, dir string) error {
	step := name + " " + filepath.Base(dir)
	p.steps = append(p.steps, step)
	if err := errors.Join(p.fail[name], p.fail[step]); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 3*time.Minute {
		return errors.New("the step has no deadline")
	}
	return nil
}

func (p *diskPlugin) Name() string { return "example.com/disk" }

func (p *diskPlugin) Serves(v *volume.Volume) bool {
	return v.Spec.CSI != nil || v.Persistent != nil && v.Persistent.Spec.CSI != nil
}

func (p *diskPlugin) Attach(ctx context.Context, v *volume.Volume) error {
	p.seen = v
	return p.step(ctx, "attach", v.Dir)
}

func (p *diskPlugin) Mount(ctx context.Context, v *volume.Volume) (string, error) {
	path := filepath.Join(v.Dir, "mount")
	if err := p.step(ctx, "mount", v.Dir); err != nil {
		return "", err
	}
	if err := os.Mkdir(v.Dir, 0o755); err != nil && !os.IsExist(err) {
		return "", err // its parent must be there
	}
	return path, errors.Join(p.old, os.MkdirAll(path, 0o755))
}

func (p *diskPlugin) Unmount(ctx context.Context, _ types.UID, dir string) error {
	return p.step(ctx, "unmount", dir)
}

func (p *diskPlugin) Detach(ctx context.Context, _ types.UID, dir string) error {
	if err := p.step(ctx, "detach", dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func (p *diskPlugin) take() string {
	steps := strings.Join(p.steps, ", ")
	p.steps = nil
	return steps
}

func with(plugin volume.Plugin) func(*volume.Config) {
	return func(cfg *volume.Config) {
		cfg.Plugins = []volume.Plugin{plugin}
		cfg.Removed = func(types.UID) bool { return true }
	}
}

func inline(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d", ReadOnly: new(true)}}}
}

func TestAPluginServesItsVolumes(t *testing.T) {
	s, root, plugin := newShelf(), t.TempDir(), &diskPlugin{}
	m := s.manager(root, with(plugin))
	pod := shopPod(inline("a"), emptyDir("b"))
	for range 2 {
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		dir := filepath.Join(root, "pods/uid/volumes/example.com~disk/a")
		assert.Equal(t, filepath.Join(dir, "mount"), paths["a"])
		assert.Equal(t, &volume.Volume{Pod: pod, Spec: &pod.Spec.Volumes[0], ReadOnly: true, Dir: dir}, plugin.seen)
		assert.Equal(t, "attach a, mount a", plugin.take())
	}
	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.Equal(t, "unmount a, detach a", plugin.take())
	assert.NoDirExists(t, filepath.Join(root, "pods/uid"))
	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.Empty(t, plugin.take())
}

// The pod gives back all that it can, whatever is in the way of the rest.
func TestAVolumeThatCannotBeUnmountedKeepsNoOther(t *testing.T) {
	s, root := newShelf(), t.TempDir()
	plugin := &diskPlugin{fail: map[string]error{"unmount a": errors.New("busy")}}
	m := s.manager(root, with(plugin))
	_, err := m.Mount(t.Context(), shopPod(inline("a"), inline("b"), emptyDir("data")))
	require.NoError(t, err)
	plugin.take()
	err = m.Unmount(t.Context(), "uid")
	require.ErrorContains(t, err, "example.com~disk/a: busy")
	assert.Equal(t, "unmount a, unmount b, detach b", plugin.take())
	assert.DirExists(t, filepath.Join(root, "pods/uid/volumes/example.com~disk/a"))
	assert.DirExists(t, filepath.Join(root, "pods/uid/volumes/kubernetes.io~empty-dir/data"), "directories go when all went well")

	plugin.fail = nil
	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.Equal(t, "unmount a, detach a", plugin.take())
	assert.NoDirExists(t, filepath.Join(root, "pods/uid"))
}

// A plugin that fails is asked again, keeps nothing else from its volumes, and the
// pod's directory stays until it succeeds, by another agent if need be.
func TestAPluginThatFails(t *testing.T) {
	s, root := newShelf(), t.TempDir()
	plugin := &diskPlugin{fail: map[string]error{}}
	m := s.manager(root, with(plugin))
	pod := shopPod(inline("a"), inline("b"))
	for _, step := range []string{"attach", "mount"} {
		plugin.fail[step] = errors.New("no such disk")
		_, err := m.Mount(t.Context(), pod)
		require.ErrorContains(t, err, `volume "a": `+step+`: no such disk`)
		require.ErrorContains(t, err, `volume "b": `+step+`: no such disk`)
		delete(plugin.fail, step)
	}
	_, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	plugin.take()
	for step, want := range map[string]string{"unmount": "unmount a, unmount b", "detach": "unmount a, unmount b, detach a, detach b"} {
		plugin.fail[step] = errors.New("busy")
		require.ErrorContains(t, m.Unmount(t.Context(), "uid"), step+" "+filepath.Join(root, "pods/uid/volumes/example.com~disk/a")+": busy")
		assert.Equal(t, want, plugin.take())
		assert.DirExists(t, filepath.Join(root, "pods/uid/volumes/example.com~disk/b"))
		delete(plugin.fail, step)
	}
	require.NoError(t, s.manager(root, with(plugin)).Prune(t.Context()))
	assert.Equal(t, "unmount a, unmount b, detach a, detach b", plugin.take())
	assert.NoDirExists(t, filepath.Join(root, "pods/uid"))
}

// What a plugin has mounted the pod keeps, also when it is not up to date. That is told
// once for each cause, together with what is wrong with the claim.
func TestAPluginThatCannotBringAVolumeUpToDate(t *testing.T) {
	s, plugin := newShelf(), &diskPlugin{}
	pvc, _ := s.bind("data", csiSource())
	m := s.manager(t.TempDir(), with(plugin))
	pod := shopPod(inline("a"), claimed("data"))
	first, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	for _, test := range []struct {
		old     error
		deleted *metav1.Time
		told    int
	}{
		{errors.New("the driver is gone"), nil, 2}, {errors.New("the driver is gone"), nil, 2}, {nil, nil, 2},
		{errors.New("the driver is gone"), new(metav1.Now()), 4}, {errors.New("the driver is gone"), new(metav1.Now()), 4},
	} {
		plugin.old, pvc.DeletionTimestamp = test.old, test.deleted
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, first, paths)
		assert.Len(t, s.told(), test.told)
	}
	failure := `Pod/web Warning FailedMount MountVolume.SetUp failed for volume "%s" : %s`
	assert.Equal(t, []string{
		fmt.Sprintf(failure, "a", "mount: the driver is gone"), fmt.Sprintf(failure, "v", "mount: the driver is gone"),
		fmt.Sprintf(failure, "a", "mount: the driver is gone"), fmt.Sprintf(failure, "v", "PVC shop/data is being deleted\nmount: the driver is gone"),
	}, s.told())
}

// groupedPlugin wants its volumes to belong to their pods' groups.
type groupedPlugin struct {
	diskPlugin
	applies bool
	err     error
}

func (p *groupedPlugin) AppliesFSGroup(*volume.Volume) (bool, error) { return p.applies, p.err }

func TestAPluginsVolumeIsGivenToThePodsGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to a group")
	}
	for name, want := range map[string]uint32{"applies": 4242, "does not": 0} {
		t.Run(name, func(t *testing.T) {
			plugin := &groupedPlugin{applies: name == "applies"}
			m := newShelf().manager(t.TempDir(), with(plugin))
			pod := shopPod(inline("a"))
			pod.Spec.Volumes[0].CSI.ReadOnly = nil
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(4242))}
			paths, err := m.Mount(t.Context(), pod)
			require.NoError(t, err)
			info, err := os.Stat(paths["a"])
			require.NoError(t, err)
			assert.Equal(t, want, gidOf(info))
			plugin.err = errors.New("no record")
			_, err = m.Mount(t.Context(), pod)
			require.ErrorContains(t, err, "no record")
		})
	}
}

func claimed(name string) corev1.Volume {
	return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name, ReadOnly: true},
	}}
}

// bind puts a claim and the volume that it is bound to onto the shelf.
func (s *shelf) bind(claim string, source corev1.PersistentVolumeSource) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {
	pvc := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: claim, UID: "claim-uid"},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv-1"},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-1"},
		Spec:       corev1.PersistentVolumeSpec{PersistentVolumeSource: source, ClaimRef: &corev1.ObjectReference{UID: "claim-uid"}},
	}
	s.claims[claim], s.volumes["pv-1"] = pvc, pv
	return pvc, pv
}

func csiSource() corev1.PersistentVolumeSource {
	return corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d"}}
}

func TestAClaimIsServed(t *testing.T) {
	dir := t.TempDir()
	for name, source := range map[string]corev1.PersistentVolumeSource{
		"plugin":   csiSource(),
		"hostPath": {HostPath: &corev1.HostPathVolumeSource{Path: dir}},
		"local":    {Local: &corev1.LocalVolumeSource{Path: dir}},
	} {
		t.Run(name, func(t *testing.T) {
			s, root, plugin := newShelf(), t.TempDir(), &diskPlugin{}
			_, pv := s.bind("data", source)
			pv.Annotations = map[string]string{"pv.beta.kubernetes.io/gid": "4711"}
			m := s.manager(root, with(plugin))
			pod := shopPod(claimed("data"))
			paths, err := m.Mount(t.Context(), pod)
			require.NoError(t, err)
			assert.Equal(t, []int64{4711}, m.Groups("uid"))
			if name == "plugin" {
				served := filepath.Join(root, "pods/uid/volumes/example.com~disk/pv-1")
				assert.Equal(t, filepath.Join(served, "mount"), paths["v"])
				assert.Equal(t, &volume.Volume{Pod: pod, Spec: &pod.Spec.Volumes[0], Persistent: pv, ReadOnly: true, Dir: served}, plugin.seen)
			} else {
				assert.Equal(t, dir, paths["v"])
			}
			require.NoError(t, m.Unmount(t.Context(), "uid"))
			assert.DirExists(t, dir)
			assert.Empty(t, m.Groups("uid"))
		})
	}
}

// A claim that is deleted while the pod has it, or that cannot be asked for, takes
// nothing from the pod.
func TestAMountedClaimIsKept(t *testing.T) {
	s := newShelf()
	pvc, _ := s.bind("data", csiSource())
	m := s.manager(t.TempDir(), with(&diskPlugin{}))
	pod := shopPod(claimed("data"))
	first, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	pvc.DeletionTimestamp = new(metav1.Now())
	for range 2 {
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, first, paths)
	}
	assert.Equal(t, []string{`Pod/web Warning FailedMount MountVolume.SetUp failed for volume "v" : PVC shop/data is being deleted`}, s.told())
	require.NoError(t, m.Unmount(t.Context(), "uid"))
	_, err = m.Mount(t.Context(), pod)
	require.ErrorContains(t, err, "is being deleted")
}

func TestALocalVolumeIsGivenToThePodsGroupOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to a group")
	}
	s, dir := newShelf(), t.TempDir()
	s.bind("data", corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}})
	m := s.manager(t.TempDir())
	readOnly := shopPod(claimed("data"))
	readOnly.UID = "reader"
	readOnly.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(4242))}
	_, err := m.Mount(t.Context(), readOnly)
	require.NoError(t, err)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Zero(t, gidOf(info), "who may not write changes nothing")

	pod := shopPod(claimed("data"))
	pod.Spec.Volumes[0].PersistentVolumeClaim.ReadOnly = false
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(4242))}
	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	write(t, filepath.Join(dir, "later"))
	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	for path, gid := range map[string]uint32{dir: 4242, filepath.Join(dir, "later"): 4242} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, gid, gidOf(info), path)
	}
	require.NoError(t, os.Chown(filepath.Join(dir, "later"), 0, 0))
	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	info, err = os.Stat(filepath.Join(dir, "later"))
	require.NoError(t, err)
	assert.Zero(t, gidOf(info), "the pod's containers may have changed it")
}

// A tree may be large: the next agent gives it to the group again only where the volume
// itself shows that it is not, as one that was made anew by a reboot.
func TestTheNextAgentDoesNotWalkThroughAVolumeAgain(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to a group")
	}
	s, root, dir := newShelf(), t.TempDir(), t.TempDir()
	s.bind("data", corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}})
	pod := shopPod(claimed("data"))
	pod.Spec.Volumes[0].PersistentVolumeClaim.ReadOnly = false
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(4242))}
	file := filepath.Join(dir, "file")
	write(t, file)
	gid := func(uid types.UID) uint32 {
		pod.UID = uid
		require.NoError(t, os.Chown(file, 0, 0))
		_, err := s.manager(root).Mount(t.Context(), pod)
		require.NoError(t, err)
		info, err := os.Stat(file)
		require.NoError(t, err)
		return gidOf(info)
	}
	assert.EqualValues(t, 4242, gid("uid"))
	assert.Zero(t, gid("uid"))
	assert.EqualValues(t, 4242, gid("other"), "each pod has it done once")
	require.NoError(t, os.Chown(dir, 0, 0))
	assert.EqualValues(t, 4242, gid("uid"))
	require.NoError(t, s.manager(root).Unmount(t.Context(), "uid"))
	assert.NoDirExists(t, filepath.Join(root, "pods/uid"))
	assert.EqualValues(t, 4242, gid("uid"), "with the pod goes the note of it")
}

func TestClaimsThatAreRefused(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	tests := map[string]struct {
		change func(s *shelf, pvc *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, pod *corev1.Pod)
		err    string
	}{
		"no claim": {func(s *shelf, _ *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume, _ *corev1.Pod) {
			delete(s.claims, "data")
		},
			`PVC shop/data: persistentvolumeclaims "data" not found`},
		"no volume": {func(s *shelf, _ *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume, _ *corev1.Pod) {
			delete(s.volumes, "pv-1")
		},
			`PV pv-1 of PVC shop/data: persistentvolumes "pv-1" not found`},
		"pending": {func(_ *shelf, pvc *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume, _ *corev1.Pod) {
			pvc.Status.Phase = corev1.ClaimPending
		}, `PVC shop/data is not bound, its phase is "Pending"`},
		"being deleted": {func(_ *shelf, pvc *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume, _ *corev1.Pod) {
			pvc.DeletionTimestamp = new(metav1.Now())
		}, "PVC shop/data is being deleted"},
		"bound to nobody": {func(_ *shelf, _ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, _ *corev1.Pod) {
			pv.Spec.ClaimRef = nil
		}, "PV pv-1 is not bound to PVC shop/data: it has no claimRef"},
		"bound to another": {func(_ *shelf, _ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, _ *corev1.Pod) {
			pv.Spec.ClaimRef.UID = "older"
		}, `the UID of its claimRef is "older", that of PVC shop/data is "claim-uid"`},
		"a device as a directory": {func(_ *shelf, _ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, _ *corev1.Pod) {
			pv.Spec.VolumeMode = &block
		}, `PV pv-1 has volumeMode Block, but is specified in volumeMounts of container "app"`},
		"a directory as a device": {func(_ *shelf, _ *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume, pod *corev1.Pod) {
			pod.Spec.Containers[0].VolumeDevices = []corev1.VolumeDevice{{Name: "v"}}
		}, `PV pv-1 has volumeMode Filesystem, but is specified in volumeDevices of container "app"`},
		"group that is none": {func(_ *shelf, _ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, _ *corev1.Pod) {
			pv.Annotations = map[string]string{"pv.beta.kubernetes.io/gid": "staff"}
		}, "PV pv-1: annotation pv.beta.kubernetes.io/gid: invalid syntax"},
		"served by nobody": {func(_ *shelf, _ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, _ *corev1.Pod) {
			pv.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}}
		}, "of which nobody serves the persistent volume pv-1"},
		"name that climbs": {func(_ *shelf, _ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, _ *corev1.Pod) {
			pv.Name = "../x"
		}, "cannot be the name of a directory"},
		"local file": {func(_ *shelf, _ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, _ *corev1.Pod) {
			pv.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/dev/null"}}
		}, "/dev/null is not a directory"},
		"local nothing": {func(_ *shelf, _ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, _ *corev1.Pod) {
			pv.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/nothing/there"}}
		}, "local volume: stat /nothing/there"},
		"device on a hostPath": {func(_ *shelf, _ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, pod *corev1.Pod) {
			pv.Spec.VolumeMode, pv.Spec.PersistentVolumeSource = &block, corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
			asDevice(pod)
		}, "volumes of kind hostPath with volumeMode Block are not supported"},
		"local device": {func(_ *shelf, _ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, pod *corev1.Pod) {
			pv.Spec.VolumeMode, pv.Spec.PersistentVolumeSource = &block, corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/"}}
			asDevice(pod)
		}, "volumes of kind local with volumeMode Block are not supported"},
		"not the pod's own": {func(s *shelf, pvc *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume, pod *corev1.Pod) {
			pod.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}
			s.claims["web-v"] = pvc
		}, "PVC shop/web-v is not the pod's own"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newShelf()
			pvc, pv := s.bind("data", csiSource())
			pod := shopPod(claimed("data"))
			test.change(s, pvc, pv, pod)
			_, err := s.manager(t.TempDir(), with(&diskPlugin{})).Mount(t.Context(), pod)
			require.ErrorContains(t, err, `mount volumes: volume "v": `)
			require.ErrorContains(t, err, test.err)
		})
	}
}

// asDevice has the container use the volume as a device.
func asDevice(pod *corev1.Pod) {
	pod.Spec.Containers[0].VolumeMounts = nil
	pod.Spec.Containers[0].VolumeDevices = []corev1.VolumeDevice{{Name: "v", DevicePath: "/dev/v"}}
}

func TestAClaimThatIsMadeForThePod(t *testing.T) {
	s := newShelf()
	pvc, _ := s.bind("web-v", csiSource())
	pod := shopPod(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}})
	pvc.OwnerReferences = []metav1.OwnerReference{{UID: pod.UID, Controller: new(true)}}
	paths, err := s.manager(t.TempDir(), with(&diskPlugin{})).Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.NotEmpty(t, paths["v"])
}

func TestAnImageIsTheRuntimesToMount(t *testing.T) {
	paths, err := newManager(t.TempDir()).Mount(t.Context(), podWith("uid", corev1.Volume{
		Name: "model", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "models/llm:1"}},
	}))
	require.NoError(t, err)
	assert.Empty(t, paths)
}
