package crilog

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// ReopenRuntime is what a Rotator asks of a container runtime; a *cri.Client is one.
// Its methods bound their own time.
type ReopenRuntime interface {
	ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error)
	// ReopenContainerLog has the runtime close the container's log file and open the
	// one that has its name now, making it if need be.
	ReopenContainerLog(ctx context.Context, containerID string) error
}

// RotatorConfig configures NewRotator. The zero value holds each container to five
// files of 10 MiB.
type RotatorConfig struct {
	// PodLogs is the directory of the pods' logs. Default /var/log/pods.
	PodLogs string
	// MaxSize is the size in bytes from which on a log is rotated away. Default 10 MiB;
	// negative for no rotation.
	MaxSize int64
	// MaxFiles is how many files a container's log has, the newest included. At least
	// 2, default 5.
	MaxFiles int
	// Period is the time from the end of a round to the next. Default 10 s.
	Period time.Duration
	// Logger is told of rotations. Nil means no log.
	Logger *zap.Logger
}

// soon is the pause after a round that has rotated something: who writes that much
// may write more.
const soon = time.Second

// Rotator keeps the logs of running containers from growing without end.
type Rotator struct {
	runtime ReopenRuntime
	cfg     RotatorConfig
	log     *zap.Logger

	// there are the logs that were there in the last round, nil before the first.
	there map[string]bool
}

// NewRotator returns a Rotator for the containers of the runtime.
func NewRotator(runtime ReopenRuntime, cfg RotatorConfig) *Rotator {
	if cfg.PodLogs == "" {
		cfg.PodLogs = "/var/log/pods"
	}
	if cfg.MaxSize == 0 {
		cfg.MaxSize = 10 << 20
	}
	if cfg.MaxFiles == 0 {
		cfg.MaxFiles = 5
	}
	if cfg.Period <= 0 {
		cfg.Period = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	return &Rotator{runtime: runtime, cfg: cfg, log: cfg.Logger.Named("crilog")}
}

// Run rotates, round after round, until ctx ends. It returns nil then, and an error
// only for a configuration that is not valid. What fails is logged and tried again.
func (r *Rotator) Run(ctx context.Context) error {
	if r.cfg.MaxFiles < 2 {
		return fmt.Errorf("crilog: MaxFiles is %d, want 2 at least", r.cfg.MaxFiles)
	}
	if r.cfg.MaxSize < 0 {
		<-ctx.Done()
		return nil
	}
	for {
		wait(ctx, r.round(ctx))
		if ctx.Err() != nil {
			return nil //nolint:nilerr // that is how it ends
		}
	}
}

// round rotates once and returns the pause until the next time.
func (r *Rotator) round(ctx context.Context) time.Duration {
	busy, err := r.Rotate(ctx)
	if err != nil && ctx.Err() == nil {
		r.log.Warn("not every log was rotated", zap.Error(err))
	}
	if busy {
		return min(r.cfg.Period, soon)
	}
	return r.cfg.Period
}

// Rotate does one round and reports whether it has rotated a log. It looks at the
// files, and asks the runtime only in the first round and when a log is too large or
// gone. One that is gone, as a crash between a rename and its end has left it or
// somebody has deleted it, is made again if its container runs. Rotate blocks while it
// compresses; an error joins what failed, and the rest was done. It is idempotent, and
// for one goroutine at a time.
func (r *Rotator) Rotate(ctx context.Context) (rotatedAny bool, err error) {
	there, suspects, err := r.look()
	if err != nil {
		return false, err
	}
	isFirst := r.there == nil // then whoever has no log is suspect
	if !isFirst && len(suspects) == 0 {
		r.there = there
		return false, nil
	}
	running, err := r.runtime.ListContainers(ctx, &runtimeapi.ContainerFilter{
		State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	})
	if err != nil {
		return false, fmt.Errorf("find the containers of logs to rotate: %w", err)
	}
	r.there = there
	var errs []error
	for _, c := range running {
		path := r.pathOf(c)
		if !suspects[path] && !(isFirst && isMissing(path)) {
			continue
		}
		did, err := r.rotate(ctx, c.GetId(), path)
		rotatedAny = rotatedAny || did
		if err != nil {
			there[path] = true // what is missing is missed again
			errs = append(errs, fmt.Errorf("rotate log %s: %w", path, err))
		}
	}
	return rotatedAny, errors.Join(errs...)
}

// isMissing reports whether a log is not where others would be.
func isMissing(path string) bool { return exists(filepath.Dir(path)) && !exists(path) }

// pathOf is where a container logs, by the labels that it was created with.
func (r *Rotator) pathOf(c *runtimeapi.Container) string {
	info := cri.ParseContainer(c.GetLabels(), c.GetAnnotations())
	return filepath.Join(PodDirectory(r.cfg.PodLogs, info.PodNamespace, info.PodName, info.PodUID),
		ContainerPath(info.ContainerName, info.RestartCount))
}

// look finds the logs that are there, and those that are too large or gone: since the
// last round, or but for what was rotated away.
func (r *Rotator) look() (there, suspects map[string]bool, err error) {
	dirs, err := filepath.Glob(filepath.Join(escapeGlob(r.cfg.PodLogs), "*", "*"))
	if err != nil {
		return nil, nil, fmt.Errorf("find logs to rotate: %w", err)
	}
	there, suspects = map[string]bool{}, map[string]bool{}
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir) // gone meanwhile, or no directory
		for _, entry := range entries {
			name, rest, isLog := strings.Cut(entry.Name(), logSuffix)
			if !isLog || !entry.Type().IsRegular() {
				continue
			}
			path := filepath.Join(dir, name+logSuffix)
			if rest == "" {
				there[path] = true
			}
			if r.suspect(path) {
				suspects[path] = true
			}
		}
	}
	for path := range r.there {
		switch {
		case there[path]:
		case r.suspect(path):
			suspects[path] = true
		default: // its directory could not be read
			there[path] = true
		}
	}
	return there, suspects, nil
}

