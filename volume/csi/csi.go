package csi

import (
	"context"
	"net"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/volume"
)

// Name of the plugin.
const Name = "kubernetes.io/csi"

// Secrets finds the secrets that volumes refer to. It may block until ctx ends.
type Secrets interface {
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Config configures New. The zero value serves persistent volumes that need no
// secrets.
type Config struct {
	// Root is the agent's directory, the same absolute path as the volume
	// manager's, /var/lib/edged by default.
	Root string
	// NodeName is noted with each volume.
	NodeName string
	// Driver says what a CSIDriver object would say about the driver. It must not
	// block. Nil means the zero DriverSpec, which has the defaults of Kubernetes.
	Driver func(name string) DriverSpec
	// Secrets finds the secrets that volumes refer to. Nil means that such volumes
	// cannot be mounted.
	Secrets Secrets
	// PublishContext returns what a controller has answered when it made the volume
	// available to this node: the attachmentMetadata of a VolumeAttachment. An error
	// means that it has not done so yet. It may block until ctx ends. Nil means that
	// no driver needs that.
	PublishContext func(ctx context.Context, volume *corev1.PersistentVolume) (map[string]string, error)
	// Timeout is the deadline of each call to a driver, 2 minutes by default.
	Timeout time.Duration
	// Period is the time between two looks at the registration folder, 10 seconds
	// by default. Where the folder can be watched, changes are seen at once.
	Period time.Duration
	// Dial connects to the socket of a driver. Default: a unix socket.
	Dial func(ctx context.Context, socket string) (net.Conn, error)
	// Changed is called after a driver has come or gone: volumes that waited for it
	// may be tried again. It must not block. Nil means nobody is told.
	Changed func()
	// Logger is told of drivers that come, go and fail to register. Nil means no
	// log.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.Root == "" {
		c.Root = "/var/lib/edged"
	}
	if c.Driver == nil {
		c.Driver = func(string) DriverSpec { return DriverSpec{} }
	}
	if c.PublishContext == nil {
		c.PublishContext = func(context.Context, *corev1.PersistentVolume) (map[string]string, error) { return nil, nil }
	}
	if c.Timeout <= 0 {
		c.Timeout = 2 * time.Minute
	}
	if c.Period <= 0 {
		c.Period = 10 * time.Second
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, socket string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}
	}
	if c.Changed == nil {
		c.Changed = func() {}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Plugin serves the volumes of CSI drivers. Its methods may be called concurrently,
// those that [volume.Plugin] has as that says.
type Plugin struct {
	cfg     Config
	log     *zap.Logger
	drivers drivers
	turns   turns
}

var _ volume.Plugin = (*Plugin)(nil)

// New returns a Plugin that knows no driver until it runs.
func New(cfg Config) *Plugin {
	cfg = cfg.withDefaults()
	return &Plugin{cfg: cfg, log: cfg.Logger.Named("csi"), turns: turns{taken: make(map[string]chan struct{})}}
}

// Name returns the constant Name.
func (p *Plugin) Name() string { return Name }

// Serves reports whether the volume is one of a CSI driver's, inline or behind a
// claim.
func (p *Plugin) Serves(v *volume.Volume) bool {
	if v.Persistent != nil {
		return v.Persistent.Spec.CSI != nil
	}
	return v.Spec != nil && v.Spec.CSI != nil
}

// Drivers returns the drivers that are registered, by name.
func (p *Plugin) Drivers() []Driver { return p.drivers.serving() }

// stagingDir is where a volume is staged, in the kubelet's layout: the handle may
// be any text, so its hash is the name.
func (p *Plugin) stagingDir(driver, handle string) string {
	return filepath.Join(p.cfg.Root, "plugins", Name, driver, hash(handle), "globalmount")
}
