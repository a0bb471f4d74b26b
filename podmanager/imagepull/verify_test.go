package imagepull_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edged-project/edged/podmanager/imagepull"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const guarded = "example.com/team/app:1"

// vault is a node with a folder of records, and a registry that knows alice and bob.
type vault struct {
	t       *testing.T
	runtime *fakeRuntime
	cfg     imagepull.Config
	puller  *imagepull.Puller
}

func newVault(t *testing.T) *vault {
	v := &vault{t: t, runtime: &fakeRuntime{admits: admitsOnly("alice", "bob")}}
	v.cfg = imagepull.Config{Records: filepath.Join(t.TempDir(), "image_manager"), Secrets: secrets{
		"alice": secret(config("example.com", "alice")), "bob": secret(config("example.com", "bob")),
		"mallory": secret(config("example.com", "mallory")),
	}}
	v.restart()
	return v
}

func admitsOnly(users ...string) func(*runtimeapi.AuthConfig) error {
	return func(auth *runtimeapi.AuthConfig) error {
		if strings.Contains(" "+strings.Join(users, " ")+" ", " "+auth.GetUsername()+" ") {
			return nil
		}
		return errors.New("401 Unauthorized")
	}
}

// restart replaces the agent.
func (v *vault) restart() { v.puller = imagepull.New(v.runtime, v.cfg) }

// get asks for the image, for a pod with the secret, and returns the reason why it
// does not get it and how often the registry was asked.
func (v *vault) get(policy corev1.PullPolicy, image string, names ...string) (reason string, pulls int) {
	v.t.Helper()
	before := len(v.runtime.pulls())
	uid := strings.Join(append(names, "pod"), "-")
	_, release, err := v.puller.Ensure(v.t.Context(), podWith(uid, names...), container(image, policy), nil)
	var waiting *imagepull.Error
	if errors.As(err, &waiting) {
		reason = waiting.WaitingReason()
	} else {
		require.NoError(v.t, err)
		release()
	}
	v.puller.Forget(podWith(uid).UID)
	return reason, len(v.runtime.pulls()) - before
}

func (v *vault) expect(what string, policy corev1.PullPolicy, image string, names []string, reason string, pulls int) {
	v.t.Helper()
	gotReason, gotPulls := v.get(policy, image, names...)
	assert.Equal(v.t, reason, gotReason, what)
	assert.Equal(v.t, pulls, gotPulls, what)
}

// files are the names of the records, without their hashes.
func (v *vault) files() (kinds []string) {
	entries, err := os.ReadDir(v.cfg.Records)
	if err != nil {
		require.ErrorIs(v.t, err, os.ErrNotExist)
	}
	for _, entry := range entries {
		kind, _, _ := strings.Cut(entry.Name(), "-")
		kinds = append(kinds, kind)
	}
	return kinds
}

type names = []string

func TestAnImagePulledWithASecretIsForThoseWhoHaveIt(t *testing.T) {
	v := newVault(t)
	v.expect("alice pulls", corev1.PullIfNotPresent, guarded, names{"alice"}, "", 1)
	assert.Equal(t, []string{"pulled"}, v.files())
	for range 2 {
		v.expect("alice again", corev1.PullIfNotPresent, guarded, names{"alice"}, "", 0)
		v.expect("another pod of alice's, never pulling", corev1.PullNever, guarded, names{"mallory", "alice"}, "", 0)
		v.expect("nobody", corev1.PullIfNotPresent, guarded, nil, imagepull.ReasonPull, 1)
		v.expect("mallory", corev1.PullIfNotPresent, guarded, names{"mallory"}, imagepull.ReasonPull, 1)
		v.expect("mallory, never pulling", corev1.PullNever, guarded, names{"mallory"}, imagepull.ReasonNeverPull, 0)
		v.restart()
	}
	v.expect("bob, never pulling", corev1.PullNever, guarded, names{"bob"}, imagepull.ReasonNeverPull, 0)
	v.expect("bob proves it", corev1.PullIfNotPresent, guarded, names{"bob"}, "", 1)
	v.expect("bob has proven it", corev1.PullNever, guarded, names{"bob"}, "", 0)
	v.expect("and alice still has", corev1.PullNever, guarded, names{"alice"}, "", 0)
	assert.Equal(t, []string{"pulled"}, v.files())
}

func TestRecordsHoldNoSecretAndAreForNobodyElse(t *testing.T) {
	v := newVault(t)
	v.expect("alice pulls", corev1.PullIfNotPresent, guarded, names{"alice"}, "", 1)
	entries, err := os.ReadDir(v.cfg.Records)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	info, err := entries[0].Info()
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	content, err := os.ReadFile(filepath.Join(v.cfg.Records, entries[0].Name()))
	require.NoError(t, err)
	assert.Contains(t, string(content), "example.com/team/app")
	assert.NotContains(t, string(content), "alice")
	assert.NotContains(t, string(content), "hunter2")
}

