package probe_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/probe"
)

var _ probe.Execer = (*cri.Client)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeExecer answers every command alike, and notes what it was asked.
type fakeExecer struct {
	stdout, stderr string
	err            error

	containerID string
	command     []string
	timeout     time.Duration
}

func (f *fakeExecer) ExecSync(_ context.Context, containerID string, cmd []string, timeout time.Duration) ([]byte, []byte, error) {
	f.containerID, f.command, f.timeout = containerID, cmd, timeout
	return []byte(f.stdout), []byte(f.stderr), f.err
}

func newChecker() *probe.Checker { return probe.NewChecker(&fakeExecer{}, probe.CheckerConfig{}) }

func exec(command ...string) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: command}}}
}

// patience is the timeout of a check over a socket, in seconds: time is real there, and a
// busy machine may stand still for longer than the default.
const patience = 60

func get(action corev1.HTTPGetAction) *corev1.Probe {
	return &corev1.Probe{TimeoutSeconds: patience, ProbeHandler: corev1.ProbeHandler{HTTPGet: &action}}
}

func tcp(action corev1.TCPSocketAction) *corev1.Probe {
	return &corev1.Probe{TimeoutSeconds: patience, ProbeHandler: corev1.ProbeHandler{TCPSocket: &action}}
}

// serve starts a web server and returns the target that it is, with its port
// under the name "web".
func serve(t *testing.T, handler http.HandlerFunc) (*httptest.Server, probe.Target) {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server, targetOf(t, server.URL)
}

func targetOf(t *testing.T, address string) probe.Target {
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	port, err := strconv.Atoi(parsed.Port())
	require.NoError(t, err)
	return probe.Target{PodIP: parsed.Hostname(), Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(port)}}}
}

var web = intstr.FromString("web")

func TestCommandResults(t *testing.T) {
	tests := map[string]struct {
		execer fakeExecer
		want   probe.Outcome
		err    string
	}{
		"code 0": {
			execer: fakeExecer{stdout: "fine", stderr: ", really"},
			want:   probe.Outcome{Result: probe.Success, Output: "fine, really"},
		},
		"another code": {
			execer: fakeExecer{stdout: "no ", stderr: "disk", err: fmt.Errorf("exec: %w", &cri.ExitError{Code: 3})},
			want:   probe.Outcome{Result: probe.Failure, Output: "no disk"},
		},
		"timeout": {
			execer: fakeExecer{err: fmt.Errorf("exec: %w", cri.ErrExecTimeout)},
			want:   probe.Outcome{Result: probe.Failure, Output: "command timed out after 1s"},
		},
		"the runtime fails": {
			execer: fakeExecer{stdout: "half", err: errors.New("unavailable")},
			err:    "run probe command: unavailable",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			found, err := probe.NewChecker(&test.execer, probe.CheckerConfig{}).Check(t.Context(), exec("true"), probe.Target{})
			assert.Equal(t, test.want, found)
			if test.err == "" {
				assert.NoError(t, err)
			} else {
				assert.EqualError(t, err, test.err)
			}
		})
	}
}

func TestCommandRunsInTheContainerWithTheTimeout(t *testing.T) {
	execer := &fakeExecer{}
	spec := exec("cat", "/healthy")
	spec.TimeoutSeconds = 7
	_, err := probe.NewChecker(execer, probe.CheckerConfig{}).Check(t.Context(), spec, probe.Target{ContainerID: "id"})
	require.NoError(t, err)
	assert.Equal(t, "id", execer.containerID)
	assert.Equal(t, []string{"cat", "/healthy"}, execer.command)
	assert.Equal(t, 7*time.Second, execer.timeout)
}

func TestOutputIsBoundedText(t *testing.T) {
	long := strings.Repeat("x", 3*probe.MaxOutput)
	for name, execer := range map[string]*fakeExecer{
		"long":      {stdout: long, stderr: long},
		"not UTF-8": {stdout: "\xff\xfe" + long},
		"cut rune":  {stdout: "x" + strings.Repeat("ü", probe.MaxOutput)},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := probe.NewChecker(execer, probe.CheckerConfig{}).Check(t.Context(), exec("yes"), probe.Target{})
			require.NoError(t, err)
			assert.InDelta(t, probe.MaxOutput, len(found.Output), 1)
			assert.LessOrEqual(t, len(found.Output), probe.MaxOutput)
			assert.True(t, utf8.ValidString(found.Output))
		})
	}
}

