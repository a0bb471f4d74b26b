package eviction

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

func named(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	for _, each := range change {
		each(pod)
	}
	return pod
}

func TestWhoGoesFirst(t *testing.T) {
	for name, row := range map[string]struct {
		signal Signal
		pods   []*candidate
		want   string
	}{
		"who exceeds its request, whatever the priority": {MemoryAvailable, []*candidate{
			{pod: named("modest"), usage: 900, request: 1000, priority: -5},
			{pod: named("greedy"), usage: 20, request: 10, priority: 100},
		}, "greedy modest"},
		"then who has the lower priority": {MemoryAvailable, []*candidate{
			{pod: named("important"), usage: 900, priority: 10},
			{pod: named("other"), usage: 20, priority: 1},
		}, "other important"},
		"then who exceeds its request by more": {NodeFsAvailable, []*candidate{
			{pod: named("more"), usage: 900, request: 800},
			{pod: named("most"), usage: 300},
			{pod: named("little"), usage: 20},
		}, "most more little"},
		"processes are not requested": {PIDAvailable, []*candidate{
			{pod: named("many"), usage: 900, priority: 1},
			{pod: named("few"), usage: 2},
			{pod: named("none"), usage: 0},
		}, "few none many"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, c := range rank(row.signal, row.pods) {
				got = append(got, c.pod.Name)
			}
			assert.Equal(t, row.want, strings.Join(got, " "))
		})
	}
}

// A rank is a total order that depends on nothing but the pods.
func TestRankDoesNotDependOnTheOrderOfPods(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		candidates := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) *candidate {
			return &candidate{
				usage: rapid.Int64Range(0, 4).Draw(t, "usage"), request: rapid.Int64Range(0, 4).Draw(t, "request"),
				priority: rapid.Int32Range(0, 2).Draw(t, "priority"),
			}
		}), 1, 8, func(c *candidate) [2]int64 { return [2]int64{c.excess(), int64(c.priority)} }).Draw(t, "pods")
		signal := rapid.SampledFrom(signals).Draw(t, "signal")
		shuffled := rapid.Permutation(candidates).Draw(t, "shuffled")
		if got, want := rank(signal, shuffled), rank(signal, candidates); !assert.ObjectsAreEqual(want, got) {
			t.Fatalf("%v, but %v when shuffled", want, got)
		}
	})
}

func TestUsageCountsWhereThePressureIs(t *testing.T) {
	usage := Usage{
		Processes:  7,
		Containers: map[string]ContainerUsage{"a": {Memory: 100, Layer: Disk{10, 1}, Earlier: Disk{100, 3}, Logs: Disk{20, 2}}, "b": {Memory: 50, Layer: Disk{1, 1}}},
		Volumes:    map[string]Disk{"v": {1000, 10}},
		Files:      Disk{10_000, 100},
	}
	for signal, want := range map[Signal][2]int64{ // on one file system, and on two
		MemoryAvailable:   {150, 150},
		PIDAvailable:      {7, 7},
		NodeFsAvailable:   {11131, 11020},
		NodeFsInodesFree:  {117, 112},
		ImageFsAvailable:  {11131, 111},
		ImageFsInodesFree: {117, 5},
	} {
		assert.Equal(t, want, [2]int64{usage.of(signal, false), usage.of(signal, true)}, signal)
	}
}

func annotated(key, value string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Annotations = map[string]string{key: value} }
}

func TestCriticalPods(t *testing.T) {
	priority := func(p int32) func(*corev1.Pod) { return func(pod *corev1.Pod) { pod.Spec.Priority = &p } }
	class := func(name string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Spec.PriorityClassName = name }
	}
	for name, row := range map[string]struct {
		change             func(*corev1.Pod)
		critical, priority bool
	}{
		"any":              {func(*corev1.Pod) {}, false, false},
		"of an API server": {annotated("kubernetes.io/config.source", "api"), false, false},
		"static":           {annotated("kubernetes.io/config.source", "file"), true, false},
		"a mirror":         {annotated("kubernetes.io/config.mirror", "abc"), true, false},
		"high":             {priority(2_000_000_000), true, true},
		"nearly":           {priority(1_999_999_999), false, false},
		"by class":         {class("system-node-critical"), true, true},
		"another class":    {class("gold"), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := named("p", row.change)
			assert.Equal(t, row.critical, Critical(pod))
			assert.Equal(t, row.priority, CriticalPriority(pod))
		})
	}
}

