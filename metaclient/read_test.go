package metaclient_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/metatest"
)

func TestMissIsAskedOnceStoredAndThenAnsweredLocally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := metatest.New()
		cloud.Put(configMap("c", "1"))
		cloud.Delay(time.Second)
		c := mustOpen(t, storePath(t), cloud, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		var readers sync.WaitGroup
		for range 50 {
			readers.Go(func() {
				cm, err := c.ConfigMap(t.Context(), "default", "c")
				if assert.NoError(t, err) {
					assert.Equal(t, "1", cm.Data["key"])
					cm.Data["key"] = "spoilt"
				}
			})
		}
		readers.Wait()
		assert.Equal(t, 1, cloud.Asked(configMapRef("c")))
		cloud.Cut()
		time.Sleep(time.Minute)
		synctest.Wait()
		cm, err := c.ConfigMap(t.Context(), "default", "c")
		require.NoError(t, err)
		assert.Equal(t, "1", cm.Data["key"])
		assert.Equal(t, "1", cm.ResourceVersion)
		assert.Equal(t, 1, cloud.Asked(configMapRef("c")))
	})
}

func TestReaderThatGoesAwayDoesNotTakeTheQuestionAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := metatest.New()
		cloud.Put(configMap("c", "1"))
		c := mustOpen(t, storePath(t), cloud, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		cloud.Delay(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		var first, second error
		var readers sync.WaitGroup
		readers.Go(func() { _, first = c.ConfigMap(ctx, "default", "c") })
		synctest.Wait()
		readers.Go(func() { _, second = c.ConfigMap(t.Context(), "default", "c") })
		readers.Wait()
		require.ErrorIs(t, first, context.DeadlineExceeded)
		require.NoError(t, second)
	})
}

func TestErrorsSayWhatOptionalNeedsToKnow(t *testing.T) {
	type check func(t *testing.T, err error)
	notFound := func(t *testing.T, err error) {
		assert.True(t, apierrors.IsNotFound(err), "%v", err)
		require.NotErrorIs(t, err, metaclient.ErrOffline)
	}
	is := func(want error) check {
		return func(t *testing.T, err error) {
			require.ErrorIs(t, err, want)
			assert.ErrorContains(t, err, "Secret default/s")
			assert.False(t, apierrors.IsNotFound(err))
		}
	}
	for name, tc := range map[string]struct {
		set  func(cloud *metatest.Cloud)
		want check
	}{
		"not there":              {func(*metatest.Cloud) {}, notFound},
		"offline":                {func(c *metatest.Cloud) { c.Cut(); time.Sleep(time.Second) }, is(metaclient.ErrOffline)},
		"no answer":              {func(c *metatest.Cloud) { c.Hang() }, is(metaclient.ErrTimeout)},
		"late answer":            {func(c *metatest.Cloud) { c.Delay(6 * time.Second) }, is(metaclient.ErrTimeout)},
		"known not to be there":  {func(c *metatest.Cloud) { c.Cut(); time.Sleep(time.Second) }, notFound},
		"known, and no answer":   {func(c *metatest.Cloud) { c.Hang() }, notFound},
		"cut while it was asked": {func(c *metatest.Cloud) { c.Delay(time.Second); time.AfterFunc(500*time.Millisecond, c.Cut) }, is(metaclient.ErrOffline)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud := metatest.New()
				c := mustOpen(t, storePath(t), cloud, metaclient.Config{})
				stop := start(t, c)
				defer stop()
				time.Sleep(time.Second)
				synctest.Wait()
				if strings.HasPrefix(name, "known") { // asked before
					_, err := c.Secret(t.Context(), "default", "s")
					notFound(t, err)
				}
				tc.set(cloud)
				began := time.Now()
				_, err := c.Secret(t.Context(), "default", "s")
				assert.LessOrEqual(t, time.Since(began), 5*time.Second)
				tc.want(t, err)
			})
		})
	}
}

