package probe

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// network is one on which every address answers alike, and which notes what was dialled.
type network struct {
	answer string

	mu      sync.Mutex // guards dialled
	dialled []string
}

func (n *network) dial(_ context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dialled = append(n.dialled, address)
	return answering([]byte(n.answer)), nil
}

// news are the addresses that were dialled since the last time.
func (n *network) news() []string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	news := n.dialled
	n.dialled = nil
	return news
}

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// onNetwork runs a Manager in virtual time whose HTTP checks go to the network, and in
// which the agent began long ago.
func onNetwork(t *testing.T, answer string, cfg Config, play func(*testing.T, *Manager, *network)) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{answer: answer}
		m := New(nil, cfg)
		m.checker.dial = n.dial
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		time.Sleep(time.Hour)
		play(t, m, n)
		cancel()
		require.NoError(t, <-done)
	})
}

// asked is a pod whose container is asked each ten seconds whether it lives.
func asked() *corev1.Pod {
	live := &corev1.Probe{PeriodSeconds: 10}
	live.HTTPGet = &corev1.HTTPGetAction{Port: intstr.FromInt32(80)}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", LivenessProbe: live}}},
	}
}

// at is the status of the pod with its container running, at these addresses.
func at(podIP, hostIP string) corev1.PodStatus {
	c := corev1.ContainerStatus{Name: "app", ContainerID: "containerd://1"}
	c.State.Running = &corev1.ContainerStateRunning{}
	return corev1.PodStatus{Phase: corev1.PodRunning, PodIP: podIP, HostIP: hostIP, ContainerStatuses: []corev1.ContainerStatus{c}}
}

// The status of a pod on the host network may show the address that the node had when
// the pod began, while the node has got another one.
func TestWhereAPodIsChecked(t *testing.T) {
	for name, row := range map[string]struct {
		hostNetwork   bool
		podIP, hostIP string
		want          string
	}{
		"a pod of its own network":          {false, "10.0.0.1", "192.0.2.7", "10.0.0.1:80"},
		"the node has another address now":  {true, "192.0.2.7", "192.0.2.99", "192.0.2.99:80"},
		"the pod has no address yet":        {true, "", "192.0.2.7", "192.0.2.7:80"},
		"the node is not known to have one": {true, "192.0.2.7", "", "192.0.2.7:80"},
	} {
		t.Run(name, func(t *testing.T) {
			onNetwork(t, fine, Config{}, func(t *testing.T, m *Manager, n *network) {
				pod := asked()
				pod.Spec.HostNetwork = row.hostNetwork
				m.Set(pod, at(row.podIP, row.hostIP))
				assert.Equal(t, []string{row.want}, n.news())
			})
		})
	}
}

func TestAPodIsCheckedAtTheAddressThatItHasNow(t *testing.T) {
	onNetwork(t, fine, Config{}, func(t *testing.T, m *Manager, n *network) {
		pod := asked()
		m.Set(pod, at("10.0.0.1", "192.0.2.7"))
		assert.Equal(t, []string{"10.0.0.1:80"}, n.news())
		m.Set(pod, at("10.0.0.2", "192.0.2.7"))
		time.Sleep(10 * time.Second)
		assert.Equal(t, []string{"10.0.0.2:80"}, n.news())
	})
}

// It is no failure, but somebody should know that nobody saw the page.
func TestARedirectAwayIsTold(t *testing.T) {
	var events []string
	cfg := Config{OnEvent: func(_ *corev1.Pod, c *corev1.Container, eventType, reason, message string) {
		events = append(events, strings.Join([]string{eventType, reason, c.Name, message}, " "))
	}}
	away := "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.test/\r\nContent-Length: 4\r\n\r\ngone"
	onNetwork(t, away, cfg, func(t *testing.T, m *Manager, n *network) {
		pod := asked()
		pod.Spec.Containers[0].ReadinessProbe = pod.Spec.Containers[0].LivenessProbe
		pod.Spec.Containers[0].LivenessProbe = nil
		m.Set(pod, at("10.0.0.1", "192.0.2.7"))
		assert.Equal(t, []string{"10.0.0.1:80"}, n.news(), "it is not followed")
		assert.Equal(t, []string{"Warning ProbeWarning app Readiness probe warning: " +
			"HTTP probe was redirected and did not follow, statuscode: 302, body: gone"}, events)
		health, _ := m.Health("uid", "1")
		assert.True(t, health.Ready)
	})
}