func TestWhatNeedsNoPodsSecretIsForAll(t *testing.T) {
	node := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(node, []byte(config("example.com", "alice")), 0o600))
	for name, prepare := range map[string]func(*vault){
		"public":                            func(v *vault) { v.runtime.admits = nil },
		"by the node's credentials":         func(v *vault) { v.cfg.DockerConfig = node },
		"which a pod has as a secret, too":  func(v *vault) { v.cfg.DockerConfig = node; v.get(corev1.PullAlways, guarded, "alice") },
		"preloaded":                         func(v *vault) { v.runtime.present = []string{guarded} },
		"preloaded, and Always was refused": func(v *vault) { v.runtime.present = []string{guarded}; v.get(corev1.PullAlways, guarded, "mallory") },
		"preloaded after a failed pull":     func(v *vault) { v.get(corev1.PullIfNotPresent, guarded); v.runtime.present = []string{guarded} },
		"no records are kept":               func(v *vault) { v.cfg.Records = ""; v.restart(); v.get(corev1.PullIfNotPresent, guarded, "alice") },
	} {
		t.Run(name, func(t *testing.T) {
			v := newVault(t)
			prepare(v)
			v.restart()
			if reason, _ := v.get(corev1.PullIfNotPresent, guarded); reason != "" {
				t.Errorf("the first is refused: %s", reason)
			}
			v.restart()
			v.expect("and another", corev1.PullNever, guarded, names{"mallory"}, "", 0)
		})
	}
}

// aliased has a second name for what is guarded.
type aliased struct{ *fakeRuntime }

const alias = "example.com/public/app:1"

func (a aliased) ImageStatus(ctx context.Context, spec *runtimeapi.ImageSpec, verbose bool) (*runtimeapi.ImageStatusResponse, error) {
	if spec.GetImage() == alias {
		spec = &runtimeapi.ImageSpec{Image: guarded}
	}
	return a.fakeRuntime.ImageStatus(ctx, spec, verbose)
}

func TestAnImageByAnotherNameIsProvenByThat(t *testing.T) {
	v := newVault(t)
	v.expect("alice pulls", corev1.PullIfNotPresent, guarded, names{"alice"}, "", 1)
	v.puller = imagepull.New(aliased{v.runtime}, v.cfg)
	v.expect("another repository's image of the same content", corev1.PullNever, alias, names{"alice"}, imagepull.ReasonNeverPull, 0)
	v.expect("by the first name", corev1.PullNever, guarded, names{"alice"}, "", 0)
}

// An agent dies at some point of a pull: the image may be there or not.
func TestACrashLeadsToOneMoreProof(t *testing.T) {
	v := newVault(t)
	ctx, crash := context.WithCancel(t.Context())
	v.runtime.pull = func(ctx context.Context, _ string) error {
		crash()
		<-ctx.Done() // until nobody waits any more
		return nil
	}
	_, _, err := v.puller.Ensure(ctx, podWith("a", "alice"), container(guarded, corev1.PullIfNotPresent), nil)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, []string{"pulling"}, v.files())
	v.runtime.pull = nil
	v.restart()
	require.NotEmpty(t, v.runtime.present)

	v.expect("nobody", corev1.PullIfNotPresent, guarded, nil, imagepull.ReasonPull, 1)
	assert.Equal(t, []string{"pulling"}, v.files(), "a refusal proves nothing")
	v.expect("alice, never pulling", corev1.PullNever, guarded, names{"alice"}, imagepull.ReasonNeverPull, 0)
	v.expect("alice", corev1.PullIfNotPresent, guarded, names{"alice"}, "", 1)
	v.expect("alice again", corev1.PullNever, guarded, names{"alice"}, "", 0)
	assert.Equal(t, []string{"pulled"}, v.files())
}

// Two pods spell the name differently: what is noted for one is not for the other to
// take away.
func TestAPullUnderAnotherSpellingLeavesTheNote(t *testing.T) {
	v := newVault(t)
	digest := "@sha256:" + strings.Repeat("a", 64)
	long, short := guarded+digest, strings.TrimSuffix(guarded, ":1")+digest
	ctx, crash := context.WithCancel(t.Context())
	v.runtime.pull = func(ctx context.Context, image string) error {
		if image == long {
			v.expect("mallory meanwhile", corev1.PullIfNotPresent, short, names{"mallory"}, imagepull.ReasonPull, 1)
			assert.Equal(t, []string{"pulling"}, v.files())
			crash()
			<-ctx.Done()
		}
		return nil
	}
	_, _, err := v.puller.Ensure(ctx, podWith("a", "alice"), container(long, corev1.PullIfNotPresent), nil)
	require.ErrorIs(t, err, context.Canceled)
	v.restart()
	v.expect("mallory, never pulling", corev1.PullNever, long, names{"mallory"}, imagepull.ReasonNeverPull, 0)
}

