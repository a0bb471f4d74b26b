package admission_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/podmanager/admission"
)

// resources makes a list from names and quantities in turn.
func resources(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

func container(pairs ...string) corev1.Container {
	return corev1.Container{Resources: corev1.ResourceRequirements{Requests: resources(pairs...)}}
}

func sidecar(pairs ...string) corev1.Container {
	c := container(pairs...)
	always := corev1.ContainerRestartPolicyAlways
	c.RestartPolicy = &always
	return c
}

func containers(list ...corev1.Container) option {
	return spec(func(s *corev1.PodSpec) { s.Containers = append(s.Containers, list...) })
}

func inits(list ...corev1.Container) option {
	return spec(func(s *corev1.PodSpec) { s.InitContainers = append(s.InitContainers, list...) })
}

func requests(cpu, memory string) option { return containers(container("cpu", cpu, "memory", memory)) }

// The pod is alone on the node, which says how much of it was requested.
func TestWhatAPodRequests(t *testing.T) {
	overhead := spec(func(s *corev1.PodSpec) { s.Overhead = resources("cpu", "100m") })
	podLevel := func(pairs ...string) option {
		return spec(func(s *corev1.PodSpec) { s.Resources = &corev1.ResourceRequirements{Requests: resources(pairs...)} })
	}
	tests := map[string]struct {
		pod  *corev1.Pod
		name string
		want int64
	}{
		"containers add up":                       {pod("a", requests("1", "0"), requests("500m", "0")), "cpu", 1500},
		"an init container runs alone":            {pod("a", inits(container("cpu", "300m")), requests("1", "0")), "cpu", 1000},
		"the greatest init container counts":      {pod("a", inits(container("cpu", "2"), container("cpu", "3")), requests("1", "0")), "cpu", 3000},
		"sidecars add to containers":              {pod("a", inits(sidecar("cpu", "1")), requests("1", "0")), "cpu", 2000},
		"and to the init containers after them":   {pod("a", inits(sidecar("cpu", "1"), container("cpu", "2")), requests("1", "0")), "cpu", 3000},
		"but not to those before them":            {pod("a", inits(container("cpu", "2"), sidecar("cpu", "1")), requests("500m", "0")), "cpu", 2000},
		"overhead comes on top":                   {pod("a", overhead, requests("1", "0")), "cpu", 1100},
		"overhead alone":                          {pod("a", overhead), "cpu", 100},
		"the pod's own stand for its containers'": {pod("a", overhead, podLevel("cpu", "3"), requests("1", "0")), "cpu", 3100},
		"as far as they go":                       {pod("a", podLevel("memory", "3"), requests("1", "0")), "cpu", 1000},
		"and a pod may set them":                  {pod("a", podLevel("ephemeral-storage", "3"), containers(container("ephemeral-storage", "5"))), "ephemeral-storage", 5},
		"huge pages at the level of the pod":      {pod("a", podLevel("hugepages-2Mi", "4Mi")), "hugepages-2Mi", 4 << 20},
		"memory is in bytes":                      {pod("a", requests("0", "1Ki")), "memory", 1024},
		"fractions are rounded up":                {pod("a", requests("100u", "100m")), "cpu", 1},
		"fractions of a byte too":                 {pod("a", requests("0", "100m")), "memory", 1},
		"pieces":                                  {pod("a", containers(container("vendor.com/gpu", "2"))), "vendor.com/gpu", 2},
		"each pod is one":                         {pod("a"), "pods", 1},
		"more than 64 bits":                       {pod("a", requests("1e2000000000", "0")), "cpu", math.MaxInt64},
		"a sum of more than 64 bits":              {pod("a", requests("0", "9e18"), requests("0", "9e18")), "memory", math.MaxInt64},
		"less than nothing is nothing":            {pod("a", requests("-5", "0"), requests("1", "0")), "cpu", 1000},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			why := admission.Check(tt.pod, admission.Node{Allocatable: resources(tt.name, "0")}, nil)
			require.NotNil(t, why)
			assert.Equal(t, "OutOf"+tt.name, why.Reason)
			assert.Contains(t, why.Message, fmt.Sprintf("requested: %d, used: 0, capacity: 0", tt.want))
		})
	}
}

