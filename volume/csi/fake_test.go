package csi_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/edged-project/edged/volume"
	"github.com/edged-project/edged/volume/csi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	stages       = csipb.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME
	takesGroup   = csipb.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP
	singleWriter = csipb.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER
)

// fake is a driver with its registration. It mounts nothing.
type fake struct {
	csipb.UnimplementedNodeServer
	registerapi.UnimplementedRegistrationServer

	info *registerapi.PluginInfo
	node *csipb.NodeGetInfoResponse
	able []csipb.NodeServiceCapability_RPC_Type

	mu    sync.Mutex // guards what follows
	calls []string   // of the steps: the method and the volume's handle
	told  []*registerapi.RegistrationStatus
	stage *csipb.NodeStageVolumeRequest
	pub   *csipb.NodePublishVolumeRequest
	fails map[string]error         // by method
	hangs map[string]bool          // by method
	onDo  map[string]func(req any) // by method, while the call is at the driver
}

func newFake(able ...csipb.NodeServiceCapability_RPC_Type) *fake {
	return &fake{
		info:  &registerapi.PluginInfo{Type: registerapi.CSIPlugin, Name: "disk.example.org", SupportedVersions: []string{"1.0.0"}},
		node:  &csipb.NodeGetInfoResponse{NodeId: "n1", MaxVolumesPerNode: 5, AccessibleTopology: &csipb.Topology{Segments: map[string]string{"zone": "z"}}},
		able:  able,
		fails: map[string]error{}, hangs: map[string]bool{}, onDo: map[string]func(any){},
	}
}

// serve serves until the test has ended.
func (f *fake) serve(t testing.TB, listener net.Listener) *grpc.Server {
	server := grpc.NewServer(grpc.UnaryInterceptor(f.intercept))
	csipb.RegisterNodeServer(server, f)
	registerapi.RegisterRegistrationServer(server, f)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-ended
	})
	return server
}

func (f *fake) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	method := path.Base(info.FullMethod)
	f.mu.Lock()
	err, hang, do := f.fails[method], f.hangs[method], f.onDo[method]
	if volume, ok := req.(interface{ GetVolumeId() string }); ok {
		f.calls = append(f.calls, method+" "+volume.GetVolumeId())
	}
	f.mu.Unlock()
	if do != nil {
		do(req)
	}
	if hang {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if err != nil {
		return nil, err
	}
	return handle(ctx, req)
}

// took returns the calls since it was last called.
func (f *fake) took() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

func (f *fake) fail(method string, code codes.Code) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails[method] = nil
	if code != codes.OK {
		f.fails[method] = status.Error(code, "as the test wants")
	}
}

func (f *fake) statuses() []*registerapi.RegistrationStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.told)
}

func (f *fake) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return f.info, nil
}

func (f *fake) NotifyRegistrationStatus(_ context.Context, s *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, s)
	return &registerapi.RegistrationStatusResponse{}, nil
}

func (f *fake) NodeGetInfo(context.Context, *csipb.NodeGetInfoRequest) (*csipb.NodeGetInfoResponse, error) {
	return f.node, nil
}

func (f *fake) NodeGetCapabilities(context.Context, *csipb.NodeGetCapabilitiesRequest) (*csipb.NodeGetCapabilitiesResponse, error) {
	answer := &csipb.NodeGetCapabilitiesResponse{}
	for _, ability := range f.able {
		answer.Capabilities = append(answer.Capabilities, &csipb.NodeServiceCapability{
			Type: &csipb.NodeServiceCapability_Rpc{Rpc: &csipb.NodeServiceCapability_RPC{Type: ability}},
		})
	}
	return answer, nil
}

func (f *fake) NodeStageVolume(_ context.Context, r *csipb.NodeStageVolumeRequest) (*csipb.NodeStageVolumeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stage = r
	return &csipb.NodeStageVolumeResponse{}, nil
}

func (f *fake) NodePublishVolume(_ context.Context, r *csipb.NodePublishVolumeRequest) (*csipb.NodePublishVolumeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pub = r
	return &csipb.NodePublishVolumeResponse{}, nil
}

func (f *fake) NodeUnpublishVolume(context.Context, *csipb.NodeUnpublishVolumeRequest) (*csipb.NodeUnpublishVolumeResponse, error) {
	return &csipb.NodeUnpublishVolumeResponse{}, nil
}

