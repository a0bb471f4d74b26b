package podcgroup_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/podmanager/podcgroup"
)

// list reads "cpu=1 memory=1Gi".
func list(text string) corev1.ResourceList {
	resources := corev1.ResourceList{}
	for _, pair := range strings.Fields(text) {
		name, quantity, _ := strings.Cut(pair, "=")
		resources[corev1.ResourceName(name)] = resource.MustParse(quantity)
	}
	return resources
}

// podOf is a pod of one container.
func podOf(uid types.UID, requests, limits string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: uid},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "app", Resources: corev1.ResourceRequirements{Requests: list(requests), Limits: list(limits)},
		}}},
	}
}

func guaranteed(uid types.UID) *corev1.Pod {
	return podOf(uid, "cpu=500m memory=64Mi", "cpu=500m memory=64Mi")
}

func ensure(t *testing.T, m *podcgroup.Manager, pod *corev1.Pod) string {
	t.Helper()
	parent, err := m.Ensure(t.Context(), pod)
	require.NoError(t, err)
	return parent
}

func TestCgroupParentIsTheKubelets(t *testing.T) {
	for _, row := range []struct {
		pod               *corev1.Pod
		root              string
		cgroupfs, systemd string
	}{
		{guaranteed("1-2"), "", "/kubepods/pod1-2", "kubepods-pod1_2.slice"},
		{podOf("1-2", "cpu=1", ""), "/", "/kubepods/burstable/pod1-2", "kubepods-burstable-pod1_2.slice"},
		{podOf("1-2", "", ""), "", "/kubepods/besteffort/pod1-2", "kubepods-besteffort-pod1_2.slice"},
		{podOf("1-2", "", ""), "/edge/a-b/", "/edge/a-b/kubepods/besteffort/pod1-2", "edge-a_b-kubepods-besteffort-pod1_2.slice"},
	} {
		t.Run(row.cgroupfs, func(t *testing.T) {
			kernel := newV1(t)
			cfg := podcgroup.Config{Root: row.root, Mount: kernel.mount}
			made := podcgroup.NewOn(kernel, driver(runtimeapi.CgroupDriver_CGROUPFS), cfg)
			assert.False(t, row.root == "" && made.Exists(row.pod))
			if row.root == "/edge/a-b/" {
				require.NoError(t, kernel.Mkdir(kernel.mount+"/memory/edge"), "some may be there")
			}
			assert.Equal(t, row.cgroupfs, ensure(t, made, row.pod))
			assert.True(t, made.Exists(row.pod))
			assert.True(t, kernel.has("memory"+row.cgroupfs))
			assert.False(t, kernel.has("pids"+row.cgroupfs), "the runtime makes the others")

			named := podcgroup.NewOn(kernel, driver(runtimeapi.CgroupDriver_SYSTEMD), cfg)
			assert.Equal(t, row.systemd, ensure(t, named, row.pod))
			assert.True(t, named.Exists(row.pod))
		})
	}
}

