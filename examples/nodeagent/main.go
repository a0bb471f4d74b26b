// Command nodeagent runs the pods of a folder on any CRI runtime: every room of
// edged, wired together (agent.go).
//
//	nodeagent -manifests /etc/edged/manifests                    # the runtime is found by its socket
//	nodeagent -runtime memory -manifests examples/manifests      # no runtime at hand
//	nodeagent pods                                               # what a running agent runs
//	nodeagent events                                             # what happened to it
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/edged-project/edged/gc/eviction"
)

// memory is the value of -runtime for the runtime in memory.
const memory = "memory"

// options are what the command line says.
type options struct {
	runtime       string
	imageService  string
	manifests     string
	root          string
	storeKey      string
	podLogs       string
	containerLogs string
	nodeName      string
	dockerConfig  string
	providers     string
	providerBin   string
	clusterDNS    string
	clusterDomain string
	cgroupRoot    string
	evictionHard  string
	memoryCgroup  string
	imagesHigh    int
	imagesLow     int
	holdImages    bool
	maxLogSize    int64
	maxLogFiles   int
	maxCrashDelay time.Duration
	handlers      handlers
	logLevel      string
}

// defaultEviction is the kubelet's on Linux.
const defaultEviction = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "nodeagent:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for what is being started
	if len(args) > 0 && (args[0] == "pods" || args[0] == "events") {
		return show(ctx, args[0], args[1:], os.Stdout)
	}
	opts, err := parse(args)
	if err != nil {
		return err
	}
	logger, err := newLogger(opts.logLevel)
	if err != nil {
		return err
	}
	defer func() { _ = logger.Sync() }()
	if opts.runtime == memory && opts.root == "" {
		return inTemporaryRoot(ctx, opts, logger)
	}
	return runAgent(ctx, opts.withPaths(), logger)
}

func parse(args []string) (options, error) {
	var opts options
	flags := flag.NewFlagSet("nodeagent", flag.ExitOnError)
	flags.StringVar(&opts.runtime, "runtime", "", "CRI `endpoint` (unix:///path), or \"memory\"; default: the first well-known socket that answers")
	flags.StringVar(&opts.imageService, "image-runtime", "", "CRI `endpoint` of the image service; default: the runtime's")
	flags.StringVar(&opts.manifests, "manifests", "/etc/edged/manifests", "`folder` of pod manifests")
	flags.StringVar(&opts.root, "root", "", "`folder` of the agent's own files (default /var/lib/edged, or a temporary one with -runtime memory)")
	flags.StringVar(&opts.storeKey, "store-key", "", "`file` with the key, of 32 bytes or more, that secrets are sealed with in the store; default: they lie there as they are")
	flags.StringVar(&opts.podLogs, "pod-logs", "", "`folder` of the pods' logs (default /var/log/pods, or below the root with -runtime memory)")
	flags.StringVar(&opts.containerLogs, "container-logs", "", "`folder` of the links to containers' logs (default /var/log/containers, or below the root with -runtime memory)")
	flags.StringVar(&opts.dockerConfig, "docker-config", "/var/lib/kubelet/config.json", "`file` with the node's credentials for registries; it may be missing")
	flags.StringVar(&opts.providers, "image-credential-provider-config", "", "`file` that configures plugins which give credentials for registries; default: none")
	flags.StringVar(&opts.providerBin, "image-credential-provider-bin-dir", "", "`folder` of these plugins")
	flags.StringVar(&opts.clusterDNS, "cluster-dns", "", "`addresses` of the cluster's DNS servers, with commas; default: pods use the node's")
	flags.StringVar(&opts.clusterDomain, "cluster-domain", "cluster.local", "DNS `domain` of the cluster")
	flags.Var(&opts.handlers, "runtime-handlers", "the runtime's handlers for runtime classes: `class=handler,...`, such as gvisor=runsc")
	flags.StringVar(&opts.cgroupRoot, "cgroup-root", "/", "`cgroup` in which those of pods are made; \"\" leaves them to the runtime, as -runtime memory does")
	flags.StringVar(&opts.nodeName, "node-name", "", "`name` of this node; default: the host name")
	flags.StringVar(&opts.evictionHard, "eviction-hard", defaultEviction, "how much has to be left, or pods are evicted: `signal<value,...`, as in the kubelet; empty for no eviction")
	flags.StringVar(&opts.memoryCgroup, "memory-cgroup", "", "`folder` of the cgroup whose memory the pods share; default: the node's")
	flags.IntVar(&opts.imagesHigh, "image-gc-high-threshold", 85, "`percent` of the images' disk in use from which on unused images are removed; 100 for never")
	flags.IntVar(&opts.imagesLow, "image-gc-low-threshold", 80, "`percent` of the images' disk in use down to which unused images are removed")
	flags.BoolVar(&opts.holdImages, "image-gc-hold-offline", false, "keep every image while the upstream is out of reach, not only those that pods name")
	flags.Int64Var(&opts.maxLogSize, "container-log-max-size", 10<<20, "`bytes` from which on a container's log is rotated; negative for never")
	flags.IntVar(&opts.maxLogFiles, "container-log-max-files", 5, "how many `files` a container's log has at most")
	flags.DurationVar(&opts.maxCrashDelay, "max-crash-delay", 5*time.Minute, "the longest `pause` before a container that crashes is started again")
	flags.StringVar(&opts.logLevel, "log-level", "info", "debug, info, warn or error")
	_ = flags.Parse(args) // ExitOnError
	if flags.NArg() > 0 {
		return opts, fmt.Errorf("unknown command %q: \"pods\" or \"events\" come before the flags; or try -help", flags.Arg(0))
	}
	if opts.nodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return opts, fmt.Errorf("find the host name (give -node-name): %w", err)
		}
		opts.nodeName = strings.ToLower(host)
	}
	if err := opts.check(); err != nil {
		return opts, err
	}
	return opts, opts.makeAbsolute()
}

