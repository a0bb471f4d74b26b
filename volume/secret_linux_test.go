package volume_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/volume"
)

func downward(items ...corev1.DownwardAPIVolumeFile) corev1.Volume {
	return corev1.Volume{Name: "labels", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: items}}}
}

func ofToken(path string, seconds int64) corev1.VolumeProjection {
	return corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
		Path: path, ExpirationSeconds: &seconds, Audience: "registry",
	}}
}

func ofSecret(name string) corev1.VolumeProjection {
	return corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}
}

func TestWhatMayBeSecretIsInMemory(t *testing.T) {
	s, root := newShelf(), mountingRoot(t)
	s.setSecret("login", map[string][]byte{"user": []byte("me")})
	s.setConfigMap("settings", map[string]string{"a": "1"})
	pod := shopPod(secret("login"), downward(labelFile("a")), projected(ofSecret("login")), configMap("settings"))
	pod.Labels = map[string]string{"a": "blue"}
	m := s.manager(root)
	for range 2 {
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		volumes := filepath.Join(root, "pods/uid/volumes")
		assert.Equal(t, map[string]string{
			"v-login":    filepath.Join(volumes, "kubernetes.io~secret/v-login"),
			"labels":     filepath.Join(volumes, "kubernetes.io~downward-api/labels"),
			"all":        filepath.Join(volumes, "kubernetes.io~projected/all"),
			"v-settings": filepath.Join(volumes, "kubernetes.io~configmap/v-settings"),
		}, paths)
		for name, path := range paths {
			assert.Equal(t, name != "v-settings", isTmpfs(t, path), name)
			assert.Equal(t, fs.FileMode(0o755), modeOf(t, path), name)
		}
		assert.Equal(t, map[string]string{"user": "me"}, filesIn(t, paths["v-login"]))
		assert.Equal(t, map[string]string{"a": "blue"}, filesIn(t, paths["labels"]))
	}
	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.NoDirExists(t, filepath.Join(root, "pods/uid"))
}

// Whichever volume comes first, others have no way into the pod's directory.
func TestTheDirectoriesOfAPodAreClosed(t *testing.T) {
	setUmask(t, 0)
	for name, v := range map[string]corev1.Volume{
		"configMap": configMap("settings"), "secret": secret("login"), "downwardAPI": downward(labelFile("a")),
		"projected": projected(ofSecret("login")), "emptyDir": emptyDir("disk"), "in memory": memory("memory", ""), "plugin": inline("a"),
	} {
		t.Run(name, func(t *testing.T) {
			s, root := newShelf(), mountingRoot(t)
			s.setSecret("login", nil)
			s.setConfigMap("settings", nil)
			m := s.manager(root, with(&diskPlugin{}))
			paths, err := m.Mount(t.Context(), shopPod(v))
			require.NoError(t, err)
			kind, err := filepath.Glob(filepath.Join(root, "pods/uid/volumes/*"))
			require.NoError(t, err)
			require.Len(t, kind, 1)
			for dir := kind[0]; dir != root; dir = filepath.Dir(dir) {
				assert.Equal(t, fs.FileMode(0o750), modeOf(t, dir), dir)
			}
			assert.NotEmpty(t, paths)
			require.NoError(t, m.Unmount(t.Context(), "uid"))
		})
	}
}

// After a reboot what was in memory is gone: the pod waits for its secret, and not
// for its ConfigMap.
func TestSecretsAfterAReboot(t *testing.T) {
	s, root := newShelf(), mountingRoot(t)
	s.setSecret("login", map[string][]byte{"user": []byte("me")})
	s.setConfigMap("settings", map[string]string{"a": "1"})
	pod := shopPod(secret("login"), configMap("settings"))
	paths, err := s.manager(root).Mount(t.Context(), pod)
	require.NoError(t, err)
	require.NoError(t, unix.Unmount(paths["v-login"], 0))

	s.fail(errOffline)
	m := s.manager(root)
	_, err = m.Mount(t.Context(), pod)
	require.EqualError(t, err, `mount volumes: volume "v-login": secret "login": the cloud is out of reach`)
	assert.Equal(t, map[string]string{"a": "1"}, filesIn(t, paths["v-settings"]))
	s.fail(nil)
	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.True(t, isTmpfs(t, paths["v-login"]))
	assert.Equal(t, map[string]string{"user": "me"}, filesIn(t, paths["v-login"]))
	require.NoError(t, m.Unmount(t.Context(), "uid"))
}

