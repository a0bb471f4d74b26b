package csi_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/edged-project/edged/volume/csi"
)

func TestDriverIsRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := 0
		s := newSite(t, t.TempDir(), newFake(), csi.Config{Changed: func() { changes++ }})
		drivers := s.Drivers()
		require.Len(t, drivers, 1)
		assert.Equal(t, "disk.example.org", drivers[0].Name)
		assert.Equal(t, socket, drivers[0].Endpoint, "where it has registered, as it names no other")
		assert.Equal(t, "n1", drivers[0].NodeID)
		assert.EqualValues(t, 5, drivers[0].MaxVolumes)
		assert.Equal(t, map[string]string{"zone": "z"}, drivers[0].Topology)
		assert.Equal(t, 1, changes)
		require.Len(t, s.driver.statuses(), 1)
		assert.True(t, s.driver.statuses()[0].PluginRegistered)
		assert.Empty(t, s.driver.statuses()[0].Error)

		drivers[0].Topology["zone"] = "mine"
		assert.Equal(t, "z", s.Drivers()[0].Topology["zone"], "what is returned is the caller's")
		require.NoError(t, s.Register(t.Context(), socket))
		assert.Len(t, s.Drivers(), 1, "once")
	})
}

func TestDriverThatIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*fake)
		want  string
		told  bool
	}{
		"is none of CSI": {func(f *fake) { f.info.Type = "DevicePlugin" }, `of type "DevicePlugin" is no CSI driver`, false},
		"no name":        {func(f *fake) { f.info.Name = "" }, `"" cannot be the name of a CSI driver`, true},
		"name is a path": {func(f *fake) { f.info.Name = "../../etc" }, `"../../etc" cannot be the name`, true},
		"long name":      {func(f *fake) { f.info.Name = strings.Repeat("x", 64) }, "cannot be the name", true},
		"name is dots":   {func(f *fake) { f.info.Name = ".." }, "cannot be the name", true},
		"old version":    {func(f *fake) { f.info.SupportedVersions = []string{"0.3.0", "10.0"} }, `["0.3.0" "10.0"] of CSI, none of them 1`, true},
		"no version":     {func(f *fake) { f.info.SupportedVersions = nil }, "none of them 1", true},
		"endpoint":       {func(f *fake) { f.info.Endpoint = "csi.sock" }, `endpoint "csi.sock" is not an absolute path`, true},
		"dead endpoint":  {func(f *fake) { f.info.Endpoint = "unix:///dead.sock" }, "nobody listens at /dead.sock", false},
		"no node ID":     {func(f *fake) { f.node = &csipb.NodeGetInfoResponse{} }, "no ID for this node", true},
		"no info":        {func(f *fake) { f.fail("GetInfo", codes.Internal) }, "GetInfo: rpc error: code = Internal", false},
		"no node info":   {func(f *fake) { f.fail("NodeGetInfo", codes.Internal) }, `driver "disk.example.org": NodeGetInfo: rpc error: code = Internal`, true},
		"not yet ready":  {func(f *fake) { f.fail("NodeGetInfo", codes.Unavailable) }, "code = Unavailable", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, t.TempDir(), newFake(), csi.Config{})
				s.restart()
				test.spoil(s.driver)
				s.driver.told = nil
				require.ErrorContains(t, s.Register(t.Context(), socket), test.want)
				assert.Empty(t, s.Drivers())
				if !test.told {
					assert.Empty(t, s.driver.statuses())
					return
				}
				require.Len(t, s.driver.statuses(), 1)
				assert.False(t, s.driver.statuses()[0].PluginRegistered)
				assert.Contains(t, s.driver.statuses()[0].Error, test.want)
			})
		})
	}
}

func TestDriverThatHangsAtItsRegistrationIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(), csi.Config{})
		s.restart()
		s.driver.hang("NodeGetInfo", true)
		start := time.Now()
		err := s.Register(t.Context(), socket)
		assert.Equal(t, codes.DeadlineExceeded, status.Code(err))
		assert.Equal(t, 2*time.Minute, time.Since(start))
		assert.Empty(t, s.Drivers())
	})
}

// While a driver is updated, the old and the new one run beside each other.
func TestUpdatedDriverServesAndTheOldOneTakesOverAgain(t *testing.T) {
	run := startRun(t, time.Second)
	old, updated := newFake(stages), newFake(stages)
	updated.node = &csipb.NodeGetInfoResponse{NodeId: "n2"}
	run.plug(t, old, "old-reg.sock")
	run.await(t, "n1")
	unplug := run.plug(t, updated, "new-reg.sock")
	run.await(t, "n2")
	s := &site{t: t, Plugin: run.plugin, cfg: csi.Config{Root: filepath.Dir(run.folder)}}
	require.NoError(t, s.Attach(t.Context(), s.claimed("a", "vol")))
	assert.Empty(t, old.took())
	assert.Len(t, updated.took(), 1)
	unplug()
	run.await(t, "n1")
	require.NoError(t, s.Attach(t.Context(), s.claimed("a", "vol")))
	assert.Len(t, old.took(), 1)
}

