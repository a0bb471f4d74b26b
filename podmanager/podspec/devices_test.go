package podspec_test

import (
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// disks gives the first container the claim "rw" and the read-only claim "ro" as devices.
func disks(paths ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for i, name := range []string{"rw", "ro"} {
			claim := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name, ReadOnly: name == "ro"}
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: claim}})
			p.Spec.Containers[0].VolumeDevices = append(p.Spec.Containers[0].VolumeDevices, corev1.VolumeDevice{Name: name, DevicePath: paths[i]})
		}
	}
}

func TestBlockVolumesAreDevices(t *testing.T) {
	config := container(t, completePod(t, disks("/dev/xvda", "/dev/xvdb")), options(func(o *podspec.ContainerOptions) {
		o.Devices = map[string]string{"rw": "/dev/loop1", "ro": "/dev/loop2"}
	}))
	assert.Equal(t, []*runtimeapi.Device{
		{HostPath: "/dev/loop1", ContainerPath: "/dev/xvda", Permissions: "mrw"},
		{HostPath: "/dev/loop2", ContainerPath: "/dev/xvdb", Permissions: "r"},
	}, config.Devices)
}

func TestBlockVolumesThatCannotBe(t *testing.T) {
	devices := map[string]string{"rw": "/dev/loop1"}
	for name, row := range map[string]struct {
		pod  func(*corev1.Pod)
		want string
	}{
		"not there": {disks("/dev/a", "/dev/b"), `cannot find volume "ro" to pass into container "app"`},
		"relative":  {disks("dev/a", "/dev/b"), "spec.containers[0].volumeDevices[0].devicePath: must be an absolute path"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(row.pod)
			_, err := podspec.Container(pod, &pod.Spec.Containers[0], options(func(o *podspec.ContainerOptions) { o.Devices = devices }))
			assert.Equal(t, row.want, requireReason(t, err, podspec.ReasonContainerConfig))
		})
	}
}
