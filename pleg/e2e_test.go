//go:build e2e && linux

package pleg_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
	"github.com/edged-project/edged/pleg"
)

const (
	mortalPods   = 4
	deathsPerPod = 50
)

func TestEachOfManyDeathsIsToldAndShown(t *testing.T) {
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) {
			site := newSite(t, containerd.Start(t, version))
			site.run(t, pleg.Config{})
			pods := site.startPods(t, mortalPods)

			var dying errgroup.Group
			for _, pod := range pods {
				dying.Go(func() error {
					for i := range deathsPerPod {
						if _, err := pod.start(t.Context(), i, fmt.Sprintf("exit %d", i)); err != nil {
							return err
						}
					}
					return nil
				})
			}
			require.NoError(t, dying.Wait())

			assert.Eventually(t, func() bool { return site.seenDeaths() == mortalPods*deathsPerPod },
				15*time.Second, 50*time.Millisecond, "whoever is told sees them all")
			for _, pod := range pods {
				state, err := site.generator.State(t.Context(), pod.uid, time.Time{})
				require.NoError(t, err)
				for i := range deathsPerPod {
					c := state.Newest(fmt.Sprint("app-", i))
					require.NotNil(t, c)
					assert.True(t, c.Exited())
					assert.EqualValues(t, i, c.ExitCode)
				}
			}
			t.Logf("%+v", site.generator.Metrics())
		})
	}
}

// site is a containerd, a generator on it, and a listener who looks at each pod that
// he is told of.
type site struct {
	client    *cri.Client
	generator *pleg.Generator

	mu   sync.Mutex               // guards seen
	seen map[string]time.Duration // how long after its end the listener saw each container's
}

func newSite(tb testing.TB, daemon *containerd.Daemon) *site {
	tb.Helper()
	client, err := cri.Dial(tb.Context(), daemon.Endpoint(), cri.Config{})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = client.Close(context.Background()) })
	return &site{client: client, seen: map[string]time.Duration{}}
}

// run runs a generator until the test ends.
func (s *site) run(tb testing.TB, cfg pleg.Config) {
	cfg.OnChange = s.look
	s.generator = pleg.New(s.client, cfg)
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- s.generator.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		assert.NoError(tb, <-done)
	})
}

// look notes the ends that State shows. A State of any age does not block.
func (s *site) look(uid types.UID) {
	state, err := s.generator.State(context.Background(), uid, time.Time{})
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range state.Containers {
		if _, known := s.seen[c.Id]; c.Exited() && !known {
			s.seen[c.Id] = time.Since(time.Unix(0, c.FinishedAt))
		}
	}
}

func (s *site) seenDeaths() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

func (s *site) hasSeen(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, seen := s.seen[id]
	return seen
}

// mortal is a pod whose containers end.
type mortal struct {
	client  *cri.Client
	uid     types.UID
	pod     *corev1.Pod
	sandbox string
	config  *runtimeapi.PodSandboxConfig
}

// startPods starts pods on the host's network, without a container yet.
func (s *site) startPods(tb testing.TB, n int) []*mortal {
	tb.Helper()
	pods := make([]*mortal, n)
	for i := range pods {
		name := fmt.Sprint("mortal-", i)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(name)}}
		config := &runtimeapi.PodSandboxConfig{
			Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "ns", Uid: name},
			Labels:   cri.SandboxLabels(pod),
			Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE},
			}},
		}
		sandbox, err := s.client.RunPodSandbox(tb.Context(), config, "")
		require.NoError(tb, err)
		pods[i] = &mortal{client: s.client, uid: pod.UID, pod: pod, sandbox: sandbox, config: config}
	}
	return pods
}

// start starts container i of the pod, which runs the script.
func (m *mortal) start(ctx context.Context, i int, script string) (id string, err error) {
	name := fmt.Sprint("app-", i)
	id, err = m.client.CreateContainer(ctx, m.sandbox, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name},
		Image:    &runtimeapi.ImageSpec{Image: containerd.Busybox},
		Command:  []string{"sh", "-c", script},
		Labels:   cri.ContainerLabels(m.pod, name),
	}, m.config)
	if err != nil {
		return "", err
	}
	return id, m.client.StartContainer(ctx, id)
}
