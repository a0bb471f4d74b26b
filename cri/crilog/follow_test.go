package crilog_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/cri/crilog"
)

// audience is somebody who reads, and takes some time for it.
type audience struct {
	pause time.Duration

	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (a *audience) Write(p []byte) (int, error) {
	time.Sleep(a.pause)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.text.Write(p)
}

func (a *audience) heard() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.text.String()
}

// follow reads the log until stop is called, which returns what Read did.
func (l *logger) follow(a *audience, opts crilog.Options) (stop func() error) {
	opts.Follow = true
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	go func() { done <- crilog.Read(ctx, l.path, opts, a, nil) }()
	synctest.Wait() // it has opened the log
	return func() error { cancel(); return <-done }
}

func TestFollowGivesWhatIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a := newLogger(t), &audience{}
		l.write(3)
		stop := l.follow(a, crilog.Options{Tail: new(int64(1))})
		for range 20 {
			time.Sleep(time.Minute)
			l.write(1)
			time.Sleep(time.Second)
			numbers := numbersIn(t, a.heard())
			assert.Equal(t, upTo(l.written)[2:], numbers)
		}
		require.NoError(t, stop(), "an end that was wanted is no error")
	})
}

func TestAnEntryIsGivenWhenItIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a := newLogger(t), &audience{}
		stop := l.follow(a, crilog.Options{})
		for _, part := range []string{"2026-01-02T03:04", ":05Z stdout F o", "ne\n"} {
			assert.Empty(t, a.heard())
			_, err := l.file.WriteString(part)
			require.NoError(t, err)
			time.Sleep(time.Minute)
		}
		assert.Equal(t, "one\n", a.heard())
		require.NoError(t, stop())
	})
}

func TestFollowEndsWithTheContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a := newLogger(t), &audience{}
		var mu sync.Mutex
		running, away, asked := true, error(nil), 0
		done := make(chan error, 1)
		go func() {
			done <- crilog.Read(t.Context(), l.path, crilog.Options{Follow: true, Running: func(context.Context) (bool, error) {
				mu.Lock()
				defer mu.Unlock()
				asked++
				return running, away
			}}, a, nil)
		}()
		l.write(1)
		time.Sleep(10 * time.Second)
		mu.Lock()
		assert.LessOrEqual(t, asked, 11)
		running, away = false, errors.New("the runtime restarts")
		mu.Unlock()
		time.Sleep(10 * time.Second)
		l.write(1)
		time.Sleep(10 * time.Second)
		select {
		case err := <-done:
			require.NoError(t, err)
			t.Fatal("a runtime that does not answer is no end")
		default:
		}
		l.write(1)
		_, err := l.file.WriteString("2026-01-02T03:04:05Z stdout P 3")
		require.NoError(t, err)
		mu.Lock()
		away = nil
		mu.Unlock()
		require.NoError(t, <-done)
		assert.Equal(t, upTo(4), numbersIn(t, a.heard()), "to the last byte")
	})
}

func TestFollowWaitsForALogThatIsBeingRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, a := newLogger(t), &audience{}
		stop := l.follow(a, crilog.Options{})
		l.write(2)
		time.Sleep(time.Second)
		require.NoError(t, os.Rename(l.path, l.path+".20000101-000001"))
		l.write(1) // the runtime still has the old one
		time.Sleep(time.Minute)
		assert.Equal(t, upTo(3), numbersIn(t, a.heard()))
		require.NoError(t, l.ReopenContainerLog(t.Context(), "id-app"))
		l.write(1)
		time.Sleep(time.Second)
		assert.Equal(t, upTo(4), numbersIn(t, a.heard()))
		require.NoError(t, stop())
	})
}

// Whoever follows hears every line once and in order, however fast the log is written
// and rotated, and however slow they are, as long as the files are there.
func TestFollowMissesNothingOverRotations(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pause := rapid.SampledFrom([]time.Duration{0, time.Millisecond, 40 * time.Millisecond, 300 * time.Millisecond}).Draw(rt, "pause")
		writes := rapid.SliceOfN(rapid.IntRange(0, 14), 1, 25).Draw(rt, "writes")
		rests := rapid.SliceOfN(rapid.SampledFrom([]time.Duration{0, 10 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second}), len(writes), len(writes)).Draw(rt, "rests")
		var heard []int
		var written int
		synctest.Test(t, func(t *testing.T) {
			l, a := newLogger(t), &audience{pause: pause}
			r := crilog.NewRotator(l, crilog.RotatorConfig{PodLogs: l.dir, MaxSize: 1000, MaxFiles: 100})
			stop := l.follow(a, crilog.Options{})
			for i, lines := range writes {
				l.write(lines)
				time.Sleep(rests[i])
				_, err := r.Rotate(t.Context())
				require.NoError(t, err)
			}
			time.Sleep(time.Duration(l.written)*pause + time.Minute)
			require.NoError(t, stop())
			heard, written = numbersIn(t, a.heard()), l.written
		})
		if !slices.Equal(heard, upTo(written)) {
			rt.Fatalf("of %d lines it heard %v", written, heard)
		}
	})
}
