package metaclient

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// StaleAnnotation is put on a token that has expired and could not be renewed.
const StaleAnnotation = "edged/stale"

const (
	bucketTokens = "serviceaccounttokens"
	// defaultTokenLife is what the API gives when nothing is asked for.
	defaultTokenLife = int64(3600)
	// maxTokenAge is when a token is renewed at the latest, as by the kubelet.
	maxTokenAge = 24 * time.Hour
)

// ServiceAccountToken returns a token for the service account, as the request's
// spec asks for it: a stored one while it is fresh, or a new one, once it is
// stored. A token is renewed after 80 % of its life or 24 hours. One that cannot
// be renewed is returned as long as nothing better is to be had, also when it has
// expired; it then has the annotation StaleAnnotation, and is asked for again with
// the next call. It blocks for at most Config.RequestTimeout; request is neither
// kept nor changed, the result is the caller's. The errors are those of ConfigMap.
func (c *Client) ServiceAccountToken(ctx context.Context, namespace, name string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t := tokenRef{namespace, name, request.Spec}
	if bad := t.bad(); bad != "" {
		return nil, fmt.Errorf("token of service account %s/%s: %s", namespace, name, bad)
	}
	known, err := c.recallToken(t)
	if err != nil {
		return nil, err
	}
	if known != nil && !due(known, time.Now()) {
		return known, nil
	}
	value, err := c.askToken(ctx, t)
	switch {
	case err != nil && known != nil && ctx.Err() == nil:
		return markStale(known, time.Now()), nil
	case err != nil:
		return nil, err
	}
	_, _ = c.update(func(store.Reader) []store.Change {
		return []store.Change{{Bucket: bucketTokens, Key: t.key(), Value: value}}
	})
	return decodeToken(value)
}

func markStale(token *authenticationv1.TokenRequest, now time.Time) *authenticationv1.TokenRequest {
	if !now.Before(token.Status.ExpirationTimestamp.Time) {
		token.Annotations = map[string]string{StaleAnnotation: "true"}
	}
	return token
}

// due reports whether it is time to renew a token.
func due(token *authenticationv1.TokenRequest, now time.Time) bool {
	life := time.Duration(*token.Spec.ExpirationSeconds) * time.Second
	left := token.Status.ExpirationTimestamp.Sub(now)
	return left < life/5 || life-left > maxTokenAge
}

// tokenRef names a token: whose it is and what was asked for.
type tokenRef struct {
	namespace, name string
	spec            authenticationv1.TokenRequestSpec
}

// tokensOf returns the tokens that a pod's projected volumes want, asked for as the
// kubelet does: bound to the pod.
func tokensOf(pod *corev1.Pod) (tokens []tokenRef) {
	account := accountOf(pod)
	for _, volume := range pod.Spec.Volumes {
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			if source.ServiceAccountToken == nil {
				continue
			}
			spec := authenticationv1.TokenRequestSpec{
				ExpirationSeconds: source.ServiceAccountToken.ExpirationSeconds,
				BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
			}
			if source.ServiceAccountToken.Audience != "" {
				spec.Audiences = []string{source.ServiceAccountToken.Audience}
			}
			if t := (tokenRef{pod.Namespace, account, spec}); t.bad() == "" {
				tokens = append(tokens, t)
			}
		}
	}
	return tokens
}

func accountOf(pod *corev1.Pod) string { return cmp.Or(pod.Spec.ServiceAccountName, "default") }

func (t tokenRef) bad() string {
	if bad := badName("namespace", t.namespace); bad != "" {
		return bad
	}
	if bad := badName("name", t.name); bad != "" {
		return bad
	}
	if t.spec.BoundObjectRef != nil {
		return badName("spec.boundObjectRef.uid", string(t.spec.BoundObjectRef.UID))
	}
	return ""
}

// unbound stands where the UID of the object would be that a token is bound to.
const unbound = "-"

// key is namespace, name, the UID that the token is bound to, and what tells it
// from others of these.
func (t tokenRef) key() string {
	uid := unbound
	if t.spec.BoundObjectRef != nil {
		uid = string(t.spec.BoundObjectRef.UID)
	}
	asked := fmt.Sprintf("%q %d", t.spec.Audiences, t.seconds())
	sum := sha256.Sum256([]byte(asked))
	return strings.Join([]string{t.namespace, t.name, uid, hex.EncodeToString(sum[:8])}, "/")
}

