package manifests

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/edged-project/edged/metaclient"
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

// Source serves the objects of one folder. Make one with New. It implements
// metaclient.Upstream and metaclient.Getter.
type Source struct {
	dir     string
	cfg     Config
	log     *zap.Logger
	decoder decoder

	files map[string]file // what each file gave; Watch's goroutine owns it

	mu       sync.Mutex // guards the rest
	problems []Problem
	served   content // as last read
}

// New returns a Source over the folder dir. It reads nothing yet; the folder need
// not exist, but an empty name is none: of that, Watch fails.
func New(dir string, cfg Config) *Source {
	if dir != "" {
		dir = filepath.Clean(dir)
	}
	if cfg.RescanPeriod <= 0 {
		cfg.RescanPeriod = defaultRescanPeriod
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	return &Source{
		dir:     dir,
		cfg:     cfg,
		log:     cfg.Logger.Named("manifests"),
		decoder: decoder{nodeName: cfg.NodeName, complete: cfg.Complete},
	}
}

// Watch delivers the folder's pods, ordered by file name and place in the file,
// when it has first read the folder and after each change, and before them the
// ConfigMaps and Secrets that have changed. It blocks until ctx ends and then
// returns nil, or returns the error of the sink. It may be called again after it has
// returned, but not twice at once. The sink must neither keep nor change what it is
// given.
func (s *Source) Watch(ctx context.Context, sink metaclient.Sink) error {
	if s.dir == "" {
		return errors.New("manifests: the name of the folder is empty")
	}
	notifier := newNotifier(s.dir, s.log)
	defer notifier.close()
	delivered, first := content{}, true
	for {
		// Followed before it is read, so that no change falls in between.
		notifier.follow()
		if now, ok := s.scan(); ok {
			s.serve(now)
			if err := now.deliver(ctx, sink, delivered, first); err != nil {
				return err
			}
			delivered, first = now, false
		}
		if !pause(ctx, notifier.hints, s.cfg.RescanPeriod) {
			return nil
		}
	}
}

// Get returns a ConfigMap or Secret as the folder was last read: it implements
// metaclient.Getter. What is not there is an error that wraps metaclient.ErrOffline
// until Watch has read the folder, and while a file cannot be used that this process
// has never read whole: nobody is to conclude from a half-written file that a Secret
// is gone.
func (s *Source) Get(_ context.Context, ref metaclient.Ref) (metav1.Object, error) {
	now := s.now()
	if now.objects == nil {
		return nil, fmt.Errorf("folder %s is not read yet: %w", s.dir, metaclient.ErrOffline)
	}
	switch object := now.objects[ref].(type) {
	case *corev1.ConfigMap:
		return object.DeepCopy(), nil
	case *corev1.Secret:
		return object.DeepCopy(), nil
	}
	if now.unsure {
		return nil, fmt.Errorf("a file of folder %s cannot be used and may hold it: %w", s.dir, metaclient.ErrOffline)
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: strings.ToLower(string(ref.Kind)) + "s"}, ref.Name)
}

func (s *Source) serve(now content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served = now
}

func (s *Source) now() content {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served
}

// Problems returns what is wrong in the folder at present, ordered by file. The
// result is the caller's.
func (s *Source) Problems() []Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}