func TestLabelsAreLive(t *testing.T) {
	s := newShelf()
	m := s.manager(mountingRoot(t))
	for _, value := range []string{"red", "green"} {
		pod := shopPod(downward(labelFile("a")))
		pod.Labels = map[string]string{"a": value}
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"a": value}, filesIn(t, paths["labels"]))
	}
	require.NoError(t, m.Unmount(t.Context(), "uid"))
}

func TestLaterSourcesOfAProjectionWin(t *testing.T) {
	s := newShelf()
	s.setConfigMap("first", map[string]string{"a": "first", "b": "first"})
	s.setSecret("second", map[string][]byte{"b": []byte("second")})
	m := s.manager(mountingRoot(t))
	paths, err := m.Mount(t.Context(), shopPod(projected(ofConfigMap("first"), ofSecret("second"), corev1.VolumeProjection{
		DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{labelFile("c")}},
	})))
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a": "first", "b": "second", "c": ""}, filesIn(t, paths["all"]))
	require.NoError(t, m.Unmount(t.Context(), "uid"))
}

// The secret is in no log, error, event, nor in a file of the disk, whatever fails.
func TestASecretIsNowhereElse(t *testing.T) {
	root := mountingRoot(t)
	core, logs := observer.New(zap.DebugLevel)
	s := newShelf()
	s.setSecret("login", map[string][]byte{"password": []byte("confidential"), "..": []byte("confidential")})
	m := s.manager(root, func(cfg *volume.Config) { cfg.Logger = zap.New(core) })
	_, refused := m.Mount(t.Context(), shopPod(secret("login")))
	require.Error(t, refused)
	s.setSecret("login", map[string][]byte{"password": []byte("confidential")})
	paths, err := m.Mount(t.Context(), shopPod(secret("login")))
	require.NoError(t, err)
	s.setSecret("login", map[string][]byte{"password": []byte("confidential"), "a/../..": []byte("confidential")})
	_, err = m.Mount(t.Context(), shopPod(secret("login")))
	require.NoError(t, err)
	require.NotEmpty(t, s.told())
	require.NotZero(t, logs.Len())

	texts := append(s.told(), refused.Error())
	for _, entry := range logs.All() {
		texts = append(texts, logText(entry))
	}
	assert.NotContains(t, strings.Join(texts, "\n"), "confidential")
	found := 0
	disk := statfs(t, root).Fsid
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "confidential") {
			found++
			assert.NotEqual(t, disk, statfs(t, path).Fsid, "%s is on the disk", path)
		}
		return err
	}))
	assert.Equal(t, 1, found)
	assert.Equal(t, map[string]string{"password": "confidential"}, filesIn(t, paths["v-login"]))
	require.NoError(t, m.Unmount(t.Context(), "uid"))
}

// logText is all that an entry says.
func logText(entry observer.LoggedEntry) string {
	return fmt.Sprint(entry.Message, entry.ContextMap())
}

// A disk that is full keeps the old content, and says so.
func TestAFullDiskKeepsTheOldContent(t *testing.T) {
	s, root := newShelf(), mountingRoot(t) // of 1 MiB
	s.setConfigMap("settings", map[string]string{"a": "1"})
	m := s.manager(root)
	pod := shopPod(configMap("settings"))
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)

	s.setConfigMap("settings", map[string]string{"a": "2", "big": strings.Repeat("x", 2<<20)})
	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a": "1"}, filesIn(t, paths["v-settings"]))
	require.Len(t, s.told(), 1)
	assert.Contains(t, s.told()[0], "no space left on device")
	entries, err := os.ReadDir(paths["v-settings"])
	require.NoError(t, err)
	assert.Len(t, entries, 3, "the attempt is gone")

	s.setConfigMap("settings", map[string]string{"a": "3"})
	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a": "3"}, filesIn(t, paths["v-settings"]))

	s.setConfigMap("settings", map[string]string{"big": strings.Repeat("x", 2<<20)})
	pod.UID = "other"
	_, err = m.Mount(t.Context(), pod)
	require.ErrorIs(t, err, unix.ENOSPC)
}

