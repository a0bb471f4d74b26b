package metaclient_test

import (
	"context"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/metatest"
)

// robotToken is what the pod of everything asks for.
func robotToken() *authenticationv1.TokenRequest {
	return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: []string{"vault"}, ExpirationSeconds: new(int64(7200)),
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "all", UID: "uid-of-all"},
	}}
}

func TestAllThatAPodRefersToIsStoredBeforeThePodIsHandedOn(t *testing.T) {
	path := storePath(t)
	p, refs := everything(t)
	outer := t
	var left string // the file as a power cut at the hand-over would leave it
	synctest.Test(t, func(t *testing.T) {
		cloud := cloudWith(refs, p)
		cloud.Delay(100 * time.Millisecond)
		c := mustOpen(t, path, cloud, metaclient.Config{OnPods: func(pods []*corev1.Pod, complete bool) {
			if complete && left == "" {
				assert.Equal(t, []string{"all"}, names(pods))
				left = copyFile(outer, path)
			}
		}})
		stop := start(t, c)
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.Zero(t, c.Health().Missing)
		assert.Equal(t, len(refs), len(cloud.Followed()))
		assert.Equal(t, 1, cloud.Tokens())
	})
	require.NotEmpty(t, left)
	c := mustOpen(t, left, watchFunc(silent), metaclient.Config{})
	for _, ref := range refs {
		_, err := get(t.Context(), c, ref)
		require.NoError(t, err, ref.String())
	}
	token, err := c.ServiceAccountToken(t.Context(), "default", "robot", robotToken())
	require.NoError(t, err)
	assert.Equal(t, "token-1", token.Status.Token)
}

func TestWhatASetRefersToComesAlongWhenTheDiskTakesItAtLast(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		p, refs := everything(t)
		cloud := cloudWith(refs)
		missing, tokens := -1, 0
		var c *metaclient.Client
		c = mustOpen(t, path, cloud, metaclient.Config{OnPods: func(pods []*corev1.Pod, _ bool) {
			if len(pods) > 0 {
				missing, tokens = c.Health().Missing, cloud.Tokens()
			}
		}})
		failWith := metaclient.Breakable(c)
		stop := start(t, c)
		defer stop()
		time.Sleep(time.Minute)
		failWith(syscall.ENOSPC)
		cloud.Put(p)
		synctest.Wait()
		require.Equal(t, 1, cloud.Tokens())
		failWith(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Zero(t, missing, "when it is handed on")
		assert.Equal(t, 2, tokens, "when it is handed on")
	})
}

func TestSetThatWaitsWhenRunEndsIsNotTakenWithoutWhatItRefersTo(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		up := &silentSet{fakeUpstream: newFakeUpstream(), cloud: metatest.New()}
		up.cloud.Put(configMap("c", "1"))
		c := mustOpen(t, path, up, metaclient.Config{})
		stop := start(t, c)
		require.NoError(t, up.deliver(uses("a", "c", "")))
		up.cloud.Hang()
		taken := make(chan error, 1)
		go func() { taken <- up.deliver(uses("a", "d", "")) }()
		time.Sleep(time.Second)
		stop()
		require.ErrorIs(t, <-taken, context.Canceled)
	})
	assert.Equal(t, "c", stored(t, path)[0].Spec.Containers[0].EnvFrom[0].ConfigMapRef.Name, "it starts offline as it was")
}

func TestPodWhoseObjectsCannotBeHadHoldsUpNobodyAndIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := metatest.New()
		cloud.Put(uses("stuck", "c", ""), pod("free"), configMap("c", "1"))
		up := &stubborn{Cloud: cloud}
		up.refuse.Store(true)
		var rec recorder
		var seen changes
		c := mustOpen(t, storePath(t), up, metaclient.Config{OnPods: rec.onPods, OnObject: seen.onObject, CacheAfter: time.Hour})
		stop := start(t, c)
		defer stop()
		time.Sleep(1999 * time.Millisecond)
		synctest.Wait()
		require.Empty(t, rec.all())
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		assert.Equal(t, []string{"free", "stuck"}, rec.last(t).names, "after ClosureWait with what there is")
		assert.Equal(t, 1, c.Health().Missing)

		began := time.Now()
		cloud.Put(uses("next", "c", ""))
		synctest.Wait()
		assert.Equal(t, []string{"free", "next", "stuck"}, rec.last(t).names)
		assert.Zero(t, time.Since(began), "the wait is made once")

		up.refuse.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []string{"ConfigMap default/c"}, seen.take())
		assert.Zero(t, c.Health().Missing)
		cloud.Cut()
		time.Sleep(time.Minute)
		synctest.Wait()
		_, err := c.ConfigMap(t.Context(), "default", "c")
		require.NoError(t, err)
	})
}