func TestLimitsOfThePodAreWritten(t *testing.T) {
	for name, row := range map[string]struct {
		pod                     *corev1.Pod
		dir                     string
		shares, quota, memoryV1 string
		weight, max, memoryV2   string
		hugePages               string
	}{
		"guaranteed": {guaranteed("u"), "/kubepods/podu", "512", "50000", "67108864", "59", "50000 100000", "67108864", "0"},
		"burstable without limits": {
			podOf("u", "cpu=2", ""), "/kubepods/burstable/podu", "2048", "-1", "9223372036854771712", "174", "max 100000", "max", "0",
		},
		"burstable with huge pages": {
			podOf("u", "cpu=1", "cpu=2 memory=1000000 hugepages-2Mi=4Mi"), "/kubepods/burstable/podu",
			"1024", "200000", "999424", "100", "200000 100000", "999424", "4194304",
		},
		"best-effort": {podOf("u", "", ""), "/kubepods/besteffort/podu", "2", "-1", "9223372036854771712", "1", "max 100000", "max", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			v1 := newV1(t)
			ensure(t, podcgroup.NewOn(v1, nil, podcgroup.Config{Mount: v1.mount, Driver: podcgroup.Cgroupfs}), row.pod)
			assert.Equal(t, row.shares, v1.read(t, "cpu"+row.dir+"/cpu.shares"))
			assert.Equal(t, row.quota, v1.read(t, "cpu"+row.dir+"/cpu.cfs_quota_us"))
			assert.Equal(t, row.memoryV1, v1.read(t, "memory"+row.dir+"/memory.limit_in_bytes"))
			assert.Equal(t, row.hugePages, v1.read(t, "hugetlb"+row.dir+"/hugetlb.2MB.limit_in_bytes"))
			assert.Equal(t, "0", v1.read(t, "hugetlb"+row.dir+"/hugetlb.1GB.limit_in_bytes"))
			assert.NotEqual(t, "0", v1.read(t, "hugetlb"+row.dir+"/hugetlb.2MB.rsvd.limit_in_bytes"))

			v2 := newV2(t)
			ensure(t, podcgroup.NewOn(v2, nil, podcgroup.Config{Mount: v2.mount, Driver: podcgroup.Cgroupfs}), row.pod)
			assert.Equal(t, row.weight, v2.read(t, row.dir+"/cpu.weight"))
			assert.Equal(t, row.max, v2.read(t, row.dir+"/cpu.max"))
			assert.Equal(t, row.memoryV2, v2.read(t, row.dir+"/memory.max"))
			assert.Equal(t, row.hugePages, v2.read(t, row.dir+"/hugetlb.2MB.max"))
			assert.NotEmpty(t, v2.read(t, "kubepods/cgroup.subtree_control"), "controllers are passed on")
		})
	}
}

func TestClassesWeighWhatTheirPodsRequest(t *testing.T) {
	kernel := newV1(t)
	m := podcgroup.NewOn(kernel, nil, podcgroup.Config{Mount: kernel.mount, Driver: podcgroup.Cgroupfs})
	burstable := func() string { return kernel.read(t, "cpu/kubepods/burstable/cpu.shares") }
	ensure(t, m, podOf("a", "cpu=1", ""))
	assert.Equal(t, "1024", burstable())
	ensure(t, m, podOf("b", "cpu=500m", ""))
	ensure(t, m, podOf("b", "cpu=500m", ""))
	assert.Equal(t, "1536", burstable())
	ensure(t, m, guaranteed("c"))
	ensure(t, m, podOf("d", "", ""))
	assert.Equal(t, "1536", burstable())
	assert.Equal(t, "2", kernel.read(t, "cpu/kubepods/besteffort/cpu.shares"))
	assert.Equal(t, fmt.Sprint(1024*runtime.NumCPU()), kernel.read(t, "cpu/kubepods/cpu.shares"))
	require.NoError(t, m.Remove(t.Context(), "a"))
	assert.Equal(t, "512", burstable())
	require.NoError(t, m.Remove(t.Context(), "b"))
	assert.Equal(t, "2", burstable())
}

func TestLimitsAreRaisedAtOnceAndLoweredWhenSettled(t *testing.T) {
	kernel := newV1(t)
	cfg := podcgroup.Config{Mount: kernel.mount, Driver: podcgroup.Cgroupfs}
	limits := func() string {
		return kernel.read(t, "cpu/kubepods/podu/cpu.shares") + " " + kernel.read(t, "cpu/kubepods/podu/cpu.cfs_quota_us") +
			" " + kernel.read(t, "memory/kubepods/podu/memory.limit_in_bytes")
	}
	sized := func(text string) *corev1.Pod { return podOf("u", text, text) }
	ensure(t, podcgroup.NewOn(kernel, nil, cfg), sized("cpu=1 memory=1Mi"))
	assert.Equal(t, "1024 100000 1048576", limits())

	m := podcgroup.NewOn(kernel, nil, cfg) // of another agent
	ensure(t, m, sized("cpu=2 memory=2Mi"))
	assert.Equal(t, "2048 200000 2097152", limits())
	ensure(t, m, sized("cpu=1 memory=1Mi"))
	assert.Equal(t, "1024 200000 2097152", limits(), "containers still have more")
	require.NoError(t, m.Settle(t.Context(), sized("cpu=1 memory=1Mi")))
	assert.Equal(t, "1024 100000 1048576", limits())
	require.NoError(t, m.Settle(t.Context(), podOf("other", "", "")))
	assert.False(t, kernel.has("cpu/kubepods/besteffort/podother"), "settling makes nothing")
}

