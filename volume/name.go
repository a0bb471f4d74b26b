package volume

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// checkName refuses a UID or volume name that is not one plain path element, or
// that begins with a dot as the names do that this package takes for itself.
// Those of Kubernetes have letters, digits and dashes only.
func checkName(name string) error {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r)
	}
	if name == "" || name[0] == '.' || strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return fmt.Errorf("%q cannot be the name of a directory", name)
	}
	return nil
}

// kindOf returns the kind of a volume as manifests spell it: the name of the
// one field that is set. None means emptyDir, as in the Kubernetes API.
func kindOf(volume *corev1.Volume) (string, error) {
	encoded, err := json.Marshal(volume.VolumeSource)
	if err != nil {
		return "", fmt.Errorf("find out its kind: %w", err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(encoded, &fields); err != nil {
		return "", fmt.Errorf("find out its kind: %w", err)
	}
	kinds := slices.Sorted(maps.Keys(fields))
	switch len(kinds) {
	case 0:
		return "emptyDir", nil
	case 1:
		return kinds[0], nil
	default:
		return "", fmt.Errorf("it is of more than one kind: %s", strings.Join(kinds, ", "))
	}
}
