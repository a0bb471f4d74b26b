package statusmgr_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/statusmgr"
)

// list builds a list from pairs of words: "cpu", "1".
func list(pairs ...string) corev1.ResourceList {
	resources := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		resources[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return resources
}

// texts is how the list is written down.
func texts(resources corev1.ResourceList) map[string]string {
	written := map[string]string{}
	for name, quantity := range resources {
		written[string(name)] = quantity.String()
	}
	return written
}

func TestResourcesAreThoseInEffect(t *testing.T) {
	type words = map[string]string
	linux := func(quota, shares, memory int64) *runtimeapi.LinuxContainerResources {
		return &runtimeapi.LinuxContainerResources{CpuPeriod: 100000, CpuQuota: quota, CpuShares: shares, MemoryLimitInBytes: memory}
	}
	big := corev1.ResourceRequirements{
		Requests: list("cpu", "250m", "memory", "64Mi"),
		Limits:   list("cpu", "0.5", "memory", "134217728", "example.org/gpu", "1"),
	}
	tiny := corev1.ResourceRequirements{Requests: list("cpu", "1m"), Limits: list("cpu", "5m")}
	tests := map[string]struct {
		spec             corev1.ResourceRequirements
		run              string
		linux            *runtimeapi.LinuxContainerResources
		requests, limits words
	}{
		"as asked for, and worded so": {big, "app#0 running", linux(50000, 256, 128<<20),
			words{"cpu": "250m", "memory": "64Mi"}, words{"cpu": "500m", "memory": "134217728", "example.org/gpu": "1"}},
		"not resized yet": {big, "app#0 running", linux(20000, 102, 32<<20),
			words{"cpu": "100m", "memory": "64Mi"}, words{"cpu": "200m", "memory": "32Mi", "example.org/gpu": "1"}},
		"the runtime does not tell": {big, "app#0 running", nil,
			words{"cpu": "250m", "memory": "64Mi"}, words{"cpu": "500m", "memory": "134217728", "example.org/gpu": "1"}},
		"the runtime tells of no limits": {big, "app#0 running", linux(-1, 0, 0),
			words{"cpu": "250m", "memory": "64Mi"}, words{"cpu": "500m", "memory": "134217728", "example.org/gpu": "1"}},
		"it has ended": {big, "app#0 exited 1", linux(20000, 102, 32<<20),
			words{"cpu": "250m", "memory": "64Mi"}, words{"cpu": "500m", "memory": "134217728", "example.org/gpu": "1"}},
		"less than the kernel can be told": {tiny, "app#0 running", linux(1000, 2, 0), words{"cpu": "1m"}, words{"cpu": "5m"}},
		"no longer less than that":         {tiny, "app#0 running", linux(30000, 1024, 0), words{"cpu": "1"}, words{"cpu": "300m"}},
		"about to be less than that": {corev1.ResourceRequirements{Requests: list("cpu", "1"), Limits: list("cpu", "1")},
			"app#0 running", linux(1000, 2, 0), words{"cpu": "2m"}, words{"cpu": "10m"}},
		"what was not asked for": {corev1.ResourceRequirements{Requests: list("memory", "1Mi")}, "app#0 running", linux(20000, 2, 32<<20),
			words{"memory": "1Mi"}, words{}},
		"nonsense": {big, "app#0 running", linux(math.MaxInt64, math.MinInt64, -1),
			words{"cpu": "250m", "memory": "64Mi"}, words{"cpu": "500m", "memory": "134217728", "example.org/gpu": "1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := newPod(always, "app")
			pod.Spec.Containers[0].Resources = test.spec
			state := observed(test.run)
			state.Containers[0].Resources = &runtimeapi.ContainerResources{Linux: test.linux}
			c := container(statusmgr.Generate(input(pod, state)), "app")
			require.NotNil(t, c.Resources)
			assert.Equal(t, test.requests, texts(c.Resources.Requests))
			assert.Equal(t, test.limits, texts(c.Resources.Limits))
			assert.Equal(t, texts(test.spec.Requests), texts(c.AllocatedResources))
		})
	}
}

func TestUserIsWhoTheRuntimeSays(t *testing.T) {
	state := observed("app#0 running")
	state.Containers[0].User = &runtimeapi.ContainerUser{Linux: &runtimeapi.LinuxContainerUser{Uid: 1000, Gid: 100, SupplementalGroups: []int64{5, 6}}}
	c := container(statusmgr.Generate(input(newPod(always, "app"), state)), "app")
	assert.Equal(t, &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: 1000, GID: 100, SupplementalGroups: []int64{5, 6}}}, c.User)

	state.Containers[0].User = &runtimeapi.ContainerUser{}
	assert.Nil(t, container(statusmgr.Generate(input(newPod(always, "app"), state)), "app").User)
}

func TestVolumeMountsTellWhetherTheyAreReadOnlyAllTheWayDown(t *testing.T) {
	const enabled, ifPossible, disabled = corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyDisabled
	tests := map[string]struct {
		readOnly  bool
		asked     *corev1.RecursiveReadOnlyMode
		recursive bool
		want      *corev1.RecursiveReadOnlyMode
	}{
		"writable":                    {false, nil, false, nil},
		"read-only":                   {true, nil, true, new(disabled)},
		"disabled":                    {true, new(disabled), true, new(disabled)},
		"enabled":                     {true, new(enabled), false, new(enabled)},
		"if possible, and it was":     {true, new(ifPossible), true, new(enabled)},
		"if possible, and it was not": {true, new(ifPossible), false, new(disabled)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := newPod(always, "app")
			pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
				{Name: "data", MountPath: "/data", ReadOnly: test.readOnly, RecursiveReadOnly: test.asked},
			}
			state := observed("app#0 running")
			state.Containers[0].Mounts = []*runtimeapi.Mount{
				{ContainerPath: "/other", RecursiveReadOnly: true}, {ContainerPath: "/data", RecursiveReadOnly: test.recursive},
			}
			want := []corev1.VolumeMountStatus{{Name: "data", MountPath: "/data", ReadOnly: test.readOnly, RecursiveReadOnly: test.want}}
			status := statusmgr.Generate(input(pod, state))
			assert.Equal(t, want, container(status, "app").VolumeMounts)
			assert.Equal(t, want, container(then(status, input(pod, observed())), "app").VolumeMounts, "kept when the runtime forgets")
		})
	}
	pod := newPod(always, "app")
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	want := []corev1.VolumeMountStatus{{Name: "data", MountPath: "/data"}}
	assert.Equal(t, want, container(statusmgr.Generate(input(pod, observed())), "app").VolumeMounts, "before it is created")
}