func TestRemoveRemovesWhatIsEmptyAndKillsNothing(t *testing.T) {
	for name, layout := range map[string]func(*testing.T) *fakeKernel{"v1": newV1, "v2": newV2} {
		t.Run(name, func(t *testing.T) {
			kernel := layout(t)
			in := map[string]string{"v1": "memory/kubepods/podu", "v2": "kubepods/podu"}[name]
			synctest.Test(t, func(t *testing.T) {
				m := podcgroup.NewOn(kernel, nil, podcgroup.Config{Mount: kernel.mount, Driver: podcgroup.Cgroupfs})
				ensure(t, m, guaranteed("u"))
				require.NoError(t, kernel.Mkdir(kernel.mount+"/"+in+"/container"))
				kernel.write(t, in+"/container/cgroup.procs", "17\n")

				err := m.Remove(t.Context(), "u")
				require.ErrorIs(t, err, syscall.EBUSY)
				assert.ErrorContains(t, err, `pod with uid "u"`)
				assert.True(t, kernel.has(in+"/container"))
				kernel.write(t, in+"/container/cgroup.procs", "")
				for range 2 {
					require.NoError(t, m.Remove(t.Context(), "u"))
					assert.False(t, m.Exists(guaranteed("u")))
					assert.False(t, kernel.has(in))
				}
				assert.True(t, kernel.has(strings.TrimSuffix(in, "/podu")))
			})
		})
	}
}

func TestCgroupsThatTheRuntimeMadeAreRemovedToo(t *testing.T) {
	kernel := newV1(t)
	m := podcgroup.NewOn(kernel, nil, podcgroup.Config{Mount: kernel.mount, Driver: podcgroup.Cgroupfs})
	ensure(t, m, guaranteed("u"))
	require.NoError(t, kernel.Mkdir(kernel.mount+"/pids/kubepods"))
	require.NoError(t, kernel.Mkdir(kernel.mount+"/pids/kubepods/podu"))
	require.NoError(t, m.Remove(t.Context(), "u"))
	assert.False(t, kernel.has("pids/kubepods/podu"))
}

func TestPruneLeavesWhatIsKnownOrAlive(t *testing.T) {
	kernel := newV2(t)
	ready := false
	m := podcgroup.NewOn(kernel, nil, podcgroup.Config{
		Mount: kernel.mount, Driver: podcgroup.Cgroupfs,
		Ready: func() bool { return ready }, Removed: func(uid types.UID) bool { return uid != "known" },
	})
	ensure(t, m, guaranteed("known"))
	ensure(t, m, guaranteed("alive"))
	ensure(t, m, podOf("gone", "cpu=1", ""))
	kernel.write(t, "kubepods/podalive/cgroup.procs", "17\n")
	require.NoError(t, m.Prune(t.Context()))
	assert.True(t, kernel.has("kubepods/burstable/podgone"), "not every source has delivered")
	ready = true
	require.NoError(t, m.Prune(t.Context()))
	assert.True(t, kernel.has("kubepods/podknown"))
	assert.True(t, kernel.has("kubepods/podalive"))
	assert.False(t, kernel.has("kubepods/burstable/podgone"))
	assert.True(t, kernel.has("kubepods/burstable"))
}

