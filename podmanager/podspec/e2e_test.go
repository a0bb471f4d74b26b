//go:build linux && e2e

package podspec_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
	"github.com/edged-project/edged/podmanager/imagepull"
	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What the process in a container finds is what the pod says.
func TestPodOnContainerd(t *testing.T) {
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			daemon := containerd.Start(t, version)
			client, err := cri.Dial(t.Context(), daemon.Endpoint(), cri.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close(context.Background()) })
			out := run(t, client, completePod(t, looksAround))
			for _, line := range []string{
				"hostname=gw",
				"uid=1000 gid=2000 groups=2000,3000",
				"dir=/bin",
				"args=hello-web $(NOPE)",
				"NoNewPrivs:	1",
				"oom_score_adj=938", // 64 MiB of 1 GiB
				"root is read-only",
				"data=content",
				"nameserver 192.0.2.53",
				"search own.example",
				"options ndots:2",
				"10.0.0.9	gw.sub.shop.svc.cluster.local	gw",
				"keepalive=61",
				"COLOR=red",
				"LOGIN_USER=me",
				"CHOICE=none",
				"multi=two lines",
				"SHOP_PORT_80_TCP_ADDR=10.96.0.7",
				"shop=10.96.0.7:80",
			} {
				assert.Contains(t, out, line)
			}
		})
	}
}

// looksAround makes the container print what it finds.
func looksAround(pod *corev1.Pod) {
	s := &pod.Spec
	s.Hostname, s.Subdomain, s.DNSPolicy = "gw", "sub", corev1.DNSNone
	s.DNSConfig = &corev1.PodDNSConfig{
		Nameservers: []string{"192.0.2.53"}, Searches: []string{"own.example"},
		Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: ptr("2")}},
	}
	s.SecurityContext = &corev1.PodSecurityContext{
		RunAsUser: ptr[int64](1000), RunAsGroup: ptr[int64](2000), RunAsNonRoot: ptr(true), SupplementalGroups: []int64{3000},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		Sysctls:        []corev1.Sysctl{{Name: "net/ipv4/tcp_keepalive_time", Value: "61"}},
	}
	s.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}}}
	s.Containers[0] = corev1.Container{
		Name: "app", Image: containerd.Busybox, WorkingDir: "/bin", ImagePullPolicy: corev1.PullIfNotPresent,
		EnvFrom: []corev1.EnvFromSource{allOfConfigMap("", "settings", false), allOfSecret("LOGIN_", "login", false), allOfSecret("", "none", true)},
		Env: []corev1.EnvVar{
			{Name: "WHO", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
			{Name: "MULTI", ValueFrom: ptr(secretKey("login", "MULTI", false))},
			{Name: "ABSENT", ValueFrom: ptr(secretKey("login", "ABSENT", true))},
			{Name: "SHOP", Value: "$(SHOP_SERVICE_HOST):$(SHOP_SERVICE_PORT)"},
		},
		Command: []string{"sh", "-c", `
			echo hostname=$$(hostname); id; echo dir=$$(pwd); echo "args=$0 $1"; grep NoNewPrivs /proc/self/status
			env; echo CHOICE=$${ABSENT-none}; echo multi=$$(echo $MULTI); echo shop=$SHOP
			echo oom_score_adj=$$(cat /proc/self/oom_score_adj)
			touch /new 2>/dev/null || echo root is read-only
			echo data=$$(cat /data/file); cat /etc/resolv.conf /etc/hosts
			echo keepalive=$$(cat /proc/sys/net/ipv4/tcp_keepalive_time); echo bye >/dev/termination-log`},
		Args:      []string{"hello-$(WHO)", "$(NOPE)"},
		Resources: corev1.ResourceRequirements{Requests: list("memory", "64Mi"), Limits: list("cpu", "500m")},
		SecurityContext: &corev1.SecurityContext{
			ReadOnlyRootFilesystem: ptr(true), AllowPrivilegeEscalation: ptr(false),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data", ReadOnly: true}},
	}
}

// run runs the only container of the pod to its end and returns its output.
func run(t *testing.T, client *cri.Client, pod *corev1.Pod) string {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), mode))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	volume := filepath.Join(dir, "volume")
	require.NoError(t, os.Mkdir(volume, 0o755))
	write("volume/file", "content", 0o644)
	podIPs := []string{"10.0.0.9"}

	sandbox, err := podspec.Sandbox(pod, podspec.SandboxOptions{LogRoot: dir})
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(sandbox.LogDirectory, "app"), 0o755))
	sandboxID, err := client.RunPodSandbox(ctx, sandbox, "")
	require.NoError(t, err)
	image, release, err := imagepull.New(client, imagepull.Config{}).Ensure(ctx, pod, &pod.Spec.Containers[0], sandbox)
	require.NoError(t, err)
	defer release()
	message := write("message", "", 0o666)
	config, err := podspec.Container(pod, &pod.Spec.Containers[0], podspec.ContainerOptions{
		ConfigMaps: map[string]*corev1.ConfigMap{"settings": {Data: map[string]string{"COLOR": "red"}}},
		Secrets:    map[string]*corev1.Secret{"login": {Data: map[string][]byte{"USER": []byte("me"), "MULTI": []byte("two\nlines")}}},
		Services:   []*corev1.Service{service("shop", "shop", "10.96.0.7", corev1.ServicePort{Port: 80})},
		Image:      image, PodIPs: podIPs, Mounts: map[string]string{"data": volume}, MemoryCapacity: 1 << 30,
		HostsFile: write("hosts", string(podspec.HostsFile(pod, podIPs, "cluster.local", nil)), 0o644), TermMessageFile: message,
	})
	require.NoError(t, err)
	id, err := client.CreateContainer(ctx, sandboxID, config, sandbox)
	require.NoError(t, err)
	require.NoError(t, client.StartContainer(ctx, id))
	require.Eventually(t, func() bool {
		status, err := client.ContainerStatus(ctx, id, false)
		return err == nil && status.GetStatus().GetState() == runtimeapi.ContainerState_CONTAINER_EXITED
	}, time.Minute, 50*time.Millisecond)
	require.NoError(t, client.StopPodSandbox(ctx, sandboxID))
	require.NoError(t, client.RemovePodSandbox(ctx, sandboxID))

	words, err := os.ReadFile(message)
	require.NoError(t, err)
	assert.Equal(t, "bye\n", string(words))
	log, err := os.ReadFile(filepath.Join(sandbox.LogDirectory, config.LogPath))
	require.NoError(t, err)
	var out strings.Builder
	for line := range strings.Lines(string(log)) { // time, stream, tag, text
		if parts := strings.SplitN(line, " ", 4); len(parts) == 4 {
			out.WriteString(parts[3])
		}
	}
	return out.String()
}
