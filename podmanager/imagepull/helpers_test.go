package imagepull_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/edged-project/edged/podmanager/imagepull"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fakeRuntime has the images that were pulled, and notes the calls.
type fakeRuntime struct {
	// pull decides how a pull goes; nil succeeds at once.
	pull func(ctx context.Context, image string) error
	// admits decides which credentials succeed; nil admits all. It comes after pull.
	admits func(auth *runtimeapi.AuthConfig) error
	// statusErr is the answer to every ImageStatus.
	statusErr error
	// onStatus is called in each ImageStatus.
	onStatus func()
	// loses makes pulled images impossible to find.
	loses bool

	mu       sync.Mutex // guards the fields below
	present  []string
	pulled   []string
	statuses int
	running  int
	most     int
	sandbox  *runtimeapi.PodSandboxConfig
	spec     *runtimeapi.ImageSpec
	asked    []string
	auths    []*runtimeapi.AuthConfig
}

func (f *fakeRuntime) ImageStatus(_ context.Context, spec *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	if f.onStatus != nil {
		f.onStatus()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.statuses++
	f.asked = append(f.asked, spec.GetImage())
	if f.statusErr != nil {
		return nil, f.statusErr
	}
	for _, name := range f.present {
		if spec.GetImage() == name || spec.GetImage() == "sha256:"+name {
			return &runtimeapi.ImageStatusResponse{Image: &runtimeapi.Image{Id: "sha256:" + name, Size: 7, Username: "www"}}, nil
		}
	}
	return &runtimeapi.ImageStatusResponse{}, nil
}

func (f *fakeRuntime) PullImage(ctx context.Context, spec *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, sandbox *runtimeapi.PodSandboxConfig) (string, error) {
	f.begin(spec, auth, sandbox)
	defer f.end()
	if f.pull != nil {
		if err := f.pull(ctx, spec.GetImage()); err != nil {
			return "", err
		}
	}
	if f.admits != nil {
		if err := f.admits(auth); err != nil {
			return "", err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.loses {
		f.present = append(f.present, spec.GetImage())
	}
	return "sha256:" + spec.GetImage(), nil
}

func (f *fakeRuntime) begin(spec *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, sandbox *runtimeapi.PodSandboxConfig) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.auths = append(f.auths, auth)
	f.pulled = append(f.pulled, spec.GetImage())
	f.running++
	f.most = max(f.most, f.running)
	f.sandbox, f.spec = sandbox, spec
}

func (f *fakeRuntime) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
}

// pulling is how many pulls are under way.
func (f *fakeRuntime) pulling() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running
}

// pulls are the images of all pulls so far, in order.
func (f *fakeRuntime) pulls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.pulled)
}

func (f *fakeRuntime) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.statuses + len(f.pulled)
}

// users are the user names of all pulls so far, in order; empty when anonymous.
func (f *fakeRuntime) users() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var users []string
	for _, auth := range f.auths {
		users = append(users, auth.GetUsername())
	}
	return users
}

// takes is a pull that succeeds after d, unless its context ends first.
func takes(d time.Duration) func(context.Context, string) error {
	return func(ctx context.Context, _ string) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func fails(message string) func(context.Context, string) error {
	return func(context.Context, string) error { return errors.New(message) }
}

func pod(uid string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: uid, Namespace: "shop", UID: types.UID(uid)}}
}

func container(image string, policy corev1.PullPolicy) *corev1.Container {
	return &corev1.Container{Name: "app", Image: image, ImagePullPolicy: policy}
}

// requireReason requires that Ensure fails with the reason.
func requireReason(t *testing.T, p *imagepull.Puller, uid, image, reason string) {
	t.Helper()
	_ = wait(t, p, uid, image, reason)
}

// wait requires that Ensure fails with the reason, and returns its error.
func wait(t *testing.T, p *imagepull.Puller, uid, image, reason string) *imagepull.Error {
	t.Helper()
	_, _, err := p.Ensure(t.Context(), pod(uid), container(image, corev1.PullAlways), nil)
	var waiting *imagepull.Error
	require.ErrorAs(t, err, &waiting)
	require.Equal(t, reason, waiting.WaitingReason())
	return waiting
}
