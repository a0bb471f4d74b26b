package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
)

// When a token is replaced, as by the kubelet: at 80 % of its life or after a day,
// up to 10 seconds sooner, so that not all are asked for at once. One that cannot be
// had is asked for once a minute.
const (
	tokenLife   = 3600 // seconds, if the spec names none
	tokenMaxAge = 24 * time.Hour
	tokenJitter = 10 * time.Second
	tokenRetry  = time.Minute
)

// token is one that was issued for a volume.
type token struct {
	value        string
	due, expires time.Time
	old          error // why it is not a fresh one, nil if it is
}

var errExpired = errors.New("it has expired and cannot be renewed")

// tokenKey names a token of a pod: the source of a volume that shows it.
type tokenKey struct {
	volume string
	source int
}

// token makes the file of a service account's token. The one that was issued last
// is good until a new one can be had, or until it expires.
func (c *collector) token(ctx context.Context, source *corev1.ServiceAccountTokenProjection, index int, mode fs.FileMode) (payload, error) {
	key, now := tokenKey{c.volume, index}, time.Now().Round(0) // by the clock on the wall, which may be set meanwhile
	current := c.record.tokens[key]
	if current == nil || isDue(current.due, now) {
		fresh, err := c.requestToken(ctx, source, now)
		switch {
		case err == nil:
			current = fresh
		case current == nil || !now.Before(current.expires):
			return nil, fmt.Errorf("token of service account %q: %w", accountOf(c.record.pod), err)
		default:
			current = &token{value: current.value, due: now.Add(tokenRetry), expires: current.expires, old: err}
		}
		c.record.tokens[key] = current
	}
	if current.old != nil {
		c.old = fmt.Errorf("token of service account %q: %w", accountOf(c.record.pod), current.old)
	}
	if c.due.IsZero() || current.due.Before(c.due) {
		c.due = current.due
	}
	owner := userOf(c.record.pod)
	if owner != nil || groupOf(c.record.pod) != nil {
		mode = 0o600
	}
	files := make(payload)
	return files, files.add(source.Path, file{data: []byte(current.value), mode: mode, owner: owner})
}

// isDue reports whether it is time for what is due at the given time. What is further off
// than any was set while the clock was ahead.
func isDue(at, now time.Time) bool { return !now.Before(at) || at.Sub(now) > tokenMaxAge }

func (c *collector) requestToken(ctx context.Context, source *corev1.ServiceAccountTokenProjection, now time.Time) (*token, error) {
	if c.m.tokens == nil {
		return nil, errors.New("no source of tokens is configured")
	}
	pod := c.record.pod
	seconds := int64(tokenLife)
	if source.ExpirationSeconds != nil {
		seconds = *source.ExpirationSeconds
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	answer, err := c.m.tokens.ServiceAccountToken(ctx, pod.Namespace, accountOf(pod), request)
	if err != nil {
		return nil, err
	}
	if answer == nil || answer.Status.Token == "" {
		return nil, errors.New("the answer holds no token")
	}
	return newToken(answer, time.Duration(seconds)*time.Second, now), nil
}

// newToken is what was answered to a request for a token of this life. A source that
// is out of reach of the cloud may answer with an old one: what it gives is shown, and
// asked for again.
func newToken(answer *authenticationv1.TokenRequest, life time.Duration, now time.Time) *token {
	expires := answer.Status.ExpirationTimestamp.Time
	if expires.IsZero() {
		expires = now.Add(life)
	}
	wait := min(min(expires.Sub(now), life)*4/5, tokenMaxAge) - rand.N(tokenJitter)
	t := &token{value: answer.Status.Token, due: now.Add(max(wait, tokenRetry)), expires: expires}
	if !expires.After(now) {
		t.old = errExpired
	}
	return t
}

func accountOf(pod *corev1.Pod) string { return cmp.Or(pod.Spec.ServiceAccountName, "default") }