func TestPushedChangeIsDurableWhenItIsTold(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		cloud := metatest.New()
		cloud.Put(uses("a", "c", "s"), configMap("c", "1"), secret("s", "1"))
		var told []string
		c := mustOpen(t, path, cloud, metaclient.Config{OnObject: func(kind, _, name string) {
			left := mustOpenCopy(t, path)
			if kind == "ConfigMap" {
				cm, err := left.ConfigMap(t.Context(), "default", name)
				require.NoError(t, err)
				told = append(told, cm.Data["key"])
				return
			}
			_, err := left.Secret(t.Context(), "default", name)
			told = append(told, "gone: "+map[bool]string{true: "yes", false: "no"}[apierrors.IsNotFound(err)])
		}})
		stop := start(t, c)
		defer stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Empty(t, told, "what came with the pod is no change")
		began := time.Now()
		cloud.Put(configMap("c", "2"))
		synctest.Wait()
		cloud.Delete(secretRef("s"))
		synctest.Wait()
		assert.Equal(t, []string{"2", "gone: yes"}, told)
		assert.Zero(t, time.Since(began), "nothing waits for a tick")
		cloud.Put(configMap("other", "1"))
		synctest.Wait()
		assert.Len(t, told, 2, "no pod refers to it")
	})
}

func mustOpenCopy(t *testing.T, path string) *metaclient.Client {
	return mustOpen(t, copyFile(t, path), watchFunc(silent), metaclient.Config{})
}

func TestObjectsThatNoPodRefersToAreDropped(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		p, refs := everything(t)
		cloud := cloudWith(refs, p, uses("b", "from", ""))
		c := mustOpen(t, path, cloud, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		cloud.DeletePods(p.UID)
		synctest.Wait()
		cloud.Cut()
		time.Sleep(time.Second)
		synctest.Wait()
		for _, ref := range refs {
			_, err := get(t.Context(), c, ref)
			if ref == configMapRef("from") {
				require.NoError(t, err, "another pod refers to it")
				continue
			}
			require.ErrorIs(t, err, metaclient.ErrOffline, ref.String())
		}
		_, err := c.ServiceAccountToken(t.Context(), "default", "robot", robotToken())
		require.ErrorIs(t, err, metaclient.ErrOffline)
		assert.Equal(t, []metaclient.Ref{configMapRef("from")}, cloud.Followed())
	})
}

func TestObjectsThatWereDroppedAndAreNeededAgainAreStoredWithTheirPod(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		p, refs := everything(t)
		cloud := cloudWith(refs)
		var missing int
		var c *metaclient.Client
		c = mustOpen(t, path, cloud, metaclient.Config{OnPods: func([]*corev1.Pod, bool) { missing = c.Health().Missing }})
		stop := start(t, c)
		defer stop()
		for range 3 {
			cloud.Put(p)
			time.Sleep(time.Minute)
			synctest.Wait()
			assert.Zero(t, missing, "when it is handed on")
			assert.Len(t, cloud.Followed(), len(refs))
			_, err := mustOpenCopy(t, path).ServiceAccountToken(t.Context(), "default", "robot", robotToken())
			require.NoError(t, err)
			cloud.DeletePods(p.UID)
			time.Sleep(time.Minute)
			synctest.Wait()
		}
	})
}

func TestReleasedPodTakesItsObjectsAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &silentSet{fakeUpstream: newFakeUpstream(), cloud: metatest.New()}
		up.cloud.Put(configMap("c", "1"), configMap("d", "1"))
		c := mustOpen(t, storePath(t), up, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		deleted := uses("a", "c", "")
		deleted.DeletionTimestamp = new(at(1700000000))
		require.NoError(t, up.deliver(deleted, uses("b", "d", "")))
		up.cloud.Hang()
		require.NoError(t, c.Release(t.Context(), deleted.UID))
		synctest.Wait()
		_, err := c.ConfigMap(t.Context(), "default", "d")
		require.NoError(t, err)
		_, err = c.ConfigMap(t.Context(), "default", "c")
		require.ErrorIs(t, err, metaclient.ErrTimeout, "it is not stored any more")
	})
}

