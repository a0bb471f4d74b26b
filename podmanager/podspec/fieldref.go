package podspec

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var errNoHostIP = errors.New("the node has no known address")

// envFields are the fields without a key that the environment may refer to.
var envFields = []string{
	"metadata.name", "metadata.namespace", "metadata.uid",
	"spec.nodeName", "spec.serviceAccountName",
	"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
}

// fieldValue is the text of a field of the pod (Kubernetes docs, "Downward API").
func fieldValue(pod *corev1.Pod, opts ContainerOptions, ref *corev1.ObjectFieldSelector, path *field.Path) (string, error) {
	if ref.APIVersion != "" && ref.APIVersion != "v1" {
		return "", field.NotSupported(path.Child("apiVersion"), ref.APIVersion, []string{"v1"})
	}
	if value, ok := metadataValue(pod, ref.FieldPath); ok {
		return value, nil
	}
	switch ref.FieldPath {
	case "spec.nodeName":
		return cmp.Or(pod.Spec.NodeName, opts.NodeName), nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		if len(opts.HostIPs) == 0 {
			return "", field.InternalError(path, errNoHostIP)
		}
		return oneOrAll(opts.HostIPs, ref.FieldPath == "status.hostIP"), nil
	case "status.podIP", "status.podIPs":
		return oneOrAll(orderedPodIPs(pod, opts), ref.FieldPath == "status.podIP"), nil
	}
	return "", field.NotSupported(path.Child("fieldPath"), ref.FieldPath, envFields)
}

// DownwardFile returns the content of a file of a downwardAPI volume. Of the options
// only Allocatable matters. Its errors name the field.
func DownwardFile(pod *corev1.Pod, item *corev1.DownwardAPIVolumeFile, opts ContainerOptions) (string, error) {
	switch {
	case item.FieldRef != nil:
		path := field.NewPath("fieldRef")
		if value, ok := metadataValue(pod, item.FieldRef.FieldPath); ok {
			return value, nil
		}
		return "", field.NotSupported(path.Child("fieldPath"), item.FieldRef.FieldPath, downwardFields)
	case item.ResourceFieldRef != nil:
		path := field.NewPath("resourceFieldRef")
		if item.ResourceFieldRef.ContainerName == "" {
			return "", field.Required(path.Child("containerName"), "")
		}
		return resourceFieldValue(pod, &corev1.Container{}, opts, item.ResourceFieldRef, path)
	default:
		return "", field.Required(field.NewPath("fieldRef"), "the file has no source")
	}
}

func metadataValue(pod *corev1.Pod, fieldPath string) (string, bool) {
	if path, key, ok := splitKey(fieldPath); ok {
		switch path {
		case "metadata.labels":
			return pod.Labels[key], true
		case "metadata.annotations":
			return pod.Annotations[key], true
		}
		return "", false
	}
	switch fieldPath {
	case "metadata.name":
		return pod.Name, true
	case "metadata.namespace":
		return pod.Namespace, true
	case "metadata.uid":
		return string(pod.UID), true
	case "metadata.labels":
		return formatMap(pod.Labels), true
	case "metadata.annotations":
		return formatMap(pod.Annotations), true
	}
	return "", false
}

// splitKey splits metadata.labels['key'].
func splitKey(fieldPath string) (path, key string, ok bool) {
	head, closed := strings.CutSuffix(fieldPath, "']")
	path, key, found := strings.Cut(head, "['")
	if !closed || !found || path == "" {
		return "", "", false
	}
	return path, key, true
}

// formatMap writes a key="value" line for each entry, sorted by key, the value
// quoted as Go does. The last line has no end.
func formatMap(values map[string]string) string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		lines = append(lines, key+"="+strconv.Quote(values[key]))
	}
	return strings.Join(lines, "\n")
}

func oneOrAll(ips []string, one bool) string {
	if one {
		ips = ips[:min(len(ips), 1)]
	}
	return strings.Join(ips, ",")
}

// orderedPodIPs are the pod's addresses, at most one of each family, that of
// the node's primary address first. On the host's network they are the node's.
func orderedPodIPs(pod *corev1.Pod, opts ContainerOptions) []string {
	ips := opts.PodIPs
	if pod.Spec.HostNetwork && len(ips) == 0 {
		ips = opts.HostIPs
	}
	byFamily := map[string]string{}
	var families []string
	for _, text := range ips {
		ip, err := netip.ParseAddr(text)
		if err != nil || byFamily[familyOf(ip)] != "" {
			continue
		}
		byFamily[familyOf(ip)] = text
		families = append(families, familyOf(ip))
	}
	var ordered []string
	for _, family := range unique(append(primaryFamily(opts.HostIPs), families...)) {
		if ip := byFamily[family]; ip != "" {
			ordered = append(ordered, ip)
		}
	}
	return ordered
}

// primaryFamily is the family of the first address, none if there is none.
func primaryFamily(ips []string) []string {
	for _, text := range ips {
		if ip, err := netip.ParseAddr(text); err == nil {
			return []string{familyOf(ip)}
		}
	}
	return nil
}

func familyOf(ip netip.Addr) string {
	if ip.Unmap().Is4() {
		return "v4"
	}
	return "v6"
}
