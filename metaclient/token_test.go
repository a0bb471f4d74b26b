package metaclient_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/metatest"
)

// robot is a node with the pod of everything, whose token has two hours to live.
func robot(t *testing.T) (*metatest.Cloud, *metaclient.Client, func() string, func()) {
	cloud := metatest.New()
	p, _ := everything(t)
	cloud.Put(p)
	c := mustOpen(t, storePath(t), cloud, metaclient.Config{})
	stop := start(t, c)
	time.Sleep(time.Second)
	synctest.Wait()
	token := func() string {
		t.Helper()
		answer, err := c.ServiceAccountToken(t.Context(), "default", "robot", robotToken())
		require.NoError(t, err)
		if answer.Annotations[metaclient.StaleAnnotation] != "" {
			return answer.Status.Token + " stale"
		}
		return answer.Status.Token
	}
	return cloud, c, token, stop
}

func TestTokenIsRenewedAfterFourFifthsOfItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, _, token, stop := robot(t)
		defer stop()
		assert.Equal(t, "token-1", token())
		time.Sleep(95 * time.Minute)
		assert.Equal(t, "token-1", token())
		time.Sleep(2 * time.Minute)
		assert.Equal(t, "token-2", token())
		assert.Equal(t, "token-2", token())
		assert.Equal(t, 2, cloud.Tokens())
	})
}

func TestExpiredTokenStaysUsableOfflineAndIsMarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, _, token, stop := robot(t)
		defer stop()
		cloud.Cut()
		time.Sleep(119 * time.Minute)
		synctest.Wait()
		assert.Equal(t, "token-1", token(), "due, but good")
		time.Sleep(48 * time.Hour)
		assert.Equal(t, "token-1 stale", token())
		cloud.Heal()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		assert.Equal(t, "token-2", token())
	})
}

func TestTokenOfHangingUpstreamIsTheOldOneInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, c, token, stop := robot(t)
		defer stop()
		cloud.Hang()
		time.Sleep(3 * time.Hour)
		began := time.Now()
		assert.Equal(t, "token-1 stale", token())
		assert.Equal(t, 5*time.Second, time.Since(began))

		other := robotToken()
		other.Spec.Audiences = []string{"other"}
		_, err := c.ServiceAccountToken(t.Context(), "default", "robot", other)
		require.ErrorIs(t, err, metaclient.ErrTimeout)
		require.ErrorContains(t, err, "token of service account default/robot")
	})
}

func TestTokensThatAreAskedForDifferentlyAreDifferent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, _, stop := robot(t)
		defer stop()
		seen := map[string]bool{}
		for _, change := range []func(r *authenticationv1.TokenRequest){
			func(*authenticationv1.TokenRequest) {},
			func(r *authenticationv1.TokenRequest) { r.Spec.Audiences = nil },
			func(r *authenticationv1.TokenRequest) { r.Spec.ExpirationSeconds = nil },
			func(r *authenticationv1.TokenRequest) { r.Spec.BoundObjectRef.UID = "another" },
			func(r *authenticationv1.TokenRequest) { r.Spec.BoundObjectRef = nil },
		} {
			request := robotToken()
			change(request)
			for range 2 {
				answer, err := c.ServiceAccountToken(t.Context(), "default", "robot", request)
				require.NoError(t, err)
				seen[answer.Status.Token] = true
			}
		}
		assert.Len(t, seen, 5)
	})
}

func TestTokenForNamesThatCannotBe(t *testing.T) {
	c := mustOpen(t, storePath(t), metatest.New(), metaclient.Config{})
	_, err := c.ServiceAccountToken(t.Context(), "default", "a/b", robotToken())
	require.ErrorContains(t, err, "name may not contain '/'")
	_, err = mustOpen(t, storePath(t), watchFunc(silent), metaclient.Config{}).ServiceAccountToken(t.Context(), "default", "a", robotToken())
	require.ErrorContains(t, err, "upstream issues none")
}