func TestRunPrunesAsSoonAsTheSourcesHaveDelivered(t *testing.T) {
	kernel := newV1(t)
	synctest.Test(t, func(t *testing.T) {
		var ready atomic.Bool
		m := podcgroup.NewOn(kernel, nil, podcgroup.Config{
			Mount: kernel.mount, Driver: podcgroup.Cgroupfs,
			Ready: ready.Load, Removed: func(types.UID) bool { return true },
		})
		ensure(t, m, guaranteed("gone"))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		time.Sleep(time.Hour)
		assert.True(t, m.Exists(guaranteed("gone")))
		ready.Store(true)
		time.Sleep(time.Minute + time.Second)
		assert.False(t, m.Exists(guaranteed("gone")))
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestANodeWhoseCgroupsCannotBeWrittenSaysSoOnce(t *testing.T) {
	for name, prepare := range map[string]func(*fakeKernel){
		"read-only":    func(k *fakeKernel) { k.failing = syscall.EROFS },
		"unprivileged": func(k *fakeKernel) { k.failing = syscall.EACCES },
		"none":         func(k *fakeKernel) { k.mount += "/absent" },
	} {
		t.Run(name, func(t *testing.T) {
			kernel := newV1(t)
			prepare(kernel)
			core, logs := observer.New(zap.InfoLevel)
			m := podcgroup.NewOn(kernel, nil, podcgroup.Config{Mount: kernel.mount, Driver: podcgroup.Cgroupfs, Logger: zap.New(core)})
			for range 3 {
				assert.Empty(t, ensure(t, m, guaranteed("u")))
				require.NoError(t, m.Settle(t.Context(), guaranteed("u")))
				require.NoError(t, m.Remove(t.Context(), "u"))
				require.NoError(t, m.Prune(t.Context()))
			}
			require.Equal(t, 1, logs.Len())
			assert.Equal(t, zap.ErrorLevel, logs.All()[0].Level)
			assert.Contains(t, logs.All()[0].Message, "cgroups cannot be written")
		})
	}
}

func TestAControllerThatTheKernelLacksIsSaidOnce(t *testing.T) {
	kernel := newV1(t)
	core, logs := observer.New(zap.InfoLevel)
	m := podcgroup.NewOn(kernel, nil, podcgroup.Config{Mount: kernel.mount, Driver: podcgroup.Cgroupfs, Logger: zap.New(core)})
	require.NoError(t, kernel.Rmdir(kernel.mount+"/memory"))
	for range 2 {
		assert.Equal(t, "/kubepods/podu", ensure(t, m, guaranteed("u")))
	}
	assert.Equal(t, "50000", kernel.read(t, "cpu/kubepods/podu/cpu.cfs_quota_us"))
	require.Equal(t, 1, logs.Len())
	assert.Equal(t, "memory", logs.All()[0].ContextMap()["controller"])
}

func TestTheRuntimeIsAskedForItsDriverUntilItAnswers(t *testing.T) {
	kernel := newV1(t)
	rt := &tells{err: status.Error(codes.Unavailable, "down")}
	m := podcgroup.NewOn(kernel, rt, podcgroup.Config{Mount: kernel.mount})
	_, err := m.Ensure(t.Context(), guaranteed("u"))
	require.ErrorContains(t, err, "pod shop/web")
	rt.err = status.Error(codes.Unimplemented, "unknown method RuntimeConfig")
	for range 2 {
		assert.Equal(t, "/kubepods/podu", ensure(t, m, guaranteed("u")))
	}
	assert.Equal(t, 2, rt.asked)
}

func TestAUIDThatNamesAnotherDirectoryIsRefused(t *testing.T) {
	kernel := newV1(t)
	m := podcgroup.NewOn(kernel, nil, podcgroup.Config{Mount: kernel.mount, Driver: podcgroup.Cgroupfs})
	for _, uid := range []types.UID{"", "/../../x", "a/b", "a\x00"} {
		_, err := m.Ensure(t.Context(), guaranteed(uid))
		require.ErrorContains(t, err, "metadata.uid")
		require.ErrorContains(t, m.Remove(t.Context(), uid), "metadata.uid")
		assert.False(t, m.Exists(guaranteed(uid)))
	}
}

func TestWeightsMatchTheSharesAtBothEndsAndTheDefault(t *testing.T) {
	for shares, weight := range map[int64]int64{0: 1, 2: 1, 1024: 100, 262144: 10000, 1 << 40: 10000} {
		assert.Equal(t, weight, podcgroup.Weight(shares), shares)
	}
	for shares := int64(3); shares < 262144; shares += 97 {
		require.GreaterOrEqual(t, podcgroup.Weight(shares), podcgroup.Weight(shares-1))
	}
}

func FuzzParseAmount(f *testing.F) {
	for _, seed := range []string{"max 100000\n", "-1\n", "9223372036854771712", "", "x", "17 1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		amount, err := podcgroup.ParseAmount(content)
		if err == nil && amount < 0 {
			t.Errorf("%q is %d", content, amount)
		}
		if err == nil && strings.TrimSpace(content) == "" {
			t.Errorf("%q has an amount", content)
		}
	})
}