func (f *fake) NodeUnstageVolume(context.Context, *csipb.NodeUnstageVolumeRequest) (*csipb.NodeUnstageVolumeResponse, error) {
	return &csipb.NodeUnstageVolumeResponse{}, nil
}

// site is a node with one driver, which is registered, and connections in memory.
type site struct {
	*csi.Plugin
	t      testing.TB
	cfg    csi.Config
	driver *fake
}

const socket = "/driver.sock"

func newSite(t testing.TB, root string, driver *fake, cfg csi.Config) *site {
	listener := bufconn.Listen(1 << 16)
	driver.serve(t, listener)
	cfg.Root, cfg.NodeName = root, "node"
	cfg.Dial = func(ctx context.Context, path string) (net.Conn, error) {
		if path != socket {
			return nil, fmt.Errorf("nobody listens at %s", path)
		}
		return listener.DialContext(ctx)
	}
	s := &site{t: t, cfg: cfg, driver: driver}
	s.restart()
	require.NoError(t, s.Register(t.Context(), socket))
	return s
}

// restart makes the plugin a new one, which knows no driver.
func (s *site) restart() { s.Plugin = csi.New(s.cfg) }

// dir is the directory of a pod's volume. Its parent exists.
func (s *site) dir(uid, name string) string {
	dir := filepath.Join(s.cfg.Root, "pods", uid, "volumes/kubernetes.io~csi", name)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(dir), 0o755))
	return dir
}

func podNamed(uid string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: types.UID(uid)},
		Spec:       corev1.PodSpec{ServiceAccountName: "seller"},
	}
}

// claimed is a pod's volume that is bound to the persistent volume with the handle.
func (s *site) claimed(uid, handle string) *volume.Volume {
	return &volume.Volume{
		Pod:  podNamed(uid),
		Spec: &corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}},
		Dir:  s.dir(uid, "pv-1"),
		Persistent: &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}, Spec: corev1.PersistentVolumeSpec{
			AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk.example.org", VolumeHandle: handle}},
		}},
	}
}

// inlined is a volume that the pod's spec describes.
func (s *site) inlined(uid string) *volume.Volume {
	return &volume.Volume{
		Pod:  podNamed(uid),
		Spec: &corev1.Volume{Name: "scratch", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "disk.example.org"}}},
		Dir:  s.dir(uid, "scratch"),
	}
}

func (s *site) mount(v *volume.Volume) error {
	if err := s.Attach(s.t.Context(), v); err != nil {
		return err
	}
	_, err := s.Mount(s.t.Context(), v)
	return err
}

func (s *site) unmount(v *volume.Volume) error {
	if err := s.Unmount(s.t.Context(), v.Pod.UID, v.Dir); err != nil {
		return err
	}
	return s.Detach(s.t.Context(), v.Pod.UID, v.Dir)
}

// data returns what is noted on disk of a pod's volume.
func data(t testing.TB, v *volume.Volume) string {
	content, err := os.ReadFile(filepath.Join(v.Dir, "vol_data.json"))
	require.NoError(t, err)
	return string(content)
}

// remains returns the files and directories of volumes, pods' and staged.
func (s *site) remains() []string {
	var found []string
	for _, below := range []string{"pods", "plugins/kubernetes.io/csi/disk.example.org"} {
		root := filepath.Join(s.cfg.Root, below)
		_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && path != root && filepath.Base(filepath.Dir(path)) != "pods" {
				rel, _ := filepath.Rel(root, path)
				if rel = filepath.ToSlash(rel); filepath.Base(rel) != "volumes" && filepath.Base(rel) != "kubernetes.io~csi" {
					found = append(found, rel)
				}
			}
			return nil
		})
	}
	return found
}

func ptr[T any](v T) *T { return &v }

func ephemeral(string) csi.DriverSpec {
	return csi.DriverSpec{VolumeLifecycleModes: []csi.LifecycleMode{csi.Persistent, csi.Ephemeral}}
}

// sum is the SHA-256 of a text in hexadecimal.
func sum(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

// hang makes a method hang until its caller gives up, or not any more.
func (f *fake) hang(method string, hangs bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hangs[method] = hangs
}

// on has do called while a call is at the driver.
func (f *fake) on(method string, do func(req any)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onDo[method] = do
}