func TestTheMessageSaysWhoUsesWhat(t *testing.T) {
	pod := named("p", func(pod *corev1.Pod) {
		pod.Spec.Containers = []corev1.Container{{Name: "a"}, {Name: "b", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"memory": resource.MustParse("1Gi")},
		}}}
	})
	usage := Usage{Containers: map[string]ContainerUsage{"a": {Memory: 300<<20 + 5, Layer: Disk{Bytes: 3 << 20}}, "b": {Memory: 400 << 20}}}
	assert.Equal(t, "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "+
		"Container a was using 300Mi, request is 0, has larger consumption of memory. ",
		message(Threshold{Signal: MemoryAvailable, Value: Value{Amount: 100 << 20}}, Amount{Available: 50 << 20}, pod, usage))
	assert.Equal(t, "The node was low on resource: ephemeral-storage. Threshold quantity: 10Mi, available: 1Ki. "+
		"Container a was using 3Mi, request is 0, has larger consumption of ephemeral-storage. ",
		message(Threshold{Signal: NodeFsAvailable, Value: Value{Percent: 10}}, Amount{Available: 1100, Capacity: 100 << 20}, pod, usage))
	assert.Equal(t, "The node was low on resource: pids. Threshold quantity: 10, available: 1. ",
		message(Threshold{Signal: PIDAvailable, Value: Value{Amount: 10}}, Amount{Available: 1}, pod, usage))
}

func TestLimitsOfAPodsOwn(t *testing.T) {
	limit := func(text string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(text)}}
	}
	size := resource.MustParse("1Mi")
	volume := func(medium corev1.StorageMedium) corev1.Volume {
		return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: medium, SizeLimit: &size}}}
	}
	sidecar := corev1.Container{Name: "side", RestartPolicy: new(corev1.ContainerRestartPolicyAlways), Resources: limit("1Mi")}
	logs := func(mega int64) ContainerUsage { return ContainerUsage{Logs: Disk{Bytes: mega << 20}} }
	for name, row := range map[string]struct {
		spec  corev1.PodSpec
		usage Usage
		want  string
	}{
		"no limits":          {corev1.PodSpec{}, Usage{Containers: map[string]ContainerUsage{"a": logs(1 << 20)}}, ""},
		"a volume within":    {corev1.PodSpec{Volumes: []corev1.Volume{volume("")}}, Usage{Volumes: map[string]Disk{"v": {Bytes: 1 << 20}}}, ""},
		"a volume over":      {corev1.PodSpec{Volumes: []corev1.Volume{volume("")}}, Usage{Volumes: map[string]Disk{"v": {Bytes: 1<<20 + 1}}}, `Usage of EmptyDir volume "v" exceeds the limit "1Mi". `},
		"a volume in memory": {corev1.PodSpec{Volumes: []corev1.Volume{volume(corev1.StorageMediumMemory)}}, Usage{Volumes: map[string]Disk{"v": {Bytes: 2 << 20}}}, ""},
		"a container over": {
			corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: limit("1Mi")}, {Name: "b"}}},
			Usage{Containers: map[string]ContainerUsage{"a": logs(2)}}, `Container a exceeded its local ephemeral storage limit "1Mi". `,
		},
		"all containers over, with a volume": {
			corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: limit("2Mi")}, {Name: "b", Resources: limit("2Mi")}}},
			Usage{Containers: map[string]ContainerUsage{"a": logs(2), "b": logs(1)}, Volumes: map[string]Disk{"v": {Bytes: 2 << 20}}},
			"Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ",
		},
		"all containers over, with what they wrote to their hosts file": {
			corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: limit("2Mi")}}},
			Usage{Files: Disk{Bytes: 3 << 20}}, "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ",
		},
		"with what earlier runs wrote, which does not count": {
			corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: limit("2Mi")}}},
			Usage{Containers: map[string]ContainerUsage{"a": {Layer: Disk{Bytes: 1 << 20}, Earlier: Disk{Bytes: 2 << 20}}}}, "",
		},
		"a sidecar beside the others": {
			corev1.PodSpec{InitContainers: []corev1.Container{sidecar}, Containers: []corev1.Container{{Name: "a", Resources: limit("2Mi")}}},
			Usage{Containers: map[string]ContainerUsage{"a": logs(2), "side": logs(1)}}, "",
		},
		"a sidecar and the others over, with a volume": {
			corev1.PodSpec{InitContainers: []corev1.Container{sidecar}, Containers: []corev1.Container{{Name: "a", Resources: limit("2Mi")}}},
			Usage{Containers: map[string]ContainerUsage{"a": logs(2)}, Volumes: map[string]Disk{"v": {Bytes: 2 << 20}}},
			"Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. ",
		},
		"an init container after a sidecar": {
			corev1.PodSpec{
				InitContainers: []corev1.Container{sidecar, {Name: "init", Resources: limit("5Mi")}},
				Containers:     []corev1.Container{{Name: "a", Resources: limit("2Mi")}},
			},
			Usage{Containers: map[string]ContainerUsage{"init": logs(5), "side": logs(1)}}, "",
		},
		"a volume counts only if all containers have a limit": {
			corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: limit("2Mi")}, {Name: "b"}}},
			Usage{Containers: map[string]ContainerUsage{"a": logs(2)}, Volumes: map[string]Disk{"v": {Bytes: 2 << 20}}}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: row.spec}
			assert.Equal(t, row.want, overLimit(pod, row.usage))
			if row.want != "" {
				assert.True(t, limited(pod))
			}
		})
	}
	assert.False(t, limited(named("p")))
}