func (r *Rotator) suspect(path string) bool {
	info, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular() && info.Size() >= r.cfg.MaxSize
}

// escapeGlob takes their meaning from the letters of a pattern.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// rotate rotates one log, and reports whether it did.
func (r *Rotator) rotate(ctx context.Context, containerID, path string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if !exists(path) {
		r.log.Warn("log of a running container is missing, and made again", zap.String("path", path), zap.String("id", containerID))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return false, err
		}
		return false, r.runtime.ReopenContainerLog(ctx, containerID)
	}
	// What a full disk or a bad sector keeps from being tidied up must not keep the log
	// growing: it stays as it is until it is the oldest.
	untidy := errors.Join(r.cleanUp(path), compressAll(ctx, rotated(path)))
	if ctx.Err() != nil {
		return false, untidy
	}
	away := rotatedName(path, time.Now())
	if err := os.Rename(path, away); err != nil {
		return false, errors.Join(untidy, err)
	}
	if err := r.runtime.ReopenContainerLog(ctx, containerID); err != nil {
		return false, errors.Join(untidy, err, putBack(away, path))
	}
	r.log.Info("log rotated", zap.String("path", path), zap.String("id", containerID))
	return true, untidy
}

// putBack gives a log its name again, as the runtime goes on writing to the file. If
// there is a new one, only the runtime's answer was lost, and it writes to that.
func putBack(away, path string) error {
	if exists(path) {
		return nil
	}
	return os.Rename(away, path)
}

// cleanUp removes what a crash has left of earlier rotations, and the oldest files,
// so that there is room for one more.
func (r *Rotator) cleanUp(path string) error {
	var errs []error
	for _, file := range relatives(path) {
		plain, compressed := strings.CutSuffix(file, compressedSuffix)
		switch {
		case strings.HasSuffix(file, temporarySuffix):
			errs = append(errs, os.Remove(file))
		case compressed && exists(plain): // it was compressed to the end, and not removed
			errs = append(errs, os.Remove(plain))
		}
	}
	old := rotated(path)
	for len(old) > r.cfg.MaxFiles-2 {
		errs = append(errs, os.Remove(old[0]))
		old = old[1:]
	}
	return errors.Join(errs...)
}

func compressAll(ctx context.Context, files []string) error {
	var errs []error
	for _, file := range files {
		errs = append(errs, compress(ctx, file))
	}
	return errors.Join(errs...)
}

// compress replaces a file by its compressed form, unless it is that already. The new
// one has its name only when it is whole and on the disk, so that a crash at any
// point loses nothing.
func compress(ctx context.Context, path string) error {
	if strings.HasSuffix(path, compressedSuffix) {
		return nil
	}
	temporary := path + temporarySuffix
	if err := compressTo(ctx, temporary, path); err != nil {
		return errors.Join(fmt.Errorf("compress %s: %w", path, err), missingIsFine(os.Remove(temporary)))
	}
	if err := os.Rename(temporary, path+compressedSuffix); err != nil {
		return err
	}
	return os.Remove(path)
}

func compressTo(ctx context.Context, to, from string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	writer := gzip.NewWriter(target)
	if _, err := io.Copy(writer, contextReader{ctx, source}); err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return target.Sync()
}

// contextReader reads until ctx ends.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

func missingIsFine(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
