//go:build linux && e2e

package probe_test

import (
	"context"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
	"github.com/edged-project/edged/probe"
)

// server is a program for a container: HTTP on 8080, HTTPS with a certificate of its own
// on 8443, gRPC health on 9090 with the service "db" serving and "cache" not.
const server = `package main

import (
	"net"
	"net/http"
	"net/http/httptest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func listen(address string) net.Listener {
	l, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	return l
}

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.Host + " " + r.Header.Get("X-Token") + " " + r.UserAgent()))
	})
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://elsewhere.test/", http.StatusFound) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})
	secure := httptest.NewUnstartedServer(mux)
	secure.Listener = listen(":8443")
	secure.StartTLS()
	go func() { panic(http.Serve(listen(":8080"), mux)) }()
	states := health.NewServer()
	states.SetServingStatus("db", grpc_health_v1.HealthCheckResponse_SERVING)
	states.SetServingStatus("cache", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, states)
	panic(s.Serve(listen(":9090")))
}
`

// buildServer builds the server as a static binary, with the dependencies of this module.
func buildServer(t *testing.T) string {
	source, binary := filepath.Join(t.TempDir(), "main.go"), filepath.Join(t.TempDir(), "server")
	require.NoError(t, os.WriteFile(source, []byte(server), 0o644))
	build := osexec.Command("go", "build", "-o", binary, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

func TestChecksOnContainerd(t *testing.T) {
	binary := buildServer(t)
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) {
			daemon := containerd.Start(t, version)
			client, err := cri.Dial(t.Context(), daemon.Endpoint(), cri.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close(context.Background()) })
			target := runServer(t, client, binary, runtimeapi.NamespaceMode_POD)
			checkAll(t, client, target)
			t.Run("manager", func(t *testing.T) { manage(t, client, target) })
			t.Run("host network", func(t *testing.T) {
				node := runServer(t, client, binary, runtimeapi.NamespaceMode_NODE)
				assert.Empty(t, node.PodIP)
				node.PodIP = "127.0.0.1"
				requireServes(t, client, node)
			})
		})
	}
}

// runServer runs the server in a pod and returns it as a target.
func runServer(t *testing.T, client *cri.Client, binary string, network runtimeapi.NamespaceMode) probe.Target {
	options := &runtimeapi.NamespaceOption{Network: network, Pid: runtimeapi.NamespaceMode_CONTAINER}
	config := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: "probed-" + strings.ToLower(network.String()), Namespace: "e2e", Uid: network.String()},
		LogDirectory: t.TempDir(),
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: options},
		},
	}
	sandbox, err := client.RunPodSandbox(t.Context(), config, "")
	require.NoError(t, err)
	id, err := client.CreateContainer(t.Context(), sandbox, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "app"},
		Image:    &runtimeapi.ImageSpec{Image: containerd.Busybox},
		Command:  []string{"/server"},
		Mounts:   []*runtimeapi.Mount{{HostPath: binary, ContainerPath: "/server", Readonly: true}},
		Linux: &runtimeapi.LinuxContainerConfig{
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{NamespaceOptions: options},
		},
	}, config)
	require.NoError(t, err)
	require.NoError(t, client.StartContainer(t.Context(), id))
	status, err := client.PodSandboxStatus(t.Context(), sandbox, false)
	require.NoError(t, err)
	return probe.Target{
		ContainerID: id, PodIP: status.GetStatus().GetNetwork().GetIp(),
		Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}, {Name: "rpc", ContainerPort: 9090}},
	}
}

// requireServes waits for the server, whose last port is that for gRPC.
func requireServes(t *testing.T, client *cri.Client, target probe.Target) {
	checker := probe.NewChecker(client, probe.CheckerConfig{})
	require.Eventually(t, func() bool {
		found, err := checker.Check(t.Context(), tcp(corev1.TCPSocketAction{Port: intstr.FromString("rpc")}), target)
		return err == nil && found.Result == probe.Success
	}, 20*time.Second, 50*time.Millisecond)
}

func askGRPC(service string) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 9090, Service: &service}}}
}

