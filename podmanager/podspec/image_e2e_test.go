//go:build linux && e2e

package podspec_test

import (
	"context"
	"testing"
	"time"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A runtime that can mount images does; an older one does not start the container
// without them.
func TestImageVolumeOnContainerd(t *testing.T) {
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) {
			daemon := containerd.Start(t, version)
			client, err := cri.Dial(t.Context(), daemon.Endpoint(), cri.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close(context.Background()) })
			pod := completePod(t, func(pod *corev1.Pod) {
				pod.Spec.Volumes = []corev1.Volume{{Name: "model", VolumeSource: corev1.VolumeSource{
					Image: &corev1.ImageVolumeSource{Reference: containerd.BusyboxEdited, PullPolicy: corev1.PullIfNotPresent},
				}}}
				pod.Spec.Containers[0] = corev1.Container{
					Name: "app", Image: containerd.Busybox, Command: []string{"sleep", "1000"},
					VolumeMounts: []corev1.VolumeMount{{Name: "model", MountPath: "/model"}},
				}
			})
			ctx := t.Context()
			sandbox, err := podspec.Sandbox(pod, podspec.SandboxOptions{LogRoot: t.TempDir()})
			require.NoError(t, err)
			sandboxID, err := client.RunPodSandbox(ctx, sandbox, "")
			require.NoError(t, err)
			image := func(name string) *runtimeapi.Image {
				status, err := client.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: name}, false)
				require.NoError(t, err)
				return status.GetImage()
			}
			config, err := podspec.Container(pod, &pod.Spec.Containers[0], podspec.ContainerOptions{
				Image: image(containerd.Busybox), ImageVolumes: map[string]*runtimeapi.Image{"model": image(containerd.BusyboxEdited)},
			})
			require.NoError(t, err)
			id, err := client.CreateContainer(ctx, sandboxID, config, sandbox)
			if version == "1.6" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.NoError(t, client.StartContainer(ctx, id))
			out, _, err := client.ExecSync(ctx, id, []string{"sh", "-c", "cat /model/etc/image-version; touch /model/x 2>/dev/null || echo read-only"}, 10*time.Second)
			require.NoError(t, err)
			assert.Equal(t, "2\nread-only\n", string(out))
		})
	}
}