func TestATokenIsForThePod(t *testing.T) {
	s := newShelf()
	m := s.manager(mountingRoot(t))
	pod := shopPod(projected(ofToken("token", 600)))
	pod.Spec.ServiceAccountName = "robot"
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, []string{"token shop/robot"}, s.takeAsked())
	assert.Equal(t, authenticationv1.TokenRequestSpec{
		Audiences: []string{"registry"}, ExpirationSeconds: new(int64(600)),
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "web", UID: "uid"},
	}, s.requests[0].Spec)
	assert.Equal(t, map[string]string{"token": "token 1"}, filesIn(t, paths["all"]))
	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.Empty(t, s.takeAsked(), "it is still good")
	require.NoError(t, m.Unmount(t.Context(), "uid"))
}

func TestWhoMayReadAToken(t *testing.T) {
	tests := map[string]struct {
		change func(*corev1.Pod)
		mode   fs.FileMode
		owner  uint32
		group  uint32
	}{
		"anybody":      {change: func(*corev1.Pod) {}, mode: 0o644},
		"the user":     {change: func(p *corev1.Pod) { p.Spec.SecurityContext.RunAsUser = new(int64(1000)) }, mode: 0o600, owner: 1000},
		"the group":    {change: func(p *corev1.Pod) { p.Spec.SecurityContext.FSGroup = new(int64(2000)) }, mode: 0o640, group: 2000},
		"no user only": {change: func(p *corev1.Pod) { otherUser(p) }, mode: 0o644},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := newShelf().manager(mountingRoot(t))
			pod := shopPod(projected(ofToken("token", 600)))
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{}
			test.change(pod)
			paths, err := m.Mount(t.Context(), pod)
			require.NoError(t, err)
			var stat unix.Stat_t
			require.NoError(t, unix.Stat(filepath.Join(paths["all"], "token"), &stat))
			assert.Equal(t, test.mode, fs.FileMode(stat.Mode).Perm())
			assert.Equal(t, test.owner, stat.Uid)
			assert.Equal(t, test.group, stat.Gid)
			require.NoError(t, m.Unmount(t.Context(), "uid"))
		})
	}
}

// otherUser has two containers run as two users.
func otherUser(pod *corev1.Pod) {
	pod.Spec.SecurityContext.RunAsUser = new(int64(1000))
	pod.Spec.InitContainers = []corev1.Container{{Name: "init", SecurityContext: &corev1.SecurityContext{RunAsUser: new(int64(1001))}}}
}

func TestTokensAreRenewedInTime(t *testing.T) {
	for life, bounds := range map[int64][2]time.Duration{
		1000:        {790 * time.Second, 800 * time.Second},
		1000 * 3600: {24*time.Hour - 10*time.Second, 24 * time.Hour},
	} {
		root := mountingRoot(t)
		synctest.Test(t, func(t *testing.T) {
			s := newShelf()
			m := s.manager(root)
			running(t, m)
			pod := shopPod(projected(ofToken("token", life)))
			paths, err := m.Mount(t.Context(), pod)
			require.NoError(t, err)
			time.Sleep(bounds[0] - time.Second)
			synctest.Wait()
			assert.Equal(t, map[string]string{"token": "token 1"}, filesIn(t, paths["all"]))
			time.Sleep(bounds[1] - bounds[0] + time.Second)
			synctest.Wait()
			assert.Equal(t, map[string]string{"token": "token 2"}, filesIn(t, paths["all"]))
			require.NoError(t, m.Unmount(t.Context(), "uid"))
		})
	}
}

