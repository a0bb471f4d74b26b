package manifests

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

const (
	// settleTime without a further event means that an editor has finished.
	settleTime = 100 * time.Millisecond
	// maxSettleTime bounds the wait when a file is written to without end.
	maxSettleTime = time.Second
)

// notifier turns file events into hints that the folder changed. Without it, for
// instance when the system's limit of watches is reached, the rescan still works.
type notifier struct {
	hints chan struct{} // of size 1: a hint that waits covers those that follow

	dir     string
	watcher *fsnotify.Watcher // nil when there is none
	ended   chan struct{}
}

func newNotifier(dir string, log *zap.Logger) *notifier {
	n := &notifier{hints: make(chan struct{}, 1), dir: dir, ended: make(chan struct{})}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("folder is only rescanned, it cannot be watched", zap.String("folder", dir), zap.Error(err))
		close(n.ended)
		return n
	}
	n.watcher = watcher
	go n.run()
	return n
}

// run ends when the watcher is closed. An error means lost events, so it is a
// hint as well.
func (n *notifier) run() {
	defer close(n.ended)
	errs := n.watcher.Errors
	for {
		select {
		case event, ok := <-n.watcher.Events:
			if !ok {
				return
			}
			if !concerns(event.Name, n.dir) {
				continue
			}
		case _, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
		}
		select {
		case n.hints <- struct{}{}:
		default:
		}
	}
}

// concerns leaves out what happens beside the folder.
func concerns(name, dir string) bool {
	name = filepath.Clean(name)
	return name == dir || filepath.Dir(name) == dir
}

// follow watches the folder as it is now, which may be another one under the same
// name, and its parent, which tells when the folder appears. What is missing is
// left to the rescan.
func (n *notifier) follow() {
	if n.watcher == nil {
		return
	}
	_ = n.watcher.Add(filepath.Dir(n.dir))
	_ = n.watcher.Add(n.dir)
}

func (n *notifier) close() {
	if n.watcher != nil {
		_ = n.watcher.Close()
	}
	<-n.ended
}

// pause returns true when the folder should be read again: a period has passed,
// or a hint came and no other followed for settleTime. It returns false when ctx
// ends.
func pause(ctx context.Context, hints <-chan struct{}, period time.Duration) bool {
	rescan := time.NewTimer(period)
	defer rescan.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-rescan.C:
		return true
	case <-hints:
	}
	limit := time.NewTimer(maxSettleTime)
	defer limit.Stop()
	quiet := time.NewTimer(settleTime)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-limit.C:
			return true
		case <-quiet.C:
			return true
		case <-hints:
			quiet.Reset(settleTime)
		}
	}
}
