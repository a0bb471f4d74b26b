package csi_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/volume"
	"github.com/edged-project/edged/volume/csi"
)

// ledger is what a driver knows: which volumes are staged, and where each is
// published. It counts what CSI forbids.
type ledger struct {
	mu        sync.Mutex
	staged    map[string]bool
	published map[string]map[string]bool // by handle, the targets
	wrong     []string
}

func (l *ledger) heed(f *fake) {
	f.on("NodeStageVolume", func(req any) {
		l.do(func() { l.staged[req.(*csipb.NodeStageVolumeRequest).VolumeId] = true })
	})
	f.on("NodePublishVolume", func(req any) {
		r := req.(*csipb.NodePublishVolumeRequest)
		l.do(func() {
			if !l.staged[r.VolumeId] && !strings.HasPrefix(r.VolumeId, "csi-") {
				l.wrong = append(l.wrong, r.VolumeId+" is published but not staged")
			}
			if l.published[r.VolumeId] == nil {
				l.published[r.VolumeId] = map[string]bool{}
			}
			l.published[r.VolumeId][r.TargetPath] = true
		})
	})
	f.on("NodeUnpublishVolume", func(req any) {
		r := req.(*csipb.NodeUnpublishVolumeRequest)
		l.do(func() { delete(l.published[r.VolumeId], r.TargetPath) })
	})
	f.on("NodeUnstageVolume", func(req any) {
		r := req.(*csipb.NodeUnstageVolumeRequest)
		l.do(func() {
			if len(l.published[r.VolumeId]) > 0 {
				l.wrong = append(l.wrong, r.VolumeId+" is unstaged but published")
			}
			delete(l.staged, r.VolumeId)
		})
	})
}

func (l *ledger) do(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// Whatever order pods come and go in, wherever the driver fails, having done what it
// was asked for or not, and whenever the agent restarts: a volume is never unstaged
// under a pod, and at the end nothing is left, at the driver or on disk.
func TestNothingIsLeftWhateverHappens(t *testing.T) {
	roots, runs := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		root := filepath.Join(roots, strconv.Itoa(runs))
		l := &ledger{staged: map[string]bool{}, published: map[string]map[string]bool{}}
		driver := newFake(stages)
		l.heed(driver)
		s := newSite(t, root, driver, csi.Config{Driver: ephemeral})
		pods := []*volume.Volume{s.claimed("a", "x"), s.claimed("b", "x"), s.claimed("c", "y"), s.inlined("a"), s.inlined("d")}

		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			v := rapid.SampledFrom(pods).Draw(rt, "pod")
			method := rapid.SampledFrom([]string{"", "NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume"}).Draw(rt, "fails")
			// These leave open what was done, as the ledger does it in any case.
			driver.fail(method, rapid.SampledFrom([]codes.Code{codes.Unavailable, codes.Aborted, codes.DeadlineExceeded}).Draw(rt, "code"))
			switch rapid.SampledFrom([]string{"mount", "attach", "unmount", "restart"}).Draw(rt, "step") {
			case "mount":
				_ = s.mount(v)
			case "attach":
				_ = s.Attach(t.Context(), v)
			case "unmount":
				_ = s.unmount(v)
			case "restart":
				s.restart()
				require.NoError(rt, s.Register(t.Context(), socket))
			}
			driver.fail(method, codes.OK)
		}
		for _, v := range pods {
			require.NoError(rt, s.unmount(v))
		}
		assert.Empty(rt, l.wrong)
		assert.Empty(rt, l.staged)
		for handle, targets := range l.published {
			assert.Empty(rt, targets, handle)
		}
		assert.Empty(rt, s.remains())
	})
}