func TestWhatFits(t *testing.T) {
	node := admission.Node{Allocatable: resources("cpu", "2", "memory", "1Gi", "ephemeral-storage", "1Gi", "pods", "3")}
	tests := map[string]struct {
		pod    *corev1.Pod
		others []*corev1.Pod
		want   string
	}{
		"nothing requested":              {pod("a"), nil, ""},
		"to the last":                    {pod("a", requests("500m", "1Gi")), []*corev1.Pod{pod("b", requests("1500m", "0"))}, ""},
		"cpu":                            {pod("a", requests("501m", "0")), []*corev1.Pod{pod("b", requests("1500m", "0"))}, "OutOfcpu"},
		"memory":                         {pod("a", requests("0", "1025Mi")), nil, "OutOfmemory"},
		"ephemeral storage":              {pod("a", containers(container("ephemeral-storage", "2Gi"))), nil, "OutOfephemeral-storage"},
		"pods":                           {pod("a"), []*corev1.Pod{pod("b"), pod("c"), pod("d")}, "OutOfpods"},
		"the last pod":                   {pod("a"), []*corev1.Pod{pod("b"), pod("c")}, ""},
		"the others have too much":       {pod("a", requests("1m", "0")), []*corev1.Pod{pod("b", requests("5", "0"))}, "OutOfcpu"},
		"which is nothing to who has no": {pod("a"), []*corev1.Pod{pod("b", requests("5", "0"))}, ""},
		"used beyond 64 bits":            {pod("a", requests("0", "1")), []*corev1.Pod{pod("b", requests("0", "9e18")), pod("c", requests("0", "9e18"))}, "OutOfmemory"},
		"what the node does not name":    {pod("a", containers(container("vendor.com/gpu", "1"))), nil, ""},
		"limits are not requests": {pod("a", containers(corev1.Container{
			Resources: corev1.ResourceRequirements{Limits: resources("cpu", "9")},
		})), nil, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, reason(tt.pod, node, tt.others...))
		})
	}
}

// A quantity like this is easily written, and to compare it takes hours.
func TestHugeQuantitiesAreAnsweredAtOnce(t *testing.T) {
	huge := []string{"1e2000000000", "-1e2000000000", "1e400", "9223372036854775807"}
	begin := time.Now()
	for _, a := range huge {
		for _, b := range huge {
			admission.Check(pod("a", requests(a, b)), admission.Node{Allocatable: resources("cpu", b, "memory", a)},
				[]*corev1.Pod{pod("b", requests(b, a))})
		}
	}
	assert.Less(t, time.Since(begin), 10*time.Second)
}

// Whatever pods ask in whatever order, those that were taken fit together, and one
// that was refused would not have.
func TestAdmittedNeverExceedAllocatable(t *testing.T) {
	const capacity = 1000
	node := admission.Node{Allocatable: resources("cpu", "1", "pods", "5")}
	rapid.Check(t, func(t *rapid.T) {
		var admitted []*corev1.Pod
		used := int64(0)
		for i, cpu := range rapid.SliceOf(rapid.Int64Range(0, 600)).Draw(t, "milli cpu") {
			p := pod(types.UID(fmt.Sprint(i)), requests(fmt.Sprintf("%dm", cpu), "0"))
			fits := used+cpu <= capacity && len(admitted) < 5
			if taken := admission.Check(p, node, admitted) == nil; taken != fits {
				t.Fatalf("%d m beside %d m of %d pods: taken %v", cpu, used, len(admitted), taken)
			}
			if fits {
				admitted = append(admitted, p)
				used += cpu
			}
		}
	})
}