// While no new token can be had the old one is shown, as long as it is good, and the
// rest of the volume is live; afterwards a new pod would wait.
func TestAnOldTokenIsGoodUntilItExpires(t *testing.T) {
	root := mountingRoot(t)
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		s.setConfigMap("settings", map[string]string{"a": "1"})
		m := s.manager(root)
		running(t, m)
		pod := shopPod(projected(ofToken("token", 1000), ofConfigMap("settings")))
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		s.mu.Lock()
		s.tokenErr = errOffline
		s.mu.Unlock()
		time.Sleep(950 * time.Second)
		synctest.Wait()
		s.setConfigMap("settings", map[string]string{"a": "2"})
		m.Changed(volume.KindConfigMap, "shop", "settings")
		synctest.Wait()
		assert.Equal(t, map[string]string{"a": "2", "token": "token 1"}, filesIn(t, paths["all"]))
		failure := `Pod/web Warning FailedMount MountVolume.SetUp failed for volume "all" : token of service account "default": the cloud is out of reach`
		assert.Equal(t, []string{failure}, s.told())

		time.Sleep(100 * time.Second)
		s.setConfigMap("settings", map[string]string{"a": "3"})
		_, err = m.Mount(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"a": "2", "token": "token 1"}, filesIn(t, paths["all"]), "it has expired: nothing is made of it")
		s.fail(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		assert.Equal(t, map[string]string{"a": "3", "token": "token 2"}, filesIn(t, paths["all"]))
		require.NoError(t, m.Unmount(t.Context(), "uid"))
	})
}

// oneToken answers with the same token each time, as a source that is out of reach of
// the cloud.
type oneToken struct {
	*shelf
	expires time.Time
}

func (o *oneToken) ServiceAccountToken(
	ctx context.Context, namespace, name string, request *authenticationv1.TokenRequest,
) (*authenticationv1.TokenRequest, error) {
	answer, err := o.shelf.ServiceAccountToken(ctx, namespace, name, request)
	answer.Status.Token, answer.Status.ExpirationTimestamp = "old", metav1.NewTime(o.expires)
	return answer, err
}

// An expired token is better than none for who only knows this one: it is shown, told
// once, and asked for once a minute.
func TestATokenThatTheSourceCannotRenew(t *testing.T) {
	root := mountingRoot(t)
	synctest.Test(t, func(t *testing.T) {
		s := &oneToken{shelf: newShelf(), expires: time.Now().Add(time.Hour)}
		m := volume.New(s, volume.Config{Root: root, Recorder: s})
		running(t, m)
		pod := shopPod(projected(ofToken("token", 3600)))
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Less(t, len(s.takeAsked()), 20)
		time.Sleep(time.Hour)
		synctest.Wait()
		_, err = m.Mount(t.Context(), pod) // between two requests
		require.NoError(t, err)
		assert.InDelta(t, 60, len(s.takeAsked()), 2)
		assert.Equal(t, map[string]string{"token": "old"}, filesIn(t, paths["all"]))
		assert.Equal(t, []string{`Pod/web Warning FailedMount MountVolume.SetUp failed for volume "all" : ` +
			`token of service account "default": it has expired and cannot be renewed`}, s.told())
		require.NoError(t, m.Unmount(t.Context(), "uid"))
	})
}

// What an answer says of the time is taken no further than the life that was asked
// for: the node's clock may be wrong, or the answer silent.
func TestATokenIsRenewedByTheLifeThatWasAskedFor(t *testing.T) {
	for name, life := range map[string]time.Duration{"the clock is years behind": 50 * 365 * 24 * time.Hour, "no time in the answer": 0} {
		root := mountingRoot(t)
		synctest.Test(t, func(t *testing.T) {
			s := &oneToken{shelf: newShelf()}
			if life > 0 {
				s.expires = time.Now().Add(life)
			}
			m := volume.New(s, volume.Config{Root: root, Recorder: s})
			running(t, m)
			_, err := m.Mount(t.Context(), shopPod(projected(ofToken("token", 1000))))
			require.NoError(t, err)
			time.Sleep(789 * time.Second)
			synctest.Wait()
			assert.Len(t, s.takeAsked(), 1, name)
			time.Sleep(11 * time.Second)
			synctest.Wait()
			assert.Len(t, s.takeAsked(), 1, name)
			assert.Empty(t, s.told(), name)
			require.NoError(t, m.Unmount(t.Context(), "uid"))
		})
	}
}

func TestWithoutASourceOfTokens(t *testing.T) {
	_, err := newManager(t.TempDir()).Mount(t.Context(), shopPod(projected(ofToken("token", 600)), downward(labelFile("a"))))
	require.ErrorContains(t, err, `token of service account "default": no source of tokens is configured`)
	require.ErrorContains(t, err, "volumes of kind downwardAPI are not supported")
}
