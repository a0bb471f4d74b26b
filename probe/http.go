package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	maxRedirects = 10
	// maxHeader bounds what a container can make the agent hold, in bytes.
	maxHeader = 64 << 10
)

// newTransport returns what one HTTP check uses. At the end of ctx all that it has begun
// ends too: by itself a transport goes on to connect and to shake hands, for requests to
// come. It asks no proxy, as the target is on this node; trusts any certificate, as nobody
// vouches for a pod's; and holds no connection, as the next check is a new one.
func newTransport(ctx context.Context, dial dialFunc) *http.Transport {
	return &http.Transport{
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err == nil {
				context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) }) // the transport closes it then
			}
			return conn, err
		},
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// get checks that a GET is answered with a status of 200 to 399.
func (c *Checker) get(ctx context.Context, action *corev1.HTTPGetAction, target Target, timeout time.Duration) (Outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := newRequest(ctx, action, target, c.cfg.UserAgent)
	if err != nil {
		return Outcome{}, err
	}
	client := http.Client{Transport: newTransport(ctx, c.dial), Timeout: timeout, CheckRedirect: checkRedirect}
	response, err := client.Do(request)
	if err != nil {
		return outcome(Failure, err.Error()), nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxOutput))
	if err != nil {
		return outcome(Failure, fmt.Sprintf("read the answer: %v", err)), nil
	}
	return judge(response.StatusCode, string(body)), nil
}

// judge is what a final answer means. A redirect is final when it was not to be
// followed: the container did answer, but nobody saw the page that was asked for.
func judge(code int, body string) Outcome {
	switch {
	case code >= 200 && code < 300:
		return outcome(Success, body)
	case code >= 300 && code < 400:
		return outcome(Warning, fmt.Sprintf("HTTP probe was redirected and did not follow, statuscode: %d, body: %s", code, body))
	default:
		return outcome(Failure, fmt.Sprintf("HTTP probe failed with statuscode: %d", code))
	}
}

// checkRedirect follows redirects within a host, so that a check cannot be sent
// to other machines.
func checkRedirect(next *http.Request, via []*http.Request) error {
	switch {
	case next.URL.Hostname() != via[0].URL.Hostname():
		return http.ErrUseLastResponse
	case len(via) >= maxRedirects:
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	default:
		return nil
	}
}

// newRequest builds the request of an HTTP check.
func newRequest(ctx context.Context, action *corev1.HTTPGetAction, target Target, userAgent string) (*http.Request, error) {
	address, err := addressOf(action.Host, action.Port, target)
	if err != nil {
		return nil, err
	}
	header, host := headersOf(action.HTTPHeaders, userAgent)
	request := &http.Request{Method: http.MethodGet, URL: urlOf(action, address), Host: host, Header: header}
	return request.WithContext(ctx), nil
}

// urlOf puts the URL together from its parts, so that no path can lead to
// another host. A path may bring a query; a fragment is for browsers; what is no
// path by the rules is sent as it is.
func urlOf(action *corev1.HTTPGetAction, address string) *url.URL {
	path, _, _ := strings.Cut(action.Path, "#")
	path = "/" + strings.TrimPrefix(path, "/")
	target, err := url.ParseRequestURI(path)
	if err != nil {
		target = &url.URL{Path: path}
	}
	target.Scheme = strings.ToLower(cmp.Or(string(action.Scheme), "http"))
	target.Host = address
	return target
}

// headersOf returns the headers to send and, apart from them as HTTP libraries
// want it, the value for Host. An Accept that is set to nothing is not sent.
func headersOf(custom []corev1.HTTPHeader, userAgent string) (header http.Header, host string) {
	header = http.Header{}
	for _, h := range custom {
		header.Add(h.Name, h.Value)
	}
	host = header.Get("Host")
	header.Del("Host")
	if _, set := header["User-Agent"]; !set {
		header.Set("User-Agent", userAgent)
	}
	if _, set := header["Accept"]; !set {
		header.Set("Accept", "*/*")
	} else if header.Get("Accept") == "" {
		header.Del("Accept")
	}
	return header, host
}
