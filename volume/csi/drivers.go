package csi

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// ErrNotRegistered is the error for a volume whose driver is not registered, not
// yet or not any more. The call is worth a retry when Config.Changed was called.
var ErrNotRegistered = errors.New("is not registered on this node")

// Driver is a registered driver.
type Driver struct {
	// Name of the driver, as volumes name it.
	Name string
	// Endpoint is the path of the driver's socket.
	Endpoint string
	// NodeID is what the driver calls this node.
	NodeID string
	// MaxVolumes is how many volumes of the driver the node may have, 0 for no
	// limit of the driver's.
	MaxVolumes int64
	// Topology is where the node is, as the driver sees it, in labels of the node.
	Topology map[string]string

	socket string // of the registration
}

// LifecycleMode is a way in which a driver serves volumes, by the words of the
// CSIDriver API.
type LifecycleMode string

// The lifecycle modes.
const (
	Persistent LifecycleMode = "Persistent"
	Ephemeral  LifecycleMode = "Ephemeral"
)

// FSGroupPolicy tells whether volumes of a driver get the pod's fsGroup, by the
// words of the CSIDriver API.
type FSGroupPolicy string

// The policies.
const (
	// ReadWriteOnceWithFSType: those that name a file system and are written from
	// one node.
	ReadWriteOnceWithFSType FSGroupPolicy = "ReadWriteOnceWithFSType"
	// FileFSGroupPolicy: all.
	FileFSGroupPolicy FSGroupPolicy = "File"
	// NoneFSGroupPolicy: none.
	NoneFSGroupPolicy FSGroupPolicy = "None"
)

// DriverSpec is what the administrator declares about a driver, with the fields and
// defaults of the CSIDriver API.
type DriverSpec struct {
	// VolumeLifecycleModes are the modes that the driver serves, Persistent by
	// default: inline volumes need Ephemeral.
	VolumeLifecycleModes []LifecycleMode
	// PodInfoOnMount: the driver wants to know the pod.
	PodInfoOnMount bool
	// RequiresRepublish: the driver wants to be called again for mounted volumes.
	RequiresRepublish bool
	// FSGroupPolicy is ReadWriteOnceWithFSType by default. It does not matter for
	// drivers that take the fsGroup themselves.
	FSGroupPolicy FSGroupPolicy
}

func (s DriverSpec) serves(mode LifecycleMode) bool {
	if len(s.VolumeLifecycleModes) == 0 {
		return mode == Persistent
	}
	return slices.Contains(s.VolumeLifecycleModes, mode)
}

var driverName = regexp.MustCompile(`^[a-zA-Z0-9]([-.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$`)

// checkDriver refuses what CSI does not allow as the name of a driver. It is the
// name of a directory as well.
func checkDriver(name string) error {
	if !driverName.MatchString(name) {
		return fmt.Errorf("%q cannot be the name of a CSI driver", name)
	}
	return nil
}

// drivers are those registered. Two sockets may register one driver while it is
// updated: the later serves, and when it goes the earlier again.
type drivers struct {
	mu  sync.Mutex // guards all
	all []Driver   // in the order of registration
}

// add takes the place of what the same socket registered before.
func (d *drivers) add(driver Driver) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(slices.DeleteFunc(d.all, func(old Driver) bool { return old.socket == driver.socket }), driver)
}

// remove returns the name of the driver that the socket had registered.
func (d *drivers) remove(socket string) (name string, found bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.all, func(old Driver) bool { return old.socket == socket })
	if i < 0 {
		return "", false
	}
	name = d.all[i].Name
	d.all = slices.Delete(d.all, i, i+1)
	return name, true
}

// endpoint returns where the driver serves.
func (d *drivers) endpoint(name string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, driver := range slices.Backward(d.all) {
		if driver.Name == name {
			return driver.Endpoint, nil
		}
	}
	return "", fmt.Errorf("CSI driver %q %w", name, ErrNotRegistered)
}

func (d *drivers) serving() []Driver {
	d.mu.Lock()
	defer d.mu.Unlock()
	byName := make(map[string]Driver, len(d.all))
	for _, driver := range d.all {
		driver.Topology = maps.Clone(driver.Topology)
		byName[driver.Name] = driver
	}
	return slices.SortedFunc(maps.Values(byName), func(a, b Driver) int { return strings.Compare(a.Name, b.Name) })
}
