package cri_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

func labelledPod() *corev1.Pod {
	grace, deletion := int64(42), int64(7)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web", Namespace: "shop", UID: "uid-1", DeletionGracePeriodSeconds: &deletion,
			Labels:      map[string]string{"app": "web", cri.LabelPodName: "forged"},
			Annotations: map[string]string{"cni": "fast"},
		},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "app", Image: "nginx:1",
				TerminationMessagePath:   "/dev/termination-log",
				TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
				Ports:                    []corev1.ContainerPort{{Name: "http", ContainerPort: 80}},
				Lifecycle:                &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"bye"}}}},
			}},
		},
	}
}

func TestSandboxLabelsAreThePodsAndTheReservedOnesWin(t *testing.T) {
	assert.Equal(t, map[string]string{
		"app":                         "web",
		"io.kubernetes.pod.name":      "web",
		"io.kubernetes.pod.namespace": "shop",
		"io.kubernetes.pod.uid":       "uid-1",
	}, cri.SandboxLabels(labelledPod()))
}

func TestSandboxAnnotationsAreThePodsVerbatimAndACopy(t *testing.T) {
	pod := labelledPod()
	annotations := cri.SandboxAnnotations(pod)
	assert.Equal(t, map[string]string{"cni": "fast"}, annotations)
	annotations["cni"] = "slow"
	assert.Equal(t, "fast", pod.Annotations["cni"])
}

func TestContainerLabelsAreTheReservedOnesOnly(t *testing.T) {
	assert.Equal(t, map[string]string{
		"io.kubernetes.pod.name":       "web",
		"io.kubernetes.pod.namespace":  "shop",
		"io.kubernetes.pod.uid":        "uid-1",
		"io.kubernetes.container.name": "app",
	}, cri.ContainerLabels(labelledPod(), "app"))
}

func TestContainerAnnotationsCarryWhatKillingAnOrphanNeeds(t *testing.T) {
	pod := labelledPod()
	assert.Equal(t, map[string]string{
		"io.kubernetes.container.hash":                     "56fe8e540a6c11bd",
		"io.kubernetes.container.restartCount":             "3",
		"io.kubernetes.container.terminationMessagePath":   "/dev/termination-log",
		"io.kubernetes.container.terminationMessagePolicy": "FallbackToLogsOnError",
		"io.kubernetes.container.ports":                    `[{"name":"http","containerPort":80}]`,
		"io.kubernetes.container.preStopHandler":           `{"exec":{"command":["bye"]}}`,
		"io.kubernetes.pod.terminationGracePeriod":         "42",
		"io.kubernetes.pod.deletionGracePeriod":            "7",
	}, cri.ContainerAnnotations(pod, &pod.Spec.Containers[0], 3))
}

func TestContainerAnnotationsLeaveOutWhatThePodDoesNotSay(t *testing.T) {
	annotations := cri.ContainerAnnotations(&corev1.Pod{}, &corev1.Container{Name: "app"}, 0)
	for _, absent := range []string{cri.AnnotationPorts, cri.AnnotationPreStop, cri.AnnotationTerminationGracePeriod, cri.AnnotationDeletionGracePeriod} {
		assert.NotContains(t, annotations, absent)
	}
}

func TestParseContainerReadsBackWhatWasBuilt(t *testing.T) {
	pod := labelledPod()
	container := &pod.Spec.Containers[0]
	info := cri.ParseContainer(cri.ContainerLabels(pod, "app"), cri.ContainerAnnotations(pod, container, 3))
	assert.Equal(t, cri.ContainerInfo{
		PodName: "web", PodNamespace: "shop", PodUID: types.UID("uid-1"), ContainerName: "app",
		Hash:                     cri.ContainerHash(container),
		RestartCount:             3,
		TerminationMessagePath:   "/dev/termination-log",
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		Ports:                    container.Ports,
		PreStop:                  container.Lifecycle.PreStop,
		TerminationGracePeriod:   pod.Spec.TerminationGracePeriodSeconds,
		DeletionGracePeriod:      pod.DeletionGracePeriodSeconds,
	}, info)
}

func TestParseContainerTakesMalformedValuesForAbsent(t *testing.T) {
	garbage := map[string]string{
		cri.AnnotationHash: "xyz", cri.AnnotationRestartCount: "-4", cri.AnnotationPorts: `[{"containerPort":1},`,
		cri.AnnotationPreStop: "{", cri.AnnotationTerminationGracePeriod: "soon", cri.AnnotationDeletionGracePeriod: "",
	}
	assert.Equal(t, cri.ContainerInfo{}, cri.ParseContainer(nil, garbage))
}

func FuzzParseContainerNeverPanics(f *testing.F) {
	f.Add("5ea2", "1", `[{"containerPort":80}]`, `{"exec":{"command":["x"]}}`, "30")
	f.Fuzz(func(t *testing.T, hash, count, ports, preStop, grace string) {
		info := cri.ParseContainer(nil, map[string]string{
			cri.AnnotationHash: hash, cri.AnnotationRestartCount: count, cri.AnnotationPorts: ports,
			cri.AnnotationPreStop: preStop, cri.AnnotationTerminationGracePeriod: grace,
		})
		require.GreaterOrEqual(t, info.RestartCount, 0)
	})
}

// The values are pinned: a hash that changes from release to release restarts
// every container on upgrade.
func TestContainerHashIsStableAndCoversNameAndImageOnly(t *testing.T) {
	base := corev1.Container{Name: "app", Image: "nginx:1"}
	assert.Equal(t, uint64(0x56fe8e540a6c11bd), cri.ContainerHash(&base))

	sameIdentity := base
	sameIdentity.Env = []corev1.EnvVar{{Name: "A", Value: "b"}}
	sameIdentity.Args = []string{"-v"}
	sameIdentity.Resources.Limits = corev1.ResourceList{}
	assert.Equal(t, cri.ContainerHash(&base), cri.ContainerHash(&sameIdentity))

	otherImage, otherName := base, base
	otherImage.Image = "nginx:2"
	otherName.Name = "web"
	assert.NotEqual(t, cri.ContainerHash(&base), cri.ContainerHash(&otherImage))
	assert.NotEqual(t, cri.ContainerHash(&base), cri.ContainerHash(&otherName))
}

func TestContainerWithoutReadableHashIsAdopted(t *testing.T) {
	spec := &corev1.Container{Name: "app", Image: "nginx:1"}
	observed := func(hash string) *cri.Container {
		return &cri.Container{ContainerStatus: &runtimeapi.ContainerStatus{Annotations: map[string]string{cri.AnnotationHash: hash}}}
	}
	assert.True(t, observed("").HashMatches(spec))
	assert.True(t, observed("not hex").HashMatches(spec))
	assert.True(t, observed("56fe8e540a6c11bd").HashMatches(spec))
	assert.False(t, observed("1").HashMatches(spec))
}
