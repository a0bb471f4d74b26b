package podcgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// errNotDelegated: the controllers of a cgroup v2 are not this agent's to pass on.
var errNotDelegated = errors.New("controllers cannot be passed on to other cgroups")

// makeClass makes the cgroup that a pod's is in, and those above it.
func (m *Manager) makeClass(found *layout, class name) error {
	for depth := range len(class) + 1 {
		above := class[:depth]
		if depth > 0 {
			if _, err := m.makeOne(found, above); err != nil {
				return err
			}
		}
		if err := m.passOn(found, above); err != nil {
			return err
		}
	}
	all := classOf(m.cfg.Root, corev1.PodQOSGuaranteed)
	if err := m.set(found, all, found.weight(allShares()), true); err != nil {
		return err
	}
	if class[len(class)-1] == bestEffort {
		return m.set(found, class, found.weight(minShares), true)
	}
	return nil
}

// makeOne makes a cgroup in the hierarchies by which pods are limited, and reports
// whether one was not there.
func (m *Manager) makeOne(found *layout, cgroup name) (isNew bool, err error) {
	for _, dir := range found.own() {
		err := m.kernel.Mkdir(filepath.Join(dir, cgroup.cgroupfs()))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return false, err
		}
		isNew = isNew || err == nil
	}
	return isNew, nil
}

// passOn gives what is in a cgroup v2 the controllers that limit pods.
func (m *Manager) passOn(found *layout, cgroup name) error {
	if !found.unified {
		return nil
	}
	file := filepath.Join(found.all[0], cgroup.cgroupfs(), "cgroup.subtree_control")
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	on := strings.Fields(string(content))
	for _, controller := range controllers {
		if found.byController[controller] == "" || slices.Contains(on, controller) {
			continue
		}
		if err := write(file, "+"+controller); errors.Is(err, syscall.EBUSY) || errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", errNotDelegated, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// limit sets what the pod's containers may take together; lower allows that it is
// less than before.
func (m *Manager) limit(found *layout, cgroup name, want *runtimeapi.LinuxContainerResources, lower bool) error {
	knobs := found.knobs(want)
	if dir := found.byController[hugetlb]; dir != "" {
		knobs = append(knobs, found.hugePages(filepath.Join(dir, cgroup.cgroupfs()), want)...)
	}
	var errs []error
	for _, k := range knobs {
		errs = append(errs, m.set(found, cgroup, k, lower))
	}
	return errors.Join(errs...)
}

// set has a file of a cgroup hold what it should. What the kernel has no file for
// is said once, if it is a limit, and left.
func (m *Manager) set(found *layout, cgroup name, k knob, lower bool) error {
	dir := found.byController[k.controller]
	file := filepath.Join(dir, cgroup.cgroupfs(), k.file)
	content, err := os.ReadFile(file)
	if dir == "" || errors.Is(err, fs.ErrNotExist) {
		if k.bound && k.amount != unlimited {
			m.once(zap.WarnLevel, "the kernel does not limit pods by this", zap.String("controller", k.controller), zap.String("file", k.file))
		}
		return nil
	}
	if err != nil {
		return err
	}
	have, err := parseAmount(string(content))
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	if have == k.amount || k.bound && !lower && k.amount < have {
		return nil
	}
	return write(file, k.text())
}

// write writes to a file that the kernel has made.
func write(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// once says something that does not change, the first time.
func (m *Manager) once(level zapcore.Level, message string, about ...zap.Field) {
	key := message
	for _, field := range about {
		key += field.String
	}
	m.mu.Lock()
	said := m.said[key]
	m.said[key] = true
	m.mu.Unlock()
	if !said {
		m.logger.Log(level, message, about...)
	}
}
