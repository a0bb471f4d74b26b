package critest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Config of a Runtime. The zero value works.
type Config struct {
	// Profile is the runtime to behave as. Default Newest.
	Profile Profile
	// Name and Version are what the Version call tells. Defaults "critest" and "1.0.0".
	Name, Version string
	// RuntimeHandlers are the handlers that RunPodSandbox knows besides "".
	// Default "runc".
	RuntimeHandlers []string
	// PodCIDR is the range of the pods' addresses. Default 10.88.0.0/16.
	PodCIDR netip.Prefix

	// Images are present from the start, and again after a Reboot that wipes.
	Images []Image
	// Registry is what PullImage finds; see Publish.
	Registry []RemoteImage
	// RegistryOnly makes a pull of anything that is not in the registry fail
	// with NotFound. By default everything can be pulled.
	RegistryOnly bool

	// Scripts say how containers run, Execs what commands in them answer. The
	// last one that matches decides; see AddScript and AddExec.
	Scripts []Script
	Execs   []ExecScript

	// WriteLogs writes log files in CRI format for containers of sandboxes
	// that have a log directory, and makes the folders that containers are to
	// mount and that are missing, as runtimes do. Default neither.
	WriteLogs bool
	// StreamingURL is the start of the URLs that Exec, Attach and PortForward
	// return. Default: these calls are Unimplemented.
	StreamingURL string
	// TraceLimit is how many calls the trace keeps, the newest ones; counts
	// go on. Default 10,000; negative keeps none.
	TraceLimit int
	// Logger is told of files that cannot be written, and of containers that
	// start and end at debug level. Nil logs nothing.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "critest"
	}
	if c.Version == "" {
		c.Version = "1.0.0"
	}
	if c.RuntimeHandlers == nil {
		c.RuntimeHandlers = []string{"runc"}
	}
	if !c.PodCIDR.IsValid() {
		c.PodCIDR = netip.MustParsePrefix("10.88.0.0/16")
	}
	if c.TraceLimit == 0 {
		c.TraceLimit = 10_000
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Runtime is a CRI runtime in memory. Its methods may be called from any
// goroutine and do not block unless they say so.
type Runtime struct {
	cfg    Config
	log    *zap.Logger
	front  *front
	faults faults
	events hub
	trace  trace

	mu         sync.Mutex // guards everything below; never held across a wait, a callback or a file
	sandboxes  map[string]*sandbox
	containers map[string]*container
	names      map[string]string // reserved names, to the ID that holds them
	addresses  addressPool
	images     imageStore
	scripts    []*Script
	execs      []*ExecScript
	turns      map[turnKey]int // how often a script has been used for a container
	conditions conditions
	imageFs    imageFs
	away       bool // the daemon is down
	idSeed     string
	ids        int
}

// New returns a runtime that has the images of cfg and nothing else. It starts
// nothing; the first Dial or Serve does. The caller closes it.
func New(cfg Config) *Runtime {
	cfg = cfg.withDefaults()
	r := &Runtime{
		cfg:        cfg,
		log:        cfg.Logger.Named("critest"),
		sandboxes:  map[string]*sandbox{},
		containers: map[string]*container{},
		names:      map[string]string{},
		addresses:  newAddressPool(cfg.PodCIDR),
		turns:      map[turnKey]int{},
		conditions: newConditions(),
		imageFs:    imageFs{mountpoint: "/var/lib/critest"},
		idSeed:     time.Now().String(),
	}
	r.trace.limit = cfg.TraceLimit
	r.images = newImageStore(cfg.Images, cfg.Registry)
	for _, script := range cfg.Scripts {
		r.AddScript(script)
	}
	for _, script := range cfg.Execs {
		r.AddExec(script)
	}
	r.front = newFront(r)
	return r
}

// TB is what Start and Client need of a *testing.T.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Start is New for a test: the runtime is closed when the test ends.
func Start(tb TB, cfg Config) *Runtime {
	tb.Helper()
	r := New(cfg)
	tb.Cleanup(r.Close)
	return r
}

// Close stops serving, ends every call under way and every container's clock.
// It blocks until all goroutines of the runtime have ended, and is idempotent.
func (r *Runtime) Close() {
	r.front.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.containers {
		c.halt()
	}
}

// unlock releases mu, then hands out the events that were noted under it.
func (r *Runtime) unlock() {
	r.mu.Unlock()
	r.events.flush()
}

// newID returns an ID as containerd's: 64 hex digits. In a bubble, where time
// starts the same in each run, the same calls get the same IDs.
func (r *Runtime) newID() string {
	r.ids++
	return hash(fmt.Sprintf("%s %d", r.idSeed, r.ids))
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// reserve takes a name for an ID. A name that is taken is the error with which
// containerd refuses to make the same thing twice.
func (r *Runtime) reserve(kind, name, id string) error {
	if holder, taken := r.names[name]; taken {
		return status.Errorf(r.cfg.Profile.nameTaken(), "failed to reserve %s name %q: name %q is reserved for %q", kind, name, name, holder)
	}
	r.names[name] = id
	return nil
}

// find returns the object of an ID, or of the start of one, as containerd does.
// The error is NotFound, or Unknown when the ID is none.
func find[T any](objects map[string]T, id string) (T, error) {
	object, ok := objects[id]
	if ok {
		return object, nil
	}
	if id == "" {
		return object, failed("prefix can't be empty")
	}
	matches := 0
	for known, candidate := range objects {
		if strings.HasPrefix(known, id) {
			object = candidate
			matches++
		}
	}
	var none T
	switch matches {
	case 0:
		return none, status.Error(codes.NotFound, "not found")
	case 1:
		return object, nil
	}
	return none, failed("ambiguous prefix %q", id)
}

// wrap puts words before an error and keeps its code.
func wrap(err error, format string, args ...any) error {
	return status.Errorf(status.Code(err), "%s: %s", fmt.Sprintf(format, args...), status.Convert(err).Message())
}

func isNotFound(err error) bool { return status.Code(err) == codes.NotFound }

// failed is an error without a code of its own, which containerd passes on as
// Unknown.
func failed(format string, args ...any) error {
	return status.Errorf(codes.Unknown, format, args...)
}
