package imagepull_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edged-project/edged/podmanager/imagepull"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// recorder writes events down, one a line, and forgets those that it gave.
type recorder struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (r *recorder) Event(about *corev1.ObjectReference, eventType, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf("%s%s: %s %s: %s", about.Name, about.FieldPath, eventType, reason, message))
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := strings.Join(r.lines, "\n")
	r.lines = nil
	return text
}

// eventful is the pod of which the events are looked at.
func eventful(image string, policy corev1.PullPolicy) *corev1.Pod {
	p := pod("a")
	p.Spec.Containers = []corev1.Container{*container(image, policy)}
	return p
}

func TestEvents(t *testing.T) {
	const of = "aspec.containers{app}: "
	for name, row := range map[string]struct {
		image   string
		policy  corev1.PullPolicy
		runtime *fakeRuntime
		want    []string
	}{
		"pulled": {
			"nginx", corev1.PullAlways, &fakeRuntime{pull: takes(2500*time.Millisecond + time.Microsecond)},
			[]string{`Normal Pulling: Pulling image "nginx"`, `Normal Pulled: Successfully pulled image "nginx" in 2.5s (2.5s including waiting). Image size: 7 bytes.`},
		},
		"present": {
			"nginx", corev1.PullIfNotPresent, &fakeRuntime{present: []string{"nginx:latest"}},
			[]string{`Normal Pulled: Container image "nginx" already present on machine`},
		},
		"never": {
			"nginx", corev1.PullNever, &fakeRuntime{},
			[]string{`Warning ErrImageNeverPull: Container image "nginx" is not present with pull policy of Never`},
		},
		"failed": {
			"nginx", corev1.PullIfNotPresent, &fakeRuntime{pull: fails("RegistryUnavailable: 503")},
			[]string{`Normal Pulling: Pulling image "nginx"`, `Warning Failed: Failed to pull image "nginx": RegistryUnavailable: 503`},
		},
		"not inspected": {
			"nginx:1", corev1.PullIfNotPresent, &fakeRuntime{statusErr: errors.New("down")},
			[]string{`Warning InspectFailed: Failed to inspect image "nginx:1": down`},
		},
		"no name": {
			"Nginx", corev1.PullAlways, &fakeRuntime{},
			[]string{`Warning InspectFailed: Failed to apply default image tag "Nginx": couldn't parse image name "Nginx": invalid reference format: repository name (library/Nginx) must be lowercase`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				events := &recorder{}
				pod := eventful(row.image, row.policy)
				_, _, _ = imagepull.New(row.runtime, imagepull.Config{Recorder: events}).Ensure(t.Context(), pod, &pod.Spec.Containers[0], nil)
				assert.Equal(t, of+strings.Join(row.want, "\n"+of), events.text())
			})
		})
	}
}

func TestBackOffEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := &recorder{}
		puller := imagepull.New(&fakeRuntime{admits: denies}, imagepull.Config{Recorder: events})
		require.Error(t, pull(t, puller, podWith("a", "missing")))
		events.text()
		require.ErrorContains(t, pull(t, puller, podWith("a", "missing")), "Back-off")
		assert.Regexp(t, `Normal BackOff: Back-off pulling image "`+private+`"$`, events.text(), "and none of the missing secret, as there was no pull")
	})
}

func TestPulledTellsTheWaitForATurnToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := &recorder{}
		puller := imagepull.New(&fakeRuntime{pull: takes(time.Minute)}, imagepull.Config{MaxParallel: 1, Recorder: events})
		first := ensure(t.Context(), puller, "a", "first")
		time.Sleep(20 * time.Second)
		second := ensure(t.Context(), puller, "a", "second")
		time.Sleep(50 * time.Second)
		joined := ensure(t.Context(), puller, "b", "second")
		for _, result := range []<-chan error{first, second, joined} {
			require.NoError(t, <-result)
		}
		text := events.text()
		assert.Contains(t, text, `"first" in 1m0s (1m0s including waiting)`)
		assert.Contains(t, text, `"second" in 1m0s (1m40s including waiting)`)
		assert.Contains(t, text, `"second" in 1m0s (50s including waiting)`, "who came later waited less")
	})
}

func TestWhoGaveUpHasNoEventOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := &recorder{}
		puller := imagepull.New(&fakeRuntime{pull: takes(time.Minute)}, imagepull.Config{Recorder: events})
		_, _, err := puller.Ensure(ended(t), pod("a"), container("nginx", corev1.PullAlways), nil)
		require.Error(t, err)
		assert.NotContains(t, events.text(), "Failed")
	})
}