// check says which flag cannot be meant. The rooms would take the default, or fail
// without a word of flags.
func (o *options) check() error {
	if o.manifests == "" {
		return errors.New("-manifests is empty: give the folder of the pods' manifests")
	}
	if bad := validation.IsDNS1123Subdomain(o.nodeName); len(bad) > 0 {
		return fmt.Errorf("-node-name %q: %s", o.nodeName, bad[0])
	}
	for _, server := range o.dnsServers() {
		if net.ParseIP(server) == nil {
			return fmt.Errorf("-cluster-dns: %q is not an IP address", server)
		}
	}
	if _, err := eviction.ParseThresholds(o.evictionHard); err != nil {
		return fmt.Errorf("-eviction-hard: %w", err)
	}
	switch {
	case o.imagesLow < 1 || o.imagesLow > o.imagesHigh || o.imagesHigh > 100:
		return fmt.Errorf("-image-gc-high-threshold %d, -image-gc-low-threshold %d: want percents, the low one not above the high one", o.imagesHigh, o.imagesLow)
	case o.maxLogSize == 0:
		return errors.New("-container-log-max-size 0: want bytes, negative for never")
	case o.maxLogFiles < 2:
		return fmt.Errorf("-container-log-max-files %d: want 2 at least", o.maxLogFiles)
	case o.maxCrashDelay <= 0:
		return fmt.Errorf("-max-crash-delay %s: want a pause", o.maxCrashDelay)
	}
	return nil
}

// dnsServers are the cluster's, none by default.
func (o *options) dnsServers() []string {
	if o.clusterDNS == "" {
		return nil
	}
	return strings.Split(o.clusterDNS, ",")
}

// makeAbsolute makes the paths that were given good for the runtime too, which
// has another working directory.
func (o *options) makeAbsolute() error {
	for _, path := range []*string{&o.manifests, &o.root, &o.storeKey, &o.podLogs, &o.containerLogs} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("find folder %q: %w", *path, err)
		}
		*path = absolute
	}
	return nil
}

// inTemporaryRoot runs an agent that leaves nothing behind, as the runtime in
// memory does not either.
func inTemporaryRoot(ctx context.Context, opts options, logger *zap.Logger) error {
	root, err := os.MkdirTemp("", "nodeagent-")
	if err != nil {
		return fmt.Errorf("make a root: %w", err)
	}
	defer func() { _ = os.RemoveAll(root) }()
	opts.root = root
	logger.Info("this agent leaves nothing behind", zap.String("root", root), zap.String("see", os.Args[0]+" pods -root "+root))
	return runAgent(ctx, opts.withPaths(), logger)
}

// withPaths fills in where things are.
func (o options) withPaths() options {
	logs := "/var/log"
	if o.runtime == memory {
		logs = filepath.Join(o.root, "log")
	}
	o.root = cmp.Or(o.root, defaultRoot)
	o.podLogs = cmp.Or(o.podLogs, filepath.Join(logs, "pods"))
	o.containerLogs = cmp.Or(o.containerLogs, filepath.Join(logs, "containers"))
	return o
}

func newLogger(level string) (*zap.Logger, error) {
	parsed, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("-log-level: %w", err)
	}
	encoder := zap.NewDevelopmentEncoderConfig()
	encoder.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	encoder.CallerKey, encoder.StacktraceKey = "", ""
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(encoder), zapcore.Lock(os.Stderr), parsed)
	return zap.New(core), nil
}