func TestAbsenceIsRememberedOverARestartOffline(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		cloud := metatest.New()
		cloud.Put(uses("a", "", "optional"))
		c, err := metaclient.Open(path, cloud, metaclient.Config{})
		require.NoError(t, err)
		stop := start(t, c)
		time.Sleep(time.Second)
		synctest.Wait()
		stop()
		require.NoError(t, c.Close())
	})
	c := mustOpen(t, path, watchFunc(silent), metaclient.Config{})
	_, err := c.Secret(t.Context(), "default", "optional")
	assert.True(t, apierrors.IsNotFound(err))
	assert.Zero(t, c.Health().Missing)
}

func TestObjectThatAppearsLaterIsFoundThoughNobodyTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := metatest.New()
		var seen changes
		c := mustOpen(t, storePath(t), silentGetter{cloud}, metaclient.Config{OnObject: seen.onObject})
		stop := start(t, c)
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		_, err := c.Secret(t.Context(), "default", "s")
		require.True(t, apierrors.IsNotFound(err))
		require.Empty(t, seen.take())
		cloud.Put(secret("s", "1"))
		s, err := c.Secret(t.Context(), "default", "s")
		require.NoError(t, err)
		assert.Equal(t, "1", string(s.Data["key"]))
		assert.Equal(t, []string{"Secret default/s"}, seen.take(), "others were told that there is none")
	})
}

func TestMissingObjectThatAReaderFindsIsToldToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := metatest.New()
		claim := metaclient.Ref{Kind: metaclient.KindPersistentVolumeClaim, Namespace: "default", Name: "claim"}
		disk := metaclient.Ref{Kind: metaclient.KindPersistentVolume, Name: "disk"}
		p := uses("x", "c", "")
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"},
		}}}
		cloud.Put(p, uses("y", "c", ""), configMap("c", "1"), objectFor(claim), objectFor(disk))
		up := &stubborn{Cloud: cloud}
		up.refuse.Store(true)
		var seen changes
		c := mustOpen(t, storePath(t), up, metaclient.Config{OnObject: seen.onObject})
		stop := start(t, c)
		defer stop()
		time.Sleep(10 * time.Minute)
		_, err := c.ConfigMap(t.Context(), "default", "c") // on behalf of pod y, which waits then
		require.ErrorIs(t, err, metaclient.ErrTimeout)
		up.refuse.Store(false)
		_, err = c.ConfigMap(t.Context(), "default", "c") // on behalf of pod x
		require.NoError(t, err)
		_, err = c.PersistentVolumeClaim(t.Context(), "default", "claim")
		require.NoError(t, err)
		assert.Equal(t, []string{"ConfigMap default/c", "PersistentVolumeClaim default/claim"}, seen.take())
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		assert.Positive(t, cloud.Asked(disk), "what it leads to is looked for")
	})
}

func TestMissingObjectThatAReaderFindsIsAskedForAgainWhenItCouldNotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := metatest.New()
		cloud.Put(uses("x", "c", ""), configMap("c", "1"))
		up := &stubborn{Cloud: cloud}
		up.refuse.Store(true)
		c := mustOpen(t, storePath(t), up, metaclient.Config{})
		failWith := metaclient.Breakable(c)
		stop := start(t, c)
		defer stop()
		time.Sleep(10 * time.Minute)
		up.refuse.Store(false)
		failWith(syscall.ENOSPC)
		_, err := c.ConfigMap(t.Context(), "default", "c")
		require.NoError(t, err)
		failWith(nil)
		time.Sleep(10 * time.Minute)
		cloud.Cut()
		time.Sleep(time.Minute)
		synctest.Wait()
		_, err = c.ConfigMap(t.Context(), "default", "c")
		require.NoError(t, err)
	})
}

// silentGetter delivers one empty set and then answers questions only.
type silentGetter struct{ cloud *metatest.Cloud }

