package probe

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var target = Target{
	PodIP: "10.0.0.7",
	Ports: []corev1.ContainerPort{{ContainerPort: 1}, {Name: "web", ContainerPort: 8080}, {Name: "bad", ContainerPort: 70000}},
}

func TestPorts(t *testing.T) {
	tests := map[string]struct {
		port intstr.IntOrString
		want int
		err  string
	}{
		"number":            {port: intstr.FromInt32(80), want: 80},
		"lowest":            {port: intstr.FromInt32(1), want: 1},
		"highest":           {port: intstr.FromInt32(65535), want: 65535},
		"zero":              {port: intstr.FromInt32(0), err: "port 0 is not between 1 and 65535"},
		"too high":          {port: intstr.FromInt32(65536), err: "port 65536 is not between 1 and 65535"},
		"negative":          {port: intstr.FromInt32(-1), err: "port -1 is not between 1 and 65535"},
		"name":              {port: intstr.FromString("web"), want: 8080},
		"name of a bad one": {port: intstr.FromString("bad"), err: "port bad is not between 1 and 65535"},
		"number as text":    {port: intstr.FromString("81"), want: 81},
		"unknown name":      {port: intstr.FromString("admin"), err: `the container has no port named "admin"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			port, err := resolvePort(test.port, target.Ports)
			if test.err != "" {
				require.EqualError(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, port)
		})
	}
}

func TestRequestURL(t *testing.T) {
	tests := map[string]struct {
		action corev1.HTTPGetAction
		podIP  string
		want   string
	}{
		"defaults":               {want: "http://10.0.0.7:8080/"},
		"path":                   {action: corev1.HTTPGetAction{Path: "/healthz"}, want: "http://10.0.0.7:8080/healthz"},
		"path without a slash":   {action: corev1.HTTPGetAction{Path: "healthz"}, want: "http://10.0.0.7:8080/healthz"},
		"query":                  {action: corev1.HTTPGetAction{Path: "/h?a=b&c=%20"}, want: "http://10.0.0.7:8080/h?a=b&c=%20"},
		"escapes stay":           {action: corev1.HTTPGetAction{Path: "/a%2Fb"}, want: "http://10.0.0.7:8080/a%2Fb"},
		"fragment is not sent":   {action: corev1.HTTPGetAction{Path: "/a#b"}, want: "http://10.0.0.7:8080/a"},
		"unparsable is sent raw": {action: corev1.HTTPGetAction{Path: "/%zz"}, want: "http://10.0.0.7:8080/%25zz"},
		"a URL is only a path":   {action: corev1.HTTPGetAction{Path: "http://elsewhere/x"}, want: "http://10.0.0.7:8080/http://elsewhere/x"},
		"two slashes":            {action: corev1.HTTPGetAction{Path: "//elsewhere/x"}, want: "http://10.0.0.7:8080//elsewhere/x"},
		"https":                  {action: corev1.HTTPGetAction{Scheme: corev1.URISchemeHTTPS}, want: "https://10.0.0.7:8080/"},
		"host":                   {action: corev1.HTTPGetAction{Host: "example.test"}, want: "http://example.test:8080/"},
		"IPv6":                   {podIP: "fd00::7", want: "http://[fd00::7]:8080/"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			target := target
			if test.podIP != "" {
				target.PodIP = test.podIP
			}
			test.action.Port = intstr.FromString("web")
			request, err := newRequest(t.Context(), &test.action, target, "agent")
			require.NoError(t, err)
			assert.Equal(t, test.want, request.URL.String())
			assert.Equal(t, http.MethodGet, request.Method)
		})
	}
}

func TestRequestHeaders(t *testing.T) {
	tests := map[string]struct {
		custom []corev1.HTTPHeader
		want   http.Header
		host   string
	}{
		"defaults": {
			want: http.Header{"User-Agent": {"agent"}, "Accept": {"*/*"}},
		},
		"custom ones are added": {
			custom: []corev1.HTTPHeader{{Name: "X-A", Value: "1"}, {Name: "x-a", Value: "2"}},
			want:   http.Header{"User-Agent": {"agent"}, "Accept": {"*/*"}, "X-A": {"1", "2"}},
		},
		"user agent and accept can be set": {
			custom: []corev1.HTTPHeader{{Name: "user-agent", Value: "me"}, {Name: "accept", Value: "text/plain"}},
			want:   http.Header{"User-Agent": {"me"}, "Accept": {"text/plain"}},
		},
		"an empty accept is not sent": {
			custom: []corev1.HTTPHeader{{Name: "Accept"}},
			want:   http.Header{"User-Agent": {"agent"}},
		},
		"host is the request's": {
			custom: []corev1.HTTPHeader{{Name: "host", Value: "shop.test"}},
			want:   http.Header{"User-Agent": {"agent"}, "Accept": {"*/*"}},
			host:   "shop.test",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			header, host := headersOf(test.custom, "agent")
			assert.Equal(t, test.want, header)
			assert.Equal(t, test.host, host)
		})
	}
}

func FuzzPort(f *testing.F) {
	f.Add("web", int32(0))
	f.Add("080", int32(0))
	f.Add("-1", int32(0))
	f.Add("", int32(70000))
	f.Fuzz(func(t *testing.T, name string, number int32) {
		for _, port := range []intstr.IntOrString{intstr.FromString(name), intstr.FromInt32(number)} {
			resolved, err := resolvePort(port, target.Ports)
			if err != nil {
				require.Zero(t, resolved)
				continue
			}
			require.True(t, resolved >= 1 && resolved <= 65535, resolved)
		}
	})
}

// FuzzRequest proves that no path, header or host of a spec leads a request
// elsewhere than to the target's address.
func FuzzRequest(f *testing.F) {
	f.Add("/healthz?x=1", "Host", "shop.test", "")
	f.Add("//elsewhere/%zz#f", "Accept", "", "fd00::1")
	f.Add("http://user:word@elsewhere", "X\r\n", "a\x00", "a b")
	f.Fuzz(func(t *testing.T, path, name, value, host string) {
		action := &corev1.HTTPGetAction{
			Path: path, Host: host, Port: intstr.FromInt32(80), HTTPHeaders: []corev1.HTTPHeader{{Name: name, Value: value}},
		}
		request, err := newRequest(t.Context(), action, target, "agent")
		require.NoError(t, err)
		if host == "" {
			host = target.PodIP
		}
		require.Equal(t, net.JoinHostPort(host, strconv.Itoa(80)), request.URL.Host)
		require.Nil(t, request.URL.User)
		require.True(t, strings.HasPrefix(request.URL.RequestURI(), "/"), request.URL.RequestURI())
		require.NotContains(t, request.Header, "Host")
	})
}

func FuzzClip(f *testing.F) {
	f.Add([]byte("ok"), 1)
	f.Add([]byte("\xff\xfe"), MaxOutput)
	f.Add([]byte("ü"), MaxOutput/2+1)
	f.Fuzz(func(t *testing.T, output []byte, times int) {
		long := strings.Repeat(string(output), max(0, min(times, MaxOutput)))
		clipped := clip(long)
		require.LessOrEqual(t, len(clipped), min(len(long), MaxOutput))
		require.True(t, utf8.ValidString(clipped))
		if utf8.ValidString(long) && len(long) <= MaxOutput {
			require.Equal(t, long, clipped)
		}
	})
}

// FuzzHTTPAnswer proves that nothing that a container sends is more than a bounded
// failure, or success.
func FuzzHTTPAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	f.Add([]byte("HTTP/1.1 302 Found\r\nLocation: http://elsewhere.test/\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"))
	f.Add([]byte("\x00\xff"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		checker := NewChecker(nil, CheckerConfig{})
		checker.dial = func(_ context.Context, _, address string) (net.Conn, error) {
			require.Equal(t, "10.0.0.7:8080", address)
			return answering(answer), nil
		}
		action := &corev1.HTTPGetAction{Port: intstr.FromString("web")}
		found, err := checker.Check(t.Context(), &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: action}}, target)
		require.NoError(t, err)
		require.NotEqual(t, Unknown, found.Result)
		require.LessOrEqual(t, len(found.Output), MaxOutput)
		require.True(t, utf8.ValidString(found.Output))
	})
}

// answering is a connection to a server that reads one request and sends the answer.
func answering(answer []byte) net.Conn {
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		if _, err := theirs.Read(make([]byte, 4096)); err == nil {
			_, _ = theirs.Write(answer)
		}
	}()
	return ours
}
