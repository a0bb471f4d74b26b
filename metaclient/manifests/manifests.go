package manifests

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// defaultRescanPeriod is the kubelet's fileCheckFrequency.
const defaultRescanPeriod = 20 * time.Second

// Config adjusts a Source. The zero value works.
type Config struct {
	// NodeName is this node's name, written into each pod's spec.nodeName. A pod
	// that names another node is refused. Default: pods are left as they are.
	NodeName string

	// Complete does to a pod what an API server does when one is created: it fills
	// in defaults and validates. A pod with errors is not run. It must be a pure
	// function of the pod. Default: nothing is filled in or checked.
	Complete func(pod *corev1.Pod) field.ErrorList

	// OnProblem is told of each problem once, when it appears or changes. It is
	// called from Watch and must not block. All problems are logged anyway.
	// Default: nobody is told.
	OnProblem func(p Problem)

	// RescanPeriod is how often the folder is read without a notification.
	// Default: 20 s.
	RescanPeriod time.Duration

	// Logger default: no log.
	Logger *zap.Logger
}

// Source serves the pods of one folder. Make one with New. It implements
// metaclient.Upstream.
type Source struct {
	dir     string
	cfg     Config
	log     *zap.Logger
	decoder decoder

	files map[string]file // what each file gave; Watch's goroutine owns it

	mu       sync.Mutex
	problems []Problem // guarded by mu
}

// New returns a Source over the folder dir. It reads nothing yet; the folder need
// not exist.
func New(dir string, cfg Config) *Source {
	if cfg.RescanPeriod <= 0 {
		cfg.RescanPeriod = defaultRescanPeriod
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	return &Source{
		dir:     filepath.Clean(dir),
		cfg:     cfg,
		log:     cfg.Logger.Named("manifests"),
		decoder: decoder{nodeName: cfg.NodeName, complete: cfg.Complete},
	}
}

// Watch delivers the folder's pods, ordered by file name and place in the file,
// when it has first read the folder and after each change. It blocks until ctx
// ends and then returns nil, or returns the error of deliver. It may be called
// again after it has returned, but not twice at once. deliver must neither keep
// nor change the pods.
func (s *Source) Watch(ctx context.Context, deliver func(pods []*corev1.Pod) error) error {
	notifier := newNotifier(s.dir, s.log)
	defer notifier.close()
	var delivered []*corev1.Pod
	first := true
	for {
		// Followed before it is read, so that no change falls in between.
		notifier.follow()
		pods, ok := s.scan()
		if ok && (first || !slices.Equal(pods, delivered)) {
			if err := deliver(pods); err != nil {
				return err
			}
			delivered, first = pods, false
		}
		if !pause(ctx, notifier.hints, s.cfg.RescanPeriod) {
			return nil
		}
	}
}

// Problems returns what is wrong in the folder at present, ordered by file. The
// result is the caller's.
func (s *Source) Problems() []Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}