func checkAll(t *testing.T, client *cri.Client, target probe.Target) {
	requireServes(t, client, target)
	checker := probe.NewChecker(client, probe.CheckerConfig{})
	secure := corev1.HTTPGetAction{Port: intstr.FromInt32(8443), Path: "/ok", Scheme: corev1.URISchemeHTTPS}
	headers := []corev1.HTTPHeader{{Name: "Host", Value: "shop.test"}, {Name: "X-Token", Value: "abc"}}
	for name, test := range map[string]struct {
		probe  *corev1.Probe
		result probe.Result
		output string
	}{
		"command succeeds":     {exec("echo", "fine"), probe.Success, "fine"},
		"command fails":        {exec("sh", "-c", "echo broken >&2; exit 3"), probe.Failure, "broken"},
		"command hangs":        {exec("sleep", "60"), probe.Failure, "timed out after 1s"},
		"command writes a lot": {exec("sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"), probe.Success, strings.Repeat("x", probe.MaxOutput)},
		"HTTP with headers":    {get(corev1.HTTPGetAction{Port: web, Path: "/ok", HTTPHeaders: headers}), probe.Success, "shop.test abc kube-probe/"},
		"HTTP redirect":        {get(corev1.HTTPGetAction{Port: web, Path: "/here"}), probe.Success, "kube-probe/"},
		"HTTP redirect away":   {get(corev1.HTTPGetAction{Port: web, Path: "/away"}), probe.Warning, "statuscode: 302"},
		"HTTP missing":         {get(corev1.HTTPGetAction{Port: web, Path: "/missing"}), probe.Failure, "statuscode: 404"},
		"HTTP endless":         {get(corev1.HTTPGetAction{Port: web, Path: "/endless"}), probe.Success, ""},
		"HTTPS":                {get(secure), probe.Success, "kube-probe/"},
		"TCP by name":          {tcp(corev1.TCPSocketAction{Port: web}), probe.Success, ""},
		"TCP closed":           {tcp(corev1.TCPSocketAction{Port: intstr.FromInt32(81)}), probe.Failure, "refused"},
		"gRPC":                 {askGRPC(""), probe.Success, "service healthy"},
		"gRPC service":         {askGRPC("db"), probe.Success, "service healthy"},
		"gRPC not serving":     {askGRPC("cache"), probe.Failure, "NOT_SERVING"},
		"gRPC unknown service": {askGRPC("none"), probe.Failure, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := checker.Check(t.Context(), test.probe, target)
			require.NoError(t, err)
			assert.Equal(t, test.result, found.Result, found.Output)
			assert.Contains(t, found.Output, test.output)
			assert.LessOrEqual(t, len(found.Output), probe.MaxOutput)
		})
	}
	t.Run("command writes for ever", func(t *testing.T) {
		found, err := checker.Check(t.Context(), exec("yes"), target)
		assert.NotEqual(t, probe.Success, found.Result)
		assert.LessOrEqual(t, len(found.Output), probe.MaxOutput)
		t.Logf("result %v, %d bytes, error %v", found.Result, len(found.Output), err)
	})
}

// manage has a Manager find out that the container lives and is ready, and then that it
// does not live.
func manage(t *testing.T, client *cri.Client, target probe.Target) {
	m := probe.New(client, probe.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-done)
	}()
	alive, ready, begun := exec("test", "!", "-e", "/dead"), askGRPC("db"), exec("true")
	for _, spec := range []*corev1.Probe{alive, ready, begun} {
		spec.PeriodSeconds, spec.FailureThreshold = 1, 2
	}
	pod := podWith(alive, ready, begun)
	status := runs(target.ContainerID)
	status.PodIP = target.PodIP
	m.Set(pod, status)
	reached := func(want probe.Health) func() bool {
		return func() bool {
			health, known := m.Health(pod.UID, target.ContainerID)
			return known && health == want
		}
	}
	require.Eventually(t, reached(probe.Health{Started: true, Ready: true}), 30*time.Second, 20*time.Millisecond)
	_, _, err := client.ExecSync(t.Context(), target.ContainerID, []string{"touch", "/dead"}, 10*time.Second)
	require.NoError(t, err)
	require.Eventually(t, reached(probe.Health{Started: true, Ready: true, Failed: probe.Liveness}), 30*time.Second, 20*time.Millisecond)
}
