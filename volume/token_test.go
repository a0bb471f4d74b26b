package volume

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// issuer issues tokens for an hour.
type issuer struct{ noObjects }

func (issuer) ServiceAccountToken(
	_ context.Context, _, _ string, request *authenticationv1.TokenRequest,
) (*authenticationv1.TokenRequest, error) {
	request.Status = authenticationv1.TokenRequestStatus{Token: "new", ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Hour))}
	return request, nil
}

// A board without a battery may begin years ahead, too, with the token that it remembers.
func TestATokenIsRenewedWhenAClockThatWasAheadIsSetRight(t *testing.T) {
	m := New(issuer{}, Config{Root: t.TempDir()})
	r := m.remember(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "uid"}})
	now := time.Now().Round(0)
	old := &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{
		Token: "old", ExpirationTimestamp: metav1.NewTime(now.Add(time.Hour)),
	}}
	r.tokens[tokenKey{"all", 0}] = newToken(old, time.Hour, now.AddDate(10, 0, 0))
	r.due["all"] = r.tokens[tokenKey{"all", 0}].due

	jobs, _ := m.takeStale(time.Now(), 1)
	require.Len(t, jobs, 1)
	assert.True(t, jobs[0].volumes["all"])
	c := &collector{m: m, record: r, volume: "all"}
	files, err := c.token(t.Context(), &corev1.ServiceAccountTokenProjection{Path: "token"}, 0, 0o644)
	require.NoError(t, err)
	assert.Equal(t, "new", string(files["token"].data))
	assert.NoError(t, c.old)
}
