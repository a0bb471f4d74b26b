package podsync

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/edged-project/edged/podmanager/podspec"
)

// hookServer is a container with an HTTP server at the loopback address.
func hookServer(t *testing.T, handle http.HandlerFunc, start func(http.Handler) *httptest.Server) (target hookTarget, port int) {
	t.Helper()
	server := start(handle)
	t.Cleanup(server.Close)
	where, err := url.Parse(server.URL)
	require.NoError(t, err)
	port, err = strconv.Atoi(where.Port())
	require.NoError(t, err)
	return hookTarget{podIP: where.Hostname(), ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(port)}}}, port
}

func TestAnHTTPHookIsSentAsTheKubeletSendsIt(t *testing.T) {
	var got *http.Request
	target, _ := hookServer(t, func(_ http.ResponseWriter, r *http.Request) { got = r }, httptest.NewServer)
	err := httpHook(t.Context(), &corev1.HTTPGetAction{
		Path: "bye?now=1", Port: intstr.FromString("web"),
		HTTPHeaders: []corev1.HTTPHeader{{Name: "X-Who", Value: "me"}, {Name: "Host", Value: "shop.example"}},
	}, target)
	require.NoError(t, err)
	assert.Equal(t, "/bye?now=1", got.URL.String())
	assert.Equal(t, "shop.example", got.Host)
	assert.Equal(t, "me", got.Header.Get("X-Who"))
	assert.Equal(t, hookUserAgent, got.Header.Get("User-Agent"))
}

func TestAnyAnswerToAnHTTPHookIsSuccess(t *testing.T) {
	target, port := hookServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, httptest.NewServer)
	require.NoError(t, httpHook(t.Context(), &corev1.HTTPGetAction{Port: intstr.FromInt(port)}, target))
}

func TestAnHTTPHookThatNobodyAnswersFails(t *testing.T) {
	target, port := hookServer(t, nil, func(h http.Handler) *httptest.Server {
		server := httptest.NewServer(h)
		server.Close()
		return server
	})
	require.Error(t, httpHook(t.Context(), &corev1.HTTPGetAction{Port: intstr.FromInt(port)}, target))
	require.ErrorContains(t, httpHook(t.Context(), &corev1.HTTPGetAction{Port: intstr.FromString("none")}, target), `no port named "none"`)
	require.ErrorContains(t, httpHook(t.Context(), &corev1.HTTPGetAction{Port: intstr.FromInt(port)}, hookTarget{}), "no address")
}

func TestAnHTTPSHookDoesNotAskForACertificate(t *testing.T) {
	served := false
	target, port := hookServer(t, func(http.ResponseWriter, *http.Request) { served = true }, httptest.NewTLSServer)
	require.NoError(t, httpHook(t.Context(), &corev1.HTTPGetAction{Scheme: corev1.URISchemeHTTPS, Port: intstr.FromInt(port)}, target))
	assert.True(t, served)
}

func TestAnHTTPSHookThatIsGivenUpLeavesNothingOpen(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	ctx, giveUp := context.WithCancel(t.Context())
	closed := make(chan error, 1)
	go func() { // takes the connection and does not shake hands
		conn, err := listener.Accept()
		if err == nil {
			defer conn.Close()
			_, _ = conn.Read(make([]byte, 1)) // the client has begun to
			giveUp()
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, err = io.Copy(io.Discard, conn)
		}
		closed <- err
	}()
	port := listener.Addr().(*net.TCPAddr).Port
	action := &corev1.HTTPGetAction{Scheme: corev1.URISchemeHTTPS, Port: intstr.FromInt(port)}
	require.ErrorIs(t, httpHook(ctx, action, hookTarget{podIP: "127.0.0.1"}), context.Canceled)
	require.NoError(t, <-closed, "the connection stays open")
}

func TestAnHTTPSHookFallsBackOnHTTPWithoutItsAuthorization(t *testing.T) {
	var got *http.Request
	target, port := hookServer(t, func(_ http.ResponseWriter, r *http.Request) { got = r }, httptest.NewServer)
	require.NoError(t, httpHook(t.Context(), &corev1.HTTPGetAction{
		Scheme: corev1.URISchemeHTTPS, Port: intstr.FromInt(port),
		HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: "secret"}, {Name: "X-Who", Value: "me"}},
	}, target))
	assert.Empty(t, got.Header.Get("Authorization"))
	assert.Equal(t, "me", got.Header.Get("X-Who"))
}

func TestASleepHookEndsWithItsTimeOrItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		require.NoError(t, sleepHook(t.Context(), 5*time.Second))
		assert.Equal(t, 5*time.Second, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, sleepHook(ctx, 5*time.Second), context.DeadlineExceeded)
	})
}

func TestTheHooksOfAPodOnTheHostsNetworkGoToTheHost(t *testing.T) {
	syncer := New(Rooms{}, Config{Container: podspec.ContainerOptions{HostIPs: []string{"192.0.2.7", "2001:db8::7"}}})
	pod := podWith(corev1.RestartPolicyAlways, "a")
	assert.Equal(t, "10.0.0.1", syncer.hookIP(pod, "10.0.0.1"))
	assert.Empty(t, syncer.hookIP(pod, ""), "one that has lost its address is not the host")
	assert.Equal(t, "192.0.2.7", syncer.hookIP(hostNetwork(pod), ""))
}

func TestWhatIsRememberedOfAContainerGoesWithIt(t *testing.T) {
	rec := New(Rooms{}, Config{}).record("uid")
	for _, id := range []string{"a-1", "gone"} {
		rec.hooked[id], rec.resized[id] = true, "to this"
	}
	rec.dropGone(stateWith("ready", "a:running"))
	assert.Equal(t, map[string]bool{"a-1": true}, rec.hooked)
	assert.Equal(t, map[string]string{"a-1": "to this"}, rec.resized)
}
