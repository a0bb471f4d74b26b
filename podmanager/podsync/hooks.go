package podsync

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/edged-project/edged/cri"
)

// hookUserAgent is how HTTP hooks introduce themselves, as the kubelet's do.
const hookUserAgent = "kube-lifecycle/1.37"

// runHook runs a postStart or preStop handler of a running container, and
// returns when it has ended. A command has no time limit but ctx's; of an HTTP
// request any answer is success.
func (s *Syncer) runHook(ctx context.Context, handler *corev1.LifecycleHandler, target hookTarget) error {
	switch {
	case handler.Exec != nil:
		return s.execHook(ctx, handler.Exec.Command, target.containerID)
	case handler.HTTPGet != nil:
		return httpHook(ctx, handler.HTTPGet, target)
	case handler.Sleep != nil:
		return sleepHook(ctx, inSeconds(handler.Sleep.Seconds))
	default:
		return errors.New("invalid handler: want exec, httpGet or sleep")
	}
}

// hookTarget is the container that a hook is for.
type hookTarget struct {
	containerID string
	podIP       string
	ports       []corev1.ContainerPort
}

func (s *Syncer) execHook(ctx context.Context, command []string, containerID string) error {
	stdout, stderr, err := s.rooms.Runtime.ExecSync(ctx, containerID, command, 0)
	if err == nil {
		return nil
	}
	return fmt.Errorf("command %q: %s, output %q", command, hookFailure(err), bounded(append(stdout, stderr...)))
}

func hookFailure(err error) string {
	var exit *cri.ExitError
	if errors.As(err, &exit) {
		return fmt.Sprintf("exited with %d", exit.Code)
	}
	return cri.Message(err)
}

// bounded is the start of a command's output, as much as an event can hold.
func bounded(output []byte) string {
	const limit = 512
	return string(output[:min(len(output), limit)])
}

func sleepHook(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("sleep for %s: %w", d, ctx.Err())
	}
}

func httpHook(ctx context.Context, action *corev1.HTTPGetAction, target hookTarget) error {
	request, err := hookRequest(ctx, action, target)
	if err != nil {
		return err
	}
	err = send(request)
	if err != nil && request.URL.Scheme == "https" && answeredPlainHTTP(err) {
		// Hooks were once always sent over plain HTTP, and servers rely on it. What
		// was meant for an encrypted connection is not told on this one.
		request.URL.Scheme = "http"
		request.Header.Del("Authorization")
		err = send(request)
	}
	if err != nil {
		return fmt.Errorf("request to %s: %w", request.URL.Redacted(), err)
	}
	return nil
}

func hookRequest(ctx context.Context, action *corev1.HTTPGetAction, target hookTarget) (*http.Request, error) {
	port, err := target.port(action.Port)
	if err != nil {
		return nil, err
	}
	host := cmp.Or(action.Host, target.podIP)
	if host == "" {
		return nil, errors.New("the pod has no address to send the request to")
	}
	where := &url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(port))}
	if strings.EqualFold(string(action.Scheme), string(corev1.URISchemeHTTPS)) {
		where.Scheme = "https"
	}
	where.Path, where.RawQuery, _ = strings.Cut("/"+strings.TrimPrefix(action.Path, "/"), "?")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make request to %s: %w", where.Redacted(), err)
	}
	request.Header.Set("User-Agent", hookUserAgent)
	request.Header.Set("Accept", "*/*")
	for _, header := range action.HTTPHeaders {
		if strings.EqualFold(header.Name, "Host") {
			request.Host = header.Value
		}
		request.Header.Set(header.Name, header.Value)
	}
	return request, nil
}

// port resolves a port among those of the container.
func (t hookTarget) port(port intstr.IntOrString) (int, error) {
	if port.Type == intstr.Int {
		return port.IntValue(), nil
	}
	for _, named := range t.ports {
		if named.Name == port.StrVal {
			return int(named.ContainerPort), nil
		}
	}
	number, err := strconv.Atoi(port.StrVal)
	if err != nil {
		return 0, fmt.Errorf("the container has no port named %q", port.StrVal)
	}
	return number, nil
}

// send makes a request on a connection of its own, past any proxy, to whoever
// answers there. The connection ends with it: by itself a transport goes on to connect
// and to shake hands when the request was given up.
func send(request *http.Request) error {
	ctx, cancel := context.WithCancel(request.Context())
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err == nil {
				context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
			}
			return conn, err
		},
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a container proves nothing to its node
	}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

func answeredPlainHTTP(err error) bool {
	var record tls.RecordHeaderError
	return errors.As(err, &record) && strings.HasPrefix(string(record.RecordHeader[:]), "HTTP/") ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}