func TestHTTPStatuses(t *testing.T) {
	_, target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.URL.Query().Get("code"))
		w.WriteHeader(code)
		if code != http.StatusNoContent && code != http.StatusNotModified {
			_, _ = io.WriteString(w, "body")
		}
	})
	tests := map[int]probe.Outcome{
		200: {Result: probe.Success, Output: "body"},
		204: {Result: probe.Success},
		299: {Result: probe.Success, Output: "body"},
		304: {Result: probe.Warning, Output: "HTTP probe was redirected and did not follow, statuscode: 304, body: "},
		399: {Result: probe.Warning, Output: "HTTP probe was redirected and did not follow, statuscode: 399, body: body"},
		400: {Result: probe.Failure, Output: "HTTP probe failed with statuscode: 400"},
		404: {Result: probe.Failure, Output: "HTTP probe failed with statuscode: 404"},
		503: {Result: probe.Failure, Output: "HTTP probe failed with statuscode: 503"},
	}
	for code, want := range tests {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			found, err := newChecker().Check(t.Context(), get(corev1.HTTPGetAction{Port: web, Path: fmt.Sprintf("/?code=%d", code)}), target)
			require.NoError(t, err)
			assert.Equal(t, want, found)
		})
	}
}

func TestHTTPRequestAsTheServerSeesIt(t *testing.T) {
	var seen *http.Request
	_, target := serve(t, func(_ http.ResponseWriter, r *http.Request) { seen = r })
	action := corev1.HTTPGetAction{
		Port: web, Path: "/ready?deep=1",
		HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "shop.test"}, {Name: "X-Token", Value: "a"}},
	}

	found, err := newChecker().Check(t.Context(), get(action), target)
	require.NoError(t, err)
	require.Equal(t, probe.Success, found.Result, found.Output)
	assert.Equal(t, "/ready?deep=1", seen.RequestURI)
	assert.Equal(t, "shop.test", seen.Host)
	assert.Equal(t, http.Header{
		"User-Agent": {"kube-probe/1.37"}, "Accept": {"*/*"}, "X-Token": {"a"}, "Connection": {"close"},
	}, seen.Header)

	_, err = probe.NewChecker(nil, probe.CheckerConfig{UserAgent: "kube-probe/9"}).Check(t.Context(), get(action), target)
	require.NoError(t, err)
	assert.Equal(t, "kube-probe/9", seen.UserAgent())
}

func TestHTTPRedirects(t *testing.T) {
	server, target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		hops, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/hops/"))
		switch {
		case r.URL.Path == "/away":
			_, port, _ := net.SplitHostPort(r.Host)
			http.Redirect(w, r, "http://"+net.JoinHostPort("localhost", port)+"/never", http.StatusFound)
		case r.URL.Path == "/never":
			t.Error("followed a redirect to another host")
		case r.URL.Path == "/broken":
			http.Redirect(w, r, "/missing", http.StatusFound)
		case r.URL.Path == "/missing":
			http.NotFound(w, r)
		case hops > 0:
			http.Redirect(w, r, fmt.Sprintf("/hops/%d", hops-1), http.StatusMovedPermanently)
		}
	})
	require.True(t, strings.HasPrefix(server.URL, "http://127.0.0.1:"), "the test needs a host that is not localhost")
	tests := map[string]struct {
		path   string
		result probe.Result
		output string
	}{
		"within the host is followed":  {path: "/hops/1", result: probe.Success},
		"nine times":                   {path: "/hops/9", result: probe.Success},
		"to another host is a warning": {path: "/away", result: probe.Warning, output: "statuscode: 302"},
		"to an error":                  {path: "/broken", result: probe.Failure, output: "statuscode: 404"},
		"for ever":                     {path: "/hops/1000", result: probe.Failure, output: "stopped after 10 redirects"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			found, err := newChecker().Check(t.Context(), get(corev1.HTTPGetAction{Port: web, Path: test.path}), target)
			require.NoError(t, err)
			assert.Equal(t, test.result, found.Result)
			assert.Contains(t, found.Output, test.output)
		})
	}
}

func TestHTTPSTrustsAnyCertificate(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "safe") }))
	defer server.Close()
	found, err := newChecker().Check(t.Context(), get(corev1.HTTPGetAction{Port: web, Scheme: corev1.URISchemeHTTPS}), targetOf(t, server.URL))
	require.NoError(t, err)
	assert.Equal(t, probe.Outcome{Result: probe.Success, Output: "safe"}, found)
}

func TestHTTPAsksNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	_, target := serve(t, func(http.ResponseWriter, *http.Request) {})
	target.PodIP = "127.0.0.1"
	found, err := newChecker().Check(t.Context(), get(corev1.HTTPGetAction{Port: web}), target)
	require.NoError(t, err)
	assert.Equal(t, probe.Success, found.Result, found.Output)
}