// Alice's pull brings the image, but nobody waits for it any more, or it cannot be
// recorded. That mallory, who pulls it meanwhile, is refused does not settle that.
func TestARefusalDoesNotSettleThePullOfAnother(t *testing.T) {
	for name, want := range map[string]error{"given up": context.Canceled, "not recorded": nil} {
		t.Run(name, func(t *testing.T) {
			v := newVault(t)
			v.get(corev1.PullAlways, guarded, "alice")
			entries, err := os.ReadDir(v.cfg.Records)
			require.NoError(t, err)
			record := filepath.Join(v.cfg.Records, entries[0].Name())
			require.NoError(t, os.Remove(record))
			v.runtime.present = nil

			ctx, giveUp := context.WithCancel(t.Context())
			defer giveUp()
			began, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error)
			pulls := make(chan context.Context, 2)
			v.runtime.pull = func(ctx context.Context, _ string) error { pulls <- ctx; return nil }
			v.runtime.admits = func(auth *runtimeapi.AuthConfig) error {
				if auth.GetUsername() == "alice" {
					pull := <-pulls
					close(began)
					select {
					case <-pull.Done(): // nobody waits for it any more
					case <-goOn:
					}
					return nil
				}
				if want == nil {
					assert.NoError(t, os.Mkdir(record, 0o700)) // in the way of the record
					defer os.Remove(record)
					close(goOn)
				} else {
					giveUp()
				}
				assert.ErrorIs(t, <-ended, want)
				return errors.New("401 Unauthorized")
			}
			go func() {
				_, _, err := v.puller.Ensure(ctx, podWith("a", "alice"), container(guarded, corev1.PullIfNotPresent), nil)
				ended <- err
			}()
			<-began
			v.expect("mallory meanwhile", corev1.PullIfNotPresent, guarded, names{"mallory"}, imagepull.ReasonPull, 1)
			require.NotEmpty(t, v.runtime.present)
			v.expect("mallory, never pulling", corev1.PullNever, guarded, names{"mallory"}, imagepull.ReasonNeverPull, 0)
		})
	}
}

func TestARuntimeThatDiesInAPullProvesNothing(t *testing.T) {
	v := newVault(t)
	v.runtime.admits = func(*runtimeapi.AuthConfig) error {
		v.runtime.mu.Lock()
		defer v.runtime.mu.Unlock()
		v.runtime.present = append(v.runtime.present, guarded)
		return status.Error(codes.Unavailable, "connection reset")
	}
	v.expect("alice", corev1.PullIfNotPresent, guarded, names{"alice"}, imagepull.ReasonPull, 1)
	v.expect("mallory", corev1.PullNever, guarded, names{"mallory"}, imagepull.ReasonNeverPull, 0)
}

func TestRecordsThatCannotBeReadOrWrittenProveNothing(t *testing.T) {
	v := newVault(t)
	v.expect("alice pulls", corev1.PullIfNotPresent, guarded, names{"alice"}, "", 1)
	entries, err := os.ReadDir(v.cfg.Records)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(v.cfg.Records, entries[0].Name()), []byte("{torn"), 0o600))
	v.expect("mallory", corev1.PullIfNotPresent, guarded, names{"mallory"}, imagepull.ReasonPull, 1)
	v.expect("alice", corev1.PullIfNotPresent, guarded, names{"alice"}, "", 1)
	v.expect("mended", corev1.PullNever, guarded, names{"alice"}, "", 0)

	require.NoError(t, os.RemoveAll(v.cfg.Records))
	require.NoError(t, os.WriteFile(v.cfg.Records, nil, 0o600)) // a file is in the way
	v.expect("nothing is pulled that cannot be noted", corev1.PullAlways, guarded, names{"alice"}, imagepull.ReasonPull, 0)
}

func TestWhatIsRemovedIsForgotten(t *testing.T) {
	v := newVault(t)
	v.expect("alice pulls", corev1.PullIfNotPresent, guarded, names{"alice"}, "", 1)
	id := "sha256:" + guarded
	remove := func(change func() error) {
		_, err := v.puller.RemoveUnleased(names{id, guarded}, change)
		if err != nil {
			require.ErrorIs(t, err, os.ErrPermission)
		}
	}
	remove(func() error { return os.ErrPermission })
	remove(func() error { return nil }) // somebody uses it
	assert.Equal(t, []string{"pulled"}, v.files())
	v.expect("mallory", corev1.PullNever, guarded, names{"mallory"}, imagepull.ReasonNeverPull, 0)

	remove(func() error { v.runtime.present = nil; return nil })
	assert.Empty(t, v.files())
	v.runtime.present = []string{guarded}
	v.expect("preloaded since", corev1.PullNever, guarded, nil, "", 0)
}