func TestChangesThatWereMissedOfflineAreFoundAfterAReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := metatest.New()
		cloud.Put(uses("a", "c", "s"), configMap("c", "1"), secret("s", "1"))
		var seen changes
		c := mustOpen(t, storePath(t), cloud, metaclient.Config{OnObject: seen.onObject})
		stop := start(t, c)
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		cloud.Cut()
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.False(t, c.Connected())
		require.ErrorIs(t, c.Health().Upstream, metaclient.ErrOffline)
		cloud.Put(configMap("c", "2"))
		cloud.Delete(secretRef("s"))
		cloud.Heal()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		assert.True(t, c.Connected())
		assert.NoError(t, c.Health().Upstream)
		assert.ElementsMatch(t, []string{"ConfigMap default/c", "Secret default/s"}, seen.take())
	})
}

func TestChangesThatWereMissedBetweenTwoWatchesAreFound(t *testing.T) {
	for name, restart := range map[string]func(t *testing.T, c *metaclient.Client, cloud *metatest.Cloud, failWith func(err error)){
		"the disk was full": func(_ *testing.T, _ *metaclient.Client, cloud *metatest.Cloud, failWith func(err error)) {
			failWith(syscall.ENOSPC)
			cloud.Put(secret("s", "2"))
			synctest.Wait()
			failWith(nil)
			time.Sleep(100 * time.Millisecond) // the next Watch comes later
			cloud.Put(configMap("c", "2"))
		},
		"a Resync was given up": func(t *testing.T, c *metaclient.Client, cloud *metatest.Cloud, _ func(err error)) {
			cloud.Delay(time.Second)
			cloud.Put(secret("s", "2"), configMap("c", "2"))
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			require.ErrorIs(t, c.Resync(ctx), context.DeadlineExceeded)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud := metatest.New()
				cloud.Put(uses("a", "c", "s"), configMap("c", "1"), secret("s", "1"))
				c := mustOpen(t, storePath(t), cloud, metaclient.Config{})
				failWith := metaclient.Breakable(c)
				stop := start(t, c)
				defer stop()
				time.Sleep(time.Minute)
				restart(t, c, cloud, failWith)
				time.Sleep(5 * time.Minute)
				cm, err := c.ConfigMap(t.Context(), "default", "c")
				require.NoError(t, err)
				assert.Equal(t, "2", cm.Data["key"])
				s, err := c.Secret(t.Context(), "default", "s")
				require.NoError(t, err)
				assert.Equal(t, "2", string(s.Data["key"]))
			})
		})
	}
}

func TestConnectionThatFlapsWhileAQuestionHangsIsNotAskedWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := metatest.New()
		cloud.Put(uses("a", "c", ""), configMap("c", "1"))
		up := &stubborn{Cloud: cloud}
		c := mustOpen(t, storePath(t), up, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		time.Sleep(time.Minute)
		cloud.Cut()
		time.Sleep(10 * time.Second)
		up.refuse.Store(true) // a half-open path: questions hang
		cloud.Heal()
		for !c.Connected() {
			time.Sleep(10 * time.Millisecond)
		}
		cloud.Cut()
		time.Sleep(10 * time.Millisecond)
		cloud.Heal() // Watch is back before the question has ended
		time.Sleep(4 * time.Second)
		cloud.Delay(50 * time.Millisecond)
		up.refuse.Store(false)
		before := cloud.Asked(configMapRef("c"))
		time.Sleep(time.Minute)
		assert.Less(t, cloud.Asked(configMapRef("c"))-before, 5)
	})
}

func TestResyncAsksForEverythingAndBelievesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := metatest.New()
		for range 9 {
			cloud.Put(configMap("c", "new"))
		}
		cloud.Put(uses("a", "c", ""))
		up := &stubborn{Cloud: cloud}
		var rec recorder
		c := mustOpen(t, storePath(t), up, metaclient.Config{OnPods: rec.onPods})
		require.ErrorIs(t, c.Resync(t.Context()), metaclient.ErrOffline)
		stop := start(t, c)
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		before := len(rec.all())

		restored := configMap("c", "from the backup")
		restored.ResourceVersion = "3"
		up.instead.Store(restored)
		require.NoError(t, c.Resync(t.Context()))
		assert.Len(t, rec.all(), before+1, "pods, too")
		cm, err := c.ConfigMap(t.Context(), "default", "c")
		require.NoError(t, err)
		assert.Equal(t, "from the backup", cm.Data["key"])
		assert.True(t, c.Connected())

		up.refuse.Store(true)
		require.ErrorIs(t, c.Resync(t.Context()), metaclient.ErrTimeout)
		cloud.Cut()
		time.Sleep(time.Second)
		synctest.Wait()
		require.ErrorIs(t, c.Resync(t.Context()), metaclient.ErrOffline)
	})
}

func TestResyncBelievesWhatIsOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := func(name, version, image string) *corev1.Pod {
			p := uses(name, "c", "")
			p.ResourceVersion, p.Spec.Containers[0].Image = version, image
			return p
		}
		up := &silentSet{fakeUpstream: newFakeUpstream(), cloud: metatest.New()}
		for range 9 {
			up.cloud.Put(configMap("c", "1"))
		}
		c := mustOpen(t, storePath(t), up, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		images := func() (images []string) {
			pods, err := c.Pods(t.Context())
			require.NoError(t, err)
			for _, p := range pods {
				images = append(images, p.Spec.Containers[0].Image)
			}
			return images
		}
		require.NoError(t, up.deliver(at("a", "10", "new"), at("b", "10", "same")))
		up.cloud.Delete(configMapRef("c"))
		done := make(chan error, 1)
		go func() { done <- c.Resync(t.Context()) }()
		synctest.Wait()
		require.NoError(t, up.deliver(at("a", "5", "old"), at("b", "5", "same")))
		require.NoError(t, <-done)
		assert.Equal(t, []string{"old", "same"}, images())

		require.NoError(t, up.deliver(at("a", "7", "newer"), at("b", "7", "changed")))
		assert.Equal(t, []string{"newer", "changed"}, images())
		require.NoError(t, up.deliver(at("a", "6", "late"), at("b", "7", "changed")))
		assert.Equal(t, []string{"newer", "changed"}, images(), "that is not the Resync's")
		made := configMap("c", "made anew")
		made.ResourceVersion = "8"
		require.NoError(t, up.sink.Object(t.Context(), made))
		up.cloud.Hang()
		cm, err := c.ConfigMap(t.Context(), "default", "c")
		require.NoError(t, err)
		assert.Equal(t, "made anew", cm.Data["key"])
	})
}

func TestResyncWaitsForTheSetOfItsOwnWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		watches := 0
		c := mustOpen(t, storePath(t), sinkFunc(func(ctx context.Context, sink metaclient.Sink) error {
			watches++
			if watches == 1 {
				require.NoError(t, sink.Pods(ctx, []*corev1.Pod{pod("a")}))
				<-ctx.Done() // and a set was on its way
				return sink.Pods(context.WithoutCancel(ctx), []*corev1.Pod{pod("a")})
			}
			time.Sleep(time.Second)
			p := pod("a")
			p.Spec.Containers[0].Image = "of the second watch"
			require.NoError(t, sink.Pods(ctx, []*corev1.Pod{p}))
			<-ctx.Done()
			return nil
		}), metaclient.Config{})
		stop := start(t, c)
		defer stop()
		time.Sleep(time.Second)
		require.NoError(t, c.Resync(t.Context()))
		pods, err := c.Pods(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "of the second watch", pods[0].Spec.Containers[0].Image)
	})
}

func TestOlderVersionNeverReplacesANewerOne(t *testing.T) {
	at := func(version, value string) *corev1.ConfigMap {
		cm := configMap("c", value)
		cm.ResourceVersion = version
		return cm
	}
	for name, tc := range map[string]struct {
		pushed []metav1.Object // nil: gone, as of version 9
		want   string
	}{
		"older":                        {[]metav1.Object{at("9", "new"), at("8", "old")}, "new"},
		"fewer digits":                 {[]metav1.Object{at("10", "new"), at("9", "old")}, "new"},
		"newer":                        {[]metav1.Object{at("8", "old"), at("9", "new")}, "new"},
		"same, again":                  {[]metav1.Object{at("9", "new"), at("9", "new")}, "new"},
		"late after it was gone":       {[]metav1.Object{at("7", "x"), nil, at("8", "old")}, ""},
		"the last one, again":          {[]metav1.Object{nil, at("9", "old")}, ""},
		"made anew":                    {[]metav1.Object{nil, at("10", "new")}, "new"},
		"word of the end comes late":   {[]metav1.Object{at("10", "new"), nil}, "new"},
		"without versions, last wins":  {[]metav1.Object{at("", "old"), at("", "new")}, "new"},
		"versions that are no numbers": {[]metav1.Object{at("b", "old"), at("a", "new")}, "new"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := newFakeUpstream()
				c := mustOpen(t, storePath(t), up, metaclient.Config{})
				stop := start(t, c)
				defer stop()
				require.NoError(t, up.deliver(uses("a", "c", "")))
				for _, o := range tc.pushed {
					if o == nil {
						require.NoError(t, up.sink.Gone(t.Context(), configMapRef("c"), "9"))
						continue
					}
					require.NoError(t, up.sink.Object(t.Context(), o))
				}
				cm, err := c.ConfigMap(t.Context(), "default", "c")
				if tc.want == "" {
					assert.True(t, apierrors.IsNotFound(err))
					return
				}
				require.NoError(t, err)
				assert.Equal(t, tc.want, cm.Data["key"])
			})
		})
	}
}

func TestOlderPodNeverReplacesANewerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := storePath(t)
		up := newFakeUpstream()
		c := mustOpen(t, path, up, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		at := func(version, image string) *corev1.Pod {
			p := pod("a")
			p.ResourceVersion, p.Spec.Containers[0].Image = version, image
			return p
		}
		image := func() string {
			pods, err := c.Pods(t.Context())
			require.NoError(t, err)
			return pods[0].Spec.Containers[0].Image
		}
		require.NoError(t, up.deliver(at("10", "new")))
		require.NoError(t, up.deliver(at("9", "old")))
		assert.Equal(t, "new", image())
		before := readFile(t, path)
		require.NoError(t, up.deliver(at("11", "new")))
		unchanged(t, before, path) // the version alone rises with each status
		require.NoError(t, up.deliver(at("12", "newest")))
		assert.Equal(t, "newest", image())
	})
}

func TestPushWhileASetIsGatheredIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &silentSet{fakeUpstream: newFakeUpstream(), cloud: metatest.New()}
		claim := metaclient.Ref{Kind: metaclient.KindPersistentVolumeClaim, Namespace: "default", Name: "claim"}
		disk := metaclient.Ref{Kind: metaclient.KindPersistentVolume, Name: "disk"}
		up.cloud.Put(configMap("c", "old"), objectFor(claim), objectFor(disk))
		var seen changes
		c := mustOpen(t, storePath(t), up, metaclient.Config{OnObject: seen.onObject})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver())
		p := uses("a", "c", "")
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"},
		}}}
		taken := make(chan error)
		go func() { taken <- up.deliver(p) }()
		up.cloud.Delay(500 * time.Millisecond) // claim and c are answered, disk is asked for, its secret will be
		time.Sleep(1200 * time.Millisecond)

		up.cloud.Put(configMap("c", "new"))
		moved := objectFor(disk).(*corev1.PersistentVolume)
		moved.Labels = map[string]string{"is": "new"}
		up.cloud.Put(moved)
		for _, ref := range []metaclient.Ref{configMapRef("c"), disk} {
			require.NoError(t, up.sink.Object(t.Context(), up.cloud.Object(ref)))
		}
		require.NoError(t, <-taken)
		cm, err := c.ConfigMap(t.Context(), "default", "c")
		require.NoError(t, err)
		assert.Equal(t, "new", cm.Data["key"])
		volume, err := c.PersistentVolume(t.Context(), "disk")
		require.NoError(t, err)
		assert.Equal(t, "new", volume.Labels["is"])
	})
}

func TestAnswerThatWasOvertakenByAPushIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := &overtaken{fakeUpstream: newFakeUpstream(), asked: make(chan struct{}), answer: make(chan metav1.Object)}
		c := mustOpen(t, storePath(t), up, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver())
		go func() {
			<-up.asked
			assert.NoError(t, up.deliver(uses("a", "c", "")))
		}()
		var got *corev1.ConfigMap
		done := make(chan struct{})
		go func() {
			defer close(done)
			var err error
			got, err = c.ConfigMap(t.Context(), "default", "c")
			assert.NoError(t, err)
		}()
		time.Sleep(3 * time.Second) // the set is handed on without
		require.NoError(t, up.sink.Object(t.Context(), configMap("c", "pushed")))
		up.answer <- configMap("c", "asked")
		<-done
		assert.Equal(t, "pushed", got.Data["key"])
	})
}