func TestHTTPAnswerIsBounded(t *testing.T) {
	_, target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/header" {
			w.Header().Set("X-Large", strings.Repeat("x", 1<<20))
		}
		for range 1 << 20 { // or until the client has seen enough
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<20)); err != nil {
				return
			}
		}
	})
	found, err := newChecker().Check(t.Context(), get(corev1.HTTPGetAction{Port: web}), target)
	require.NoError(t, err)
	assert.Equal(t, probe.Success, found.Result)
	assert.Len(t, found.Output, probe.MaxOutput)

	found, err = newChecker().Check(t.Context(), get(corev1.HTTPGetAction{Port: web, Path: "/header"}), target)
	require.NoError(t, err)
	assert.Equal(t, probe.Failure, found.Result)
}

func TestHTTPFailures(t *testing.T) {
	_, target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
			w.(http.Flusher).Flush()
		}
		panic(http.ErrAbortHandler)
	})
	header := []corev1.HTTPHeader{{Name: "bad name", Value: "x"}}
	for name, action := range map[string]corev1.HTTPGetAction{
		"connection closed":           {Port: web},
		"connection closed in answer": {Port: web, Path: "/body"},
		"nobody listens":              {Port: intstr.FromInt32(1)},
		"header that cannot be sent":  {Port: web, HTTPHeaders: header},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := newChecker().Check(t.Context(), get(action), target)
			require.NoError(t, err)
			assert.Equal(t, probe.Failure, found.Result)
			assert.NotEmpty(t, found.Output)
		})
	}
}

// The server answers only after the client has gone, which it does when the
// shortest timeout that a probe can have, a second, is over. Time is real here,
// as sockets do not work in virtual time; so others run beside it.
func TestHTTPTimesOut(t *testing.T) {
	t.Parallel()
	_, target := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	spec := get(corev1.HTTPGetAction{Port: web})
	spec.TimeoutSeconds = 0 // the default
	found, err := newChecker().Check(t.Context(), spec, target)
	require.NoError(t, err)
	assert.Equal(t, probe.Failure, found.Result)
	assert.Contains(t, found.Output, "Timeout exceeded")
}

func TestTCP(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	target := targetOf(t, "tcp://"+listener.Addr().String())

	found, err := newChecker().Check(t.Context(), tcp(corev1.TCPSocketAction{Port: web}), target)
	require.NoError(t, err)
	assert.Equal(t, probe.Outcome{Result: probe.Success}, found)

	target.PodIP = "192.0.2.1" // not asked, as the probe names a host
	found, err = newChecker().Check(t.Context(), tcp(corev1.TCPSocketAction{Port: web, Host: "127.0.0.1"}), target)
	require.NoError(t, err)
	assert.Equal(t, probe.Success, found.Result)

	require.NoError(t, listener.Close())
	found, err = newChecker().Check(t.Context(), tcp(corev1.TCPSocketAction{Port: web, Host: "127.0.0.1"}), target)
	require.NoError(t, err)
	assert.Equal(t, probe.Failure, found.Result)
	assert.Contains(t, found.Output, "connection refused")
}

func TestProbesThatCannotBeCarriedOutGiveNoResult(t *testing.T) {
	target := probe.Target{PodIP: "127.0.0.1"}
	tests := map[string]struct {
		probe  *corev1.Probe
		target probe.Target
		err    string
	}{
		"no handler":        {probe: &corev1.Probe{}, target: target, err: "the probe has no handler"},
		"a gRPC port":       {probe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 65536}}}, target: target, err: "port 65536 is not between 1 and 65535"},
		"unknown port":      {probe: get(corev1.HTTPGetAction{Port: web}), target: target, err: `the container has no port named "web"`},
		"unknown TCP port":  {probe: tcp(corev1.TCPSocketAction{Port: web}), target: target, err: `the container has no port named "web"`},
		"pod without an IP": {probe: get(corev1.HTTPGetAction{Port: intstr.FromInt32(80)}), err: "the pod has no IP address"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			found, err := newChecker().Check(t.Context(), test.probe, test.target)
			require.EqualError(t, err, test.err)
			assert.Equal(t, probe.Outcome{}, found)
		})
	}
}

func TestACancelledCheckIsNoFailure(t *testing.T) {
	_, target := serve(t, func(http.ResponseWriter, *http.Request) {})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	execer := &fakeExecer{err: cri.ErrExecTimeout}
	for name, spec := range map[string]*corev1.Probe{
		"http": get(corev1.HTTPGetAction{Port: web}),
		"tcp":  tcp(corev1.TCPSocketAction{Port: web}),
		"exec": exec("true"),
	} {
		t.Run(name, func(t *testing.T) {
			found, err := probe.NewChecker(execer, probe.CheckerConfig{}).Check(ctx, spec, target)
			require.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, probe.Outcome{}, found)
		})
	}
}
