package csi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	dataFile  = "vol_data.json"
	dataDraft = ".vol_data.json.new"
	mountName = "mount"
)

// record is what is kept in the directory of a pod's volume, to take the volume
// down by. It is also the pod's claim on the staged volume.
type record struct {
	name, driver, handle, node string
	mode                       LifecycleMode
	// published: the driver has said so. A mount alone may be half of one.
	published bool
	// grouped: the driver has given the volume to the pod's fsGroup.
	grouped bool
}

// encode has the kubelet's keys, and two of its own that the kubelet does not mind.
func (r record) encode() ([]byte, error) {
	fields := map[string]string{
		"specVolID": r.name, "driverName": r.driver, "volumeHandle": r.handle, "nodeName": r.node,
		"volumeLifecycleMode": string(r.mode),
	}
	if r.published {
		fields["published"] = "true"
	}
	if r.grouped {
		fields["volumeMountGroup"] = "true"
	}
	return json.Marshal(fields)
}

// decode takes the kubelet's files as well as its own. What it accepts is safe to
// make a path of.
func decode(content []byte) (record, error) {
	var fields map[string]string
	if err := json.Unmarshal(content, &fields); err != nil {
		return record{}, err
	}
	r := record{
		name: fields["specVolID"], driver: fields["driverName"], handle: fields["volumeHandle"], node: fields["nodeName"],
		mode: LifecycleMode(fields["volumeLifecycleMode"]), published: fields["published"] == "true", grouped: fields["volumeMountGroup"] == "true",
	}
	if err := checkDriver(r.driver); err != nil {
		return record{}, fmt.Errorf("driverName: %w", err)
	}
	if r.handle == "" {
		return record{}, errors.New("volumeHandle is empty")
	}
	switch r.mode {
	case Persistent, Ephemeral:
	case "":
		r.mode = Persistent
	default:
		return record{}, fmt.Errorf("volumeLifecycleMode: %q is not known", r.mode)
	}
	return r, nil
}

// load returns nil if there is no record.
func load(dir string) (*record, error) {
	file := filepath.Join(dir, dataFile)
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := decode(content)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be understood: %w", file, err)
	}
	return &r, nil
}

// save is atomic and survives a power cut once it returns. It makes the directory,
// and writes nothing that is there already.
func save(dir string, r record) error {
	if old, err := load(dir); err == nil && old != nil && *old == r {
		return nil
	}
	content, err := r.encode()
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o750); err == nil {
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	draft := filepath.Join(dir, dataDraft)
	if err := writeSynced(draft, content); err != nil {
		return err
	}
	if err := os.Rename(draft, filepath.Join(dir, dataFile)); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeSynced(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Sync(), file.Close())
}

func syncDir(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// forget removes the record and the directory. What else is in it, such as data
// that a driver has left in place of a mount, stays and is an error.
func forget(dir string) error {
	for _, path := range []string{filepath.Join(dir, dataDraft), filepath.Join(dir, dataFile), dir} {
		if err := remove(path); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a file or an empty directory, if there is one.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