func (s silentGetter) Watch(ctx context.Context, sink metaclient.Sink) error {
	if err := sink.Pods(ctx, nil); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (s silentGetter) Get(ctx context.Context, ref metaclient.Ref) (metav1.Object, error) {
	return s.cloud.Get(ctx, ref)
}

// getterFunc is an upstream that answers as the test says.
type getterFunc func(ref metaclient.Ref) (metav1.Object, error)

func (g getterFunc) Watch(ctx context.Context, sink metaclient.Sink) error {
	return silentGetter{}.Watch(ctx, sink)
}

func (g getterFunc) Get(_ context.Context, ref metaclient.Ref) (metav1.Object, error) { return g(ref) }

func TestInvalidAnswersAreErrorsThatNameTheField(t *testing.T) {
	const hidden = "s3cret"
	changed := func(f func(s *corev1.Secret)) func(metaclient.Ref) (metav1.Object, error) {
		s := secret("s", hidden)
		f(s)
		return func(metaclient.Ref) (metav1.Object, error) { return s, nil }
	}
	for name, tc := range map[string]struct {
		answer func(metaclient.Ref) (metav1.Object, error)
		want   string
	}{
		"key is a path": {changed(func(s *corev1.Secret) { s.Data["../x"] = []byte(hidden) }), "data[../x]: Invalid value: a valid config key"},
		"key is dots":   {changed(func(s *corev1.Secret) { s.Data[".."] = nil }), "data[..]: Invalid value"},
		"oversized":     {changed(func(s *corev1.Secret) { s.Data["big"] = make([]byte, 1<<20) }), "values have 1048582 bytes, at most 1048576 are allowed"},
		"wrong type":    {changed(func(s *corev1.Secret) { s.Type = corev1.SecretTypeTLS }), "data[tls.crt]: Required value"},
		"no docker json": {changed(func(s *corev1.Secret) {
			s.Type = corev1.SecretTypeDockerConfigJson
			s.Data[".dockerconfigjson"] = []byte(hidden)
		}), "data[.dockerconfigjson]: Invalid value: is not valid JSON"},
		"another name":    {changed(func(s *corev1.Secret) { s.Name = "x" }), "object is Secret default/x"},
		"another kind":    {func(metaclient.Ref) (metav1.Object, error) { return configMap("s", hidden), nil }, "object is ConfigMap default/s"},
		"unknown kind":    {func(metaclient.Ref) (metav1.Object, error) { return pod("s"), nil }, "objects of type *v1.Pod are not taken"},
		"nothing":         {func(metaclient.Ref) (metav1.Object, error) { return nil, nil }, "not taken"},
		"typed nothing":   {func(metaclient.Ref) (metav1.Object, error) { return (*corev1.Secret)(nil), nil }, "Secret is nil"},
		"an unknown fail": {func(metaclient.Ref) (metav1.Object, error) { return nil, errors.New("500") }, "ask upstream: 500"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := mustOpen(t, storePath(t), getterFunc(tc.answer), metaclient.Config{})
				stop := start(t, c)
				defer stop()
				time.Sleep(time.Second)
				synctest.Wait()
				_, err := c.Secret(t.Context(), "default", "s")
				require.ErrorContains(t, err, "Secret default/s")
				require.ErrorContains(t, err, tc.want)
				assert.NotContains(t, err.Error(), hidden)
				assert.False(t, apierrors.IsNotFound(err))
			})
		})
	}
}

func TestNamesThatNoObjectCanHaveAreNotFound(t *testing.T) {
	c := mustOpen(t, storePath(t), metatest.New(), metaclient.Config{})
	for _, name := range []string{"", "..", "a/b", strings.Repeat("x", 40000)} {
		_, err := c.ConfigMap(t.Context(), "default", name)
		assert.True(t, apierrors.IsNotFound(err))
	}
}

func TestNodeIsReadWithoutItsHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := storePath(t)
		cloud := metatest.New()
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-1", Labels: map[string]string{"zone": "a"}}}
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		cloud.Put(node)
		c := mustOpen(t, path, cloud, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		got, err := c.Node(t.Context(), "edge-1")
		require.NoError(t, err)
		assert.Equal(t, "a", got.Labels["zone"])
		before := readFile(t, path)
		for range 360 {
			time.Sleep(10 * time.Second)
			synctest.Wait()
			node.Status.Conditions[0].LastHeartbeatTime = metav1.Now()
			cloud.Put(node)
		}
		unchanged(t, before, path)
		node.Labels["zone"] = "b"
		cloud.Put(node)
		synctest.Wait()
		got, err = c.Node(t.Context(), "edge-1")
		require.NoError(t, err)
		assert.Equal(t, "b", got.Labels["zone"])
	})
}