func (t tokenRef) seconds() int64 {
	if t.spec.ExpirationSeconds == nil {
		return defaultTokenLife
	}
	return *t.spec.ExpirationSeconds
}

func (c *Client) recallToken(t tokenRef) (token *authenticationv1.TokenRequest, err error) {
	err = c.store.View(func(r store.Reader) error {
		if value := r.Get(bucketTokens, t.key()); value != nil {
			token, _ = decodeToken(value)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read stored token of service account %s/%s: %w", t.namespace, t.name, err)
	}
	return token, nil
}

// askToken returns a new token as it is stored.
func (c *Client) askToken(ctx context.Context, t tokenRef) ([]byte, error) {
	about := fmt.Sprintf("token of service account %s/%s", t.namespace, t.name)
	if c.issuer == nil {
		return nil, fmt.Errorf("%s: upstream issues none", about)
	}
	if !c.Connected() {
		return nil, fmt.Errorf("%s: %w", about, ErrOffline)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.RequestTimeout, ErrTimeout)
	defer cancel()
	value, err := c.tokens.do(ctx, t.key(), func(ctx context.Context) ([]byte, error) { return c.requestToken(ctx, t) })
	if err != nil {
		return nil, classify(about, err)
	}
	return value, nil
}

func (c *Client) requestToken(ctx context.Context, t tokenRef) ([]byte, error) {
	seconds := t.seconds()
	request := &authenticationv1.TokenRequest{Spec: *t.spec.DeepCopy()}
	request.Spec.ExpirationSeconds = &seconds
	answer, err := c.issuer.RequestToken(ctx, t.namespace, t.name, request)
	if err != nil {
		return nil, err
	}
	if answer == nil || answer.Status.Token == "" || answer.Status.ExpirationTimestamp.IsZero() {
		return nil, errors.New("answer has no token")
	}
	stored := authenticationv1.TokenRequest{Spec: *answer.Spec.DeepCopy(), Status: answer.Status}
	if stored.Spec.ExpirationSeconds == nil {
		stored.Spec.ExpirationSeconds = &seconds
	}
	return json.Marshal(&stored)
}

func decodeToken(value []byte) (*authenticationv1.TokenRequest, error) {
	token := &authenticationv1.TokenRequest{}
	if err := json.Unmarshal(value, token); err != nil {
		return nil, fmt.Errorf("decode token: %w", withoutText(err))
	}
	if token.Spec.ExpirationSeconds == nil || token.Status.Token == "" {
		return nil, errors.New("value is no token")
	}
	return token, nil
}

// gatherTokens asks for the tokens that are not stored, except what was tried
// before. It forgets that it has tried what is not wanted any more.
func (c *Client) gatherTokens(ctx context.Context, refs []tokenRef, tried map[string]bool) map[string][]byte {
	if c.issuer == nil {
		return nil
	}
	wanted := map[string]bool{}
	for _, t := range refs {
		wanted[t.key()] = true
	}
	maps.DeleteFunc(tried, func(key string, _ bool) bool { return !wanted[key] })
	fetched := map[string][]byte{}
	var mu sync.Mutex // guards fetched
	var group errgroup.Group
	group.SetLimit(askAtOnce)
	for _, t := range refs {
		if tried[t.key()] {
			continue
		}
		tried[t.key()] = true
		group.Go(func() error {
			if known, err := c.recallToken(t); err != nil || known != nil {
				return nil
			}
			value, err := c.askToken(ctx, t)
			if err != nil {
				c.log.Debug("token cannot be had yet", zap.String("namespace", t.namespace), zap.String("serviceAccount", t.name), zap.Error(err))
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			fetched[t.key()] = value
			return nil
		})
	}
	_ = group.Wait()
	return fetched
}

// planTokenSweep drops the tokens that are bound to what is not in the set, and of
// service accounts that no pod of it has.
func planTokenSweep(r store.Reader, set storedSet) (changes []store.Change) {
	accounts := map[string]bool{}
	for _, p := range set {
		accounts[p.account] = true
	}
	r.Each(bucketTokens, func(key string, _ []byte) {
		part := strings.Split(key, "/")
		keep := false
		if len(part) == 4 {
			_, bound := set[types.UID(part[2])]
			keep = bound || part[2] == unbound && accounts[part[0]+"/"+part[1]]
		}
		if !keep {
			changes = append(changes, store.Change{Bucket: bucketTokens, Key: key})
		}
	})
	return changes
}