func TestDriversComeAndGoWithTheirSocket(t *testing.T) {
	run := startRun(t, time.Second)
	// None of these harms the driver.
	require.NoError(t, os.WriteFile(filepath.Join(run.folder, "file.sock"), nil, 0o600))
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(run.folder, "a-stale.sock"), Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	hanging := newFake()
	hanging.hang("GetInfo", true)
	run.plug(t, hanging, "b-hanging.sock")
	bad := newFake()
	bad.info.Name = "bad/name"
	run.plug(t, bad, "c-bad.sock")
	other := newFake()
	other.info.Type = "DevicePlugin"
	run.plug(t, other, "d-other.sock")
	hidden := newFake()
	hidden.node = &csipb.NodeGetInfoResponse{NodeId: "hidden"}
	run.plug(t, hidden, ".hidden.sock")

	unplug := run.plug(t, newFake(), "z-reg.sock")
	run.await(t, "n1")
	unplug()
	run.await(t, "")

	again := newFake()
	again.node = &csipb.NodeGetInfoResponse{NodeId: "n2"}
	run.plug(t, again, "z-reg.sock")
	run.await(t, "n2")

	replaced := newFake()
	replaced.node = &csipb.NodeGetInfoResponse{NodeId: "n3"}
	run.plug(t, replaced, ".new.sock")
	require.NoError(t, os.Rename(filepath.Join(run.folder, ".new.sock"), filepath.Join(run.folder, "z-reg.sock")))
	run.await(t, "n3")
	assert.Empty(t, hidden.statuses())
	assert.Empty(t, other.statuses())
}

// Where it cannot be watched, or was another one when the watch began, the folder is
// looked at each period.
func TestFolderThatIsMadeAnew(t *testing.T) {
	run := startRun(t, 10*time.Millisecond)
	run.plug(t, newFake(), "a-reg.sock")
	run.await(t, "n1")
	require.NoError(t, os.RemoveAll(run.folder))
	run.await(t, "")
	require.NoError(t, os.Mkdir(run.folder, 0o750))
	run.plug(t, newFake(), "a-reg.sock")
	run.await(t, "n1")
}

// running is a plugin that runs, on real sockets.
type running struct {
	plugin  *csi.Plugin
	folder  string
	changed chan struct{}
}

func startRun(t *testing.T, period time.Duration) *running {
	root, err := os.MkdirTemp("", "csi") //nolint:usetesting // short, as paths of sockets must be
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	changed := make(chan struct{}, 100)
	r := &running{folder: filepath.Join(root, "plugins_registry"), changed: changed}
	r.plugin = csi.New(csi.Config{Root: root, Period: period, Changed: func() { changed <- struct{}{} }})
	require.NoError(t, os.Mkdir(r.folder, 0o750))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.plugin.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return r
}

// plug serves a driver, whose socket is gone when the returned function was called.
func (r *running) plug(t *testing.T, f *fake, name string) func() {
	listener, err := net.Listen("unix", filepath.Join(r.folder, name))
	require.NoError(t, err)
	return f.serve(t, listener).Stop
}

// await waits until the node's ID by the only driver is the one given, or there is no
// driver.
func (r *running) await(t *testing.T, nodeID string) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		drivers := r.plugin.Drivers()
		if len(drivers) == 0 && nodeID == "" || len(drivers) == 1 && drivers[0].NodeID == nodeID {
			return
		}
		select {
		case <-r.changed:
		case <-limit:
			require.Failf(t, "never came", "wanted %q, have %v", nodeID, drivers)
		}
	}
}

func TestRunNeedsItsFolder(t *testing.T) {
	root := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(root, nil, 0o600))
	require.ErrorContains(t, csi.New(csi.Config{Root: root}).Run(t.Context()), "make the folder of plugins")
}

func TestCallsToADriverThatWasKilledFailAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 16)
		server := newFake(stages).serve(t, listener)
		s := &site{t: t, cfg: csi.Config{Root: t.TempDir(), Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return listener.DialContext(ctx)
		}}}
		s.restart()
		require.NoError(t, s.Register(t.Context(), socket))
		server.Stop()
		start := time.Now()
		err := s.Attach(t.Context(), s.claimed("a", "vol"))
		require.ErrorContains(t, err, `CSI driver "disk.example.org"`)
		assert.Equal(t, codes.Unavailable, status.Code(err))
		assert.Zero(t, time.Since(start))
	})
}
