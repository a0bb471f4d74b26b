//go:build linux && e2e

package imagepull_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// registry is a docker-registry on a loopback address, with the image that
// publish puts there.
type registry struct {
	address string
	private bool
}

// The user that a private registry knows, in htpasswd's words: bcrypt of "right".
const (
	user     = "robot"
	password = "right"
	htpasswd = user + ":$2b$04$gWq7dPIaRjbL3VCBTmRdiubAGJjL828oSpq6wIKNGVIuZOAGCMMfe\n"
)

// startRegistry runs the registry that .ci/install-containerd fetched until the
// test ends. Pulls from a private one need the user.
func startRegistry(t *testing.T, private bool) *registry {
	t.Helper()
	folder := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: '127.0.0.1:0'}\n", filepath.Join(folder, "data"))
	if private {
		users := filepath.Join(folder, "htpasswd")
		require.NoError(t, os.WriteFile(users, []byte(htpasswd), 0o600))
		config += fmt.Sprintf("auth: {htpasswd: {realm: edged, path: %q}}\n", users)
	}
	path := filepath.Join(folder, "config.yml")
	require.NoError(t, os.WriteFile(path, []byte(config), 0o600))

	listening := make(chan string, 1)
	ended := make(chan struct{})
	reader, writer := io.Pipe()
	go readAddress(reader, listening)
	cmd := exec.Command(registryBinary(t), "serve", path)
	cmd.Stdout, cmd.Stderr = writer, writer
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	go func() {
		runtime.LockOSThread() // the process ends with the thread that started it
		defer close(ended)
		_ = cmd.Run()
		_ = writer.Close()
	}()
	address := <-listening
	require.NotEmpty(t, address, "the registry has ended")
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	return &registry{address: address, private: private}
}

// registryBinary is in the same folder as what the package containerd runs.
func registryBinary(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("EDGED_CONTAINERD_DIR")
	if folder == "" {
		folder = "../../.ci/cache/containerd"
	}
	binary := filepath.Join(folder, "registry", "bin", "docker-registry")
	require.FileExists(t, binary, "run make e2e-deps")
	return binary
}

// readAddress finds in the log where the registry listens, and reads on so that
// it can write on. It sends nothing but the empty string when it has ended.
func readAddress(log io.Reader, listening chan<- string) {
	pattern := regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if found := pattern.FindStringSubmatch(lines.Text()); found != nil {
			listening <- found[1]
			_, _ = io.Copy(io.Discard, log)
			return
		}
	}
	listening <- ""
}

// publish puts an image of one small layer there, and returns its name.
func (r *registry) publish(t *testing.T, repository string) string {
	t.Helper()
	layer := tarOf(t, "etc/image", repository)
	config := asJSON(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Cmd": []string{"sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digestOf(layer)}},
	})
	r.upload(t, repository, config)
	r.upload(t, repository, layer)
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	manifest := asJSON(t, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": descriptor("application/vnd.oci.image.config.v1+json", config),
		"layers": []any{descriptor("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	r.request(t, http.MethodPut, "http://"+r.address+"/v2/"+repository+"/manifests/1", manifestType, manifest)
	return r.address + "/" + repository + ":1"
}

func (r *registry) upload(t *testing.T, repository string, blob []byte) {
	t.Helper()
	place := r.request(t, http.MethodPost, "http://"+r.address+"/v2/"+repository+"/blobs/uploads/", "", nil).Get("Location")
	r.request(t, http.MethodPut, place+"&digest="+digestOf(blob), "application/octet-stream", blob)
}

// request requires that the registry creates or accepts, and returns its headers.
func (r *registry) request(t *testing.T, method, url, contentType string, body []byte) http.Header {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", contentType)
	if r.private {
		request.SetBasicAuth(user, password)
	}
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	require.Contains(t, []int{http.StatusCreated, http.StatusAccepted}, response.StatusCode, string(text))
	return response.Header
}

func descriptor(mediaType string, blob []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "size": len(blob), "digest": digestOf(blob)}
}

func digestOf(blob []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(blob)) }

func asJSON(t *testing.T, value any) []byte {
	t.Helper()
	content, err := json.Marshal(value)
	require.NoError(t, err)
	return content
}

func tarOf(t *testing.T, name, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	require.NoError(t, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}))
	_, err := archive.Write([]byte(content))
	require.NoError(t, err)
	require.NoError(t, archive.Close())
	return out.Bytes()
}
