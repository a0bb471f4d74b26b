package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/crilog"
	"github.com/edged-project/edged/gc"
	"github.com/edged-project/edged/gc/eviction"
	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/manifests"
	"github.com/edged-project/edged/pleg"
	"github.com/edged-project/edged/podmanager"
	"github.com/edged-project/edged/podmanager/admission"
	"github.com/edged-project/edged/podmanager/imagepull"
	"github.com/edged-project/edged/podmanager/podcgroup"
	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/edged-project/edged/podmanager/podsync"
	"github.com/edged-project/edged/probe"
	"github.com/edged-project/edged/statusmgr"
	"github.com/edged-project/edged/volume"
)

// agent is the rooms, wired.
type agent struct {
	runtime  *cri.Client
	store    *metaclient.Client
	observer *pleg.Generator
	probes   *probe.Manager
	puller   *imagepull.Puller
	syncer   *podsync.Syncer
	pods     *podmanager.Manager
	statuses *statusmgr.Manager
	events   *statusmgr.Events
	volumes  *volume.Manager
	garbage  *gc.Containers
	images   *gc.Images        // nil with the runtime in memory, as evictor
	evictor  *eviction.Manager // nil: nothing is watched
	logs     *crilog.Rotator
	more     []func(context.Context) error // rooms that not every agent has
	node     admission.Node
	host     addresses
	logger   *zap.Logger
	// known: the pods of the store or of the upstream were handed on.
	known atomic.Bool
	// complete: the upstream has told all its pods, so that what is not among them
	// is known to be unwanted.
	complete atomic.Bool
	// showing is held from the look at what a probe has found until its status tells.
	showing sync.Mutex
}

// runAgent runs the pods of the folder until ctx ends, and leaves them running then.
func runAgent(ctx context.Context, opts options, logger *zap.Logger) error {
	runtime, closeRuntime, err := connect(ctx, opts, logger)
	if err != nil {
		return err
	}
	defer closeRuntime()
	folder := manifests.New(opts.manifests, manifests.Config{NodeName: opts.nodeName, Complete: podspec.Complete, Logger: logger})
	a, err := newAgent(runtime, folder, opts, logger)
	if err != nil {
		return err
	}
	defer a.close()
	listener, err := listen(ctx, opts.root)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.run(ctx) })
	group.Go(func() error { return serve(ctx, listener, a) })
	return group.Wait()
}

// newAgent wires the rooms. Nothing happens before run.
func newAgent(runtime *cri.Client, upstream metaclient.Upstream, opts options, logger *zap.Logger) (*agent, error) {
	if err := os.MkdirAll(opts.containerLogs, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of links to logs: %w", err)
	}
	plugins, err := credentialProviders(opts)
	if err != nil {
		return nil, err
	}
	a := &agent{runtime: runtime, host: addresses{find: hostIPs}, logger: logger.Named("nodeagent")}
	a.store, err = metaclient.Open(filepath.Join(opts.root, "store.db"), upstream, metaclient.Config{
		OnPods: a.onPods, OnObject: a.onObject, Key: storeKey(opts), Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	a.node = thisNode(opts.nodeName, opts.root)
	a.statuses = statusmgr.New(a.store, statusmgr.Config{OnChange: a.logChange, Logger: logger})
	a.events = statusmgr.NewEvents(statusmgr.EventsConfig{Reporter: a.store, Host: opts.nodeName, Component: "nodeagent", Logger: logger})
	a.observer = pleg.New(runtime, pleg.Config{OnChange: a.onChange, Logger: logger})
	a.probes = probe.New(runtime, probe.Config{
		OnResult: a.onProbed, OnEvent: a.onPodEvent, Command: podspec.ProbeCommand, Logger: logger,
	})
	a.puller = imagepull.New(runtime, imagepull.Config{
		Secrets: a.store, DockerConfig: opts.dockerConfig, CredentialProviders: plugins,
		Records: filepath.Join(opts.root, "image_manager"), Recorder: a.events, Logger: logger,
	})
	a.volumes = volume.New(a.store, volume.Config{
		Root: opts.root, Plugins: a.useCSI(opts), Downward: a.downward, Allocatable: a.node.Allocatable,
		Ready: a.complete.Load, Removed: a.removed, Recorder: a.events, Logger: logger,
	})
	a.syncer = a.newSyncer(opts, logger)
	a.pods = podmanager.New(a.syncer, podmanager.Config{
		Admit: a.admit, OnRejected: a.onRejected, OnRemoved: a.onRemoved, Logger: logger,
	})
	if err := a.wireCleaning(opts, logger); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// storeKey is the key that secrets are sealed with in the store, nil for none.
func storeKey(opts options) func() ([]byte, error) {
	if opts.storeKey == "" {
		return nil
	}
	return metaclient.KeyFile(opts.storeKey)
}

// credentialProviders reads the configuration of plugins, if there is one.
func credentialProviders(opts options) (*imagepull.CredentialProviders, error) {
	if opts.providers == "" {
		return nil, nil
	}
	return imagepull.ReadCredentialProviders(opts.providers, opts.providerBin)
}

// newSyncer wires what a pod's worker works with.
func (a *agent) newSyncer(opts options, logger *zap.Logger) *podsync.Syncer {
	rooms := podsync.Rooms{
		Runtime:  a.runtime,
		Observer: a.observer,
		Images:   a.puller,
		Volumes:  a.volumes,
		Status:   a.setStatus,
		Health:   a.health,
		Fits:     a.fits,
		Objects:  a.store,
	}
	if opts.cgroupRoot != "" && opts.runtime != memory {
		cgroups := podcgroup.New(a.runtime, podcgroup.Config{Root: opts.cgroupRoot, Ready: a.complete.Load, Removed: a.removed, Logger: logger})
		rooms.Cgroups = cgroups
		a.more = append(a.more, cgroups.Run)
	}
	return podsync.New(rooms, podsync.Config{
		Root:          opts.root,
		LogLinks:      opts.containerLogs,
		MaxCrashDelay: opts.maxCrashDelay,
		Sandbox:       sandboxOptions(opts),
		Container:     containerOptions(a.node),
		HostIPs:       a.host.ips,
		NodeDNS:       a.nodeDNS,
		Recorder:      a.events,
		Logger:        logger,
	})
}

// run runs the rooms until ctx ends.
func (a *agent) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	rooms := []func(context.Context) error{
		a.observer.Run, a.probes.Run, a.pods.Run, a.statuses.Run, a.events.Run, a.store.Run, a.volumes.Run, a.garbage.Run, a.logs.Run,
	}
	for _, room := range append(rooms, a.more...) {
		group.Go(func() error { return room(ctx) })
	}
	return group.Wait()
}

func (a *agent) close() {
	if err := a.store.Close(); err != nil {
		a.logger.Error("store not closed", zap.Error(err))
	}
}

// connect returns the runtime that the options ask for, and what releases it.
func connect(ctx context.Context, opts options, logger *zap.Logger) (*cri.Client, func(), error) {
	if opts.runtime == memory {
		return connectMemory(ctx, logger)
	}
	endpoint := opts.runtime
	if endpoint == "" {
		var err error
		if endpoint, err = cri.DetectEndpoint(ctx); err != nil {
			return nil, nil, fmt.Errorf("%w\nGive -runtime unix:///path/to.sock, or -runtime memory to try without a runtime", err)
		}
	}
	client, err := cri.Dial(ctx, endpoint, cri.Config{ImageEndpoint: opts.imageService, Logger: logger})
	if err != nil {
		return nil, nil, err
	}
	return client, func() { _ = client.Close(ctx) }, nil
}
