package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const (
	// firstRetry is short: a socket is seen before its server listens.
	firstRetry = 100 * time.Millisecond
	lastRetry  = time.Minute
)

// errOtherType is the error for a plugin that is none of CSI.
var errOtherType = errors.New("is no CSI driver")

// Run registers the drivers that have a socket in <Root>/plugins_registry, which it
// makes, by the kubelet's plugin registration v1, and forgets them when their socket
// is gone. A driver that fails is logged and tried again with a back-off of up to a
// minute. It blocks until ctx ends and returns nil, or an error when there can be
// no such folder.
func (p *Plugin) Run(ctx context.Context) error {
	dir := filepath.Join(p.cfg.Root, "plugins_registry")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make the folder of plugins: %w", err)
	}
	var events <-chan fsnotify.Event
	var lost <-chan error
	follow := func() {}
	if watcher, err := fsnotify.NewWatcher(); err != nil {
		p.log.Warn("folder is only rescanned, it cannot be watched", zap.String("folder", dir), zap.Error(err))
	} else {
		defer watcher.Close()
		events, lost = watcher.Events, watcher.Errors
		follow = func() { _ = watcher.Add(dir) } // it may be another folder by now
	}
	r := registrants{plugin: p, running: make(map[string]registrant)}
	defer r.stopAll()
	for {
		follow()
		found, err := sockets(dir)
		if err != nil {
			p.log.Warn("folder of plugins cannot be read", zap.String("folder", dir), zap.Error(err))
		} else {
			r.follow(ctx, found)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-events:
		case err := <-lost:
			p.log.Debug("events of the folder were lost, it is read", zap.Error(err))
		case <-time.After(p.cfg.Period):
		}
	}
}

// sockets returns those of a folder by path. Hidden ones are not ready yet.
func sockets(dir string) (map[string]fs.FileInfo, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	found := make(map[string]fs.FileInfo)
	for _, entry := range entries {
		if entry.Type()&fs.ModeSocket == 0 || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		if info, err := entry.Info(); err == nil { // else it is gone again
			found[filepath.Join(dir, entry.Name())] = info
		}
	}
	return found, nil
}

// registrants are the sockets that Run knows. One goroutine has them.
type registrants struct {
	plugin  *Plugin
	running map[string]registrant
}

// registrant is a socket with the goroutine that registers its driver.
type registrant struct {
	info   fs.FileInfo
	cancel context.CancelFunc
	done   chan struct{}
}

// follow makes the sockets that are known the ones that were found. A socket that
// was made anew is another one: its driver may be as well.
func (r *registrants) follow(ctx context.Context, found map[string]fs.FileInfo) {
	for socket, known := range r.running {
		info, there := found[socket]
		if there && os.SameFile(info, known.info) && info.ModTime().Equal(known.info.ModTime()) {
			continue
		}
		r.stop(socket)
		r.plugin.unregister(socket)
	}
	for socket, info := range found {
		if _, known := r.running[socket]; known {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		r.running[socket] = registrant{info: info, cancel: cancel, done: done}
		go func() {
			defer close(done)
			r.plugin.keepRegistering(ctx, socket)
		}()
	}
}

func (r *registrants) stop(socket string) {
	r.running[socket].cancel()
	<-r.running[socket].done
	delete(r.running, socket)
}

func (r *registrants) stopAll() {
	for socket := range r.running {
		r.stop(socket)
	}
}

// keepRegistering tries until the driver is registered. The log gets an error once,
// not each time.
func (p *Plugin) keepRegistering(ctx context.Context, socket string) {
	last := ""
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := p.Register(ctx, socket)
		if err == nil || ctx.Err() != nil {
			return
		}
		if errors.Is(err, errOtherType) {
			p.log.Debug("plugin left to others", zap.String("socket", socket), zap.Error(err))
			return
		}
		if err.Error() != last && wait > firstRetry {
			last = err.Error()
			p.log.Warn("driver cannot be registered, it is tried again", zap.String("socket", socket), zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait + rand.N(wait/4)):
		}
	}
}

// Register registers the driver behind a registration socket, as Run does for those
// in its folder, and tells it the outcome. It blocks for a few calls and is
// idempotent. A driver may serve volumes even though it could not be told so, which
// is an error as well.
func (p *Plugin) Register(ctx context.Context, socket string) error {
	conn, err := p.connect(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	registrar := registerapi.NewRegistrationClient(conn)
	info, err := registrar.GetInfo(ctx, &registerapi.InfoRequest{})
	if err != nil {
		return fmt.Errorf("plugin at %s: %w", socket, err)
	}
	if info.GetType() != registerapi.CSIPlugin {
		return fmt.Errorf("plugin %q of type %q %w", info.GetName(), info.GetType(), errOtherType)
	}
	driver, err := p.examine(ctx, socket, info)
	if err != nil {
		err = fmt.Errorf("CSI driver %q: %w", info.GetName(), err)
		if !uncertain(err) {
			_, told := registrar.NotifyRegistrationStatus(ctx, &registerapi.RegistrationStatus{Error: err.Error()})
			err = errors.Join(err, told)
		}
		return err
	}
	p.drivers.add(driver)
	p.log.Info("driver registered", zap.String("driver", driver.Name), zap.String("endpoint", driver.Endpoint), zap.String("node ID", driver.NodeID))
	p.cfg.Changed()
	if _, err := registrar.NotifyRegistrationStatus(ctx, &registerapi.RegistrationStatus{PluginRegistered: true}); err != nil {
		return fmt.Errorf("CSI driver %q: %w", driver.Name, err)
	}
	return nil
}

// examine checks what a driver says of itself and asks it about the node.
func (p *Plugin) examine(ctx context.Context, socket string, info *registerapi.PluginInfo) (Driver, error) {
	if err := checkDriver(info.GetName()); err != nil {
		return Driver{}, err
	}
	if !slices.ContainsFunc(info.GetSupportedVersions(), isVersion1) {
		return Driver{}, fmt.Errorf("it supports the versions %q of CSI, none of them 1", info.GetSupportedVersions())
	}
	endpoint := strings.TrimPrefix(info.GetEndpoint(), "unix://")
	if endpoint == "" {
		endpoint = socket
	}
	if !filepath.IsAbs(endpoint) {
		return Driver{}, fmt.Errorf("its endpoint %q is not an absolute path", info.GetEndpoint())
	}
	conn, err := p.connect(endpoint)
	if err != nil {
		return Driver{}, err
	}
	defer conn.Close()
	node, err := csipb.NewNodeClient(conn).NodeGetInfo(ctx, &csipb.NodeGetInfoRequest{})
	if err != nil {
		return Driver{}, err
	}
	if node.GetNodeId() == "" {
		return Driver{}, errors.New("it has no ID for this node")
	}
	return Driver{
		Name: info.GetName(), Endpoint: endpoint, NodeID: node.GetNodeId(), MaxVolumes: max(node.GetMaxVolumesPerNode(), 0),
		Topology: node.GetAccessibleTopology().GetSegments(), socket: socket,
	}, nil
}

// isVersion1 takes 1, 1.0.0, v1.9 and the like: those of one major version agree.
func isVersion1(version string) bool {
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	return major == "1"
}

func (p *Plugin) unregister(socket string) {
	if name, found := p.drivers.remove(socket); found {
		p.log.Info("driver gone", zap.String("driver", name))
		p.cfg.Changed()
	}
}
