package cri

import (
	"encoding/json"
	"hash/fnv"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The labels by which tools (crictl, log shippers, monitoring) and agents find
// the pod of a sandbox or container. They are the kubelet's and must not change.
const (
	LabelPodName       = "io.kubernetes.pod.name"
	LabelPodNamespace  = "io.kubernetes.pod.namespace"
	LabelPodUID        = "io.kubernetes.pod.uid"
	LabelContainerName = "io.kubernetes.container.name"
)

// The annotations in which an agent leaves on a container what it needs to
// recognise it later and to end it when the pod object is gone.
const (
	AnnotationHash                     = "io.kubernetes.container.hash"
	AnnotationRestartCount             = "io.kubernetes.container.restartCount"
	AnnotationTerminationMessagePath   = "io.kubernetes.container.terminationMessagePath"
	AnnotationTerminationMessagePolicy = "io.kubernetes.container.terminationMessagePolicy"
	AnnotationPorts                    = "io.kubernetes.container.ports"
	AnnotationPreStop                  = "io.kubernetes.container.preStopHandler"
	AnnotationTerminationGracePeriod   = "io.kubernetes.pod.terminationGracePeriod"
	AnnotationDeletionGracePeriod      = "io.kubernetes.pod.deletionGracePeriod"
)

// annotationConfigSource says of a pod where an agent has it from; see IsStatic.
const annotationConfigSource = "kubernetes.io/config.source"

// SandboxLabels returns the labels of the pod's sandboxes: the pod's own and
// the reserved ones, which win.
func SandboxLabels(pod *corev1.Pod) map[string]string {
	labels := make(map[string]string, len(pod.Labels)+3)
	maps.Copy(labels, pod.Labels)
	maps.Copy(labels, podLabels(pod))
	return labels
}

// SandboxAnnotations returns the annotations of the pod's sandboxes: a copy of
// the pod's, verbatim, as runtimes, NRI and CNI plugins read them.
func SandboxAnnotations(pod *corev1.Pod) map[string]string {
	return maps.Clone(pod.Annotations)
}

// ContainerLabels returns the labels of a container: the reserved ones only.
// The pod's own labels are on its sandbox.
func ContainerLabels(pod *corev1.Pod, container string) map[string]string {
	labels := podLabels(pod)
	labels[LabelContainerName] = container
	return labels
}

func podLabels(pod *corev1.Pod) map[string]string {
	return map[string]string{
		LabelPodName:      pod.Name,
		LabelPodNamespace: pod.Namespace,
		LabelPodUID:       string(pod.UID),
	}
}

// ContainerAnnotations returns the annotations of a container that is created
// with the given restart count. ParseContainer reads them back.
func ContainerAnnotations(pod *corev1.Pod, container *corev1.Container, restartCount int) map[string]string {
	annotations := map[string]string{
		AnnotationHash:                     strconv.FormatUint(ContainerHash(container), 16),
		AnnotationRestartCount:             strconv.Itoa(restartCount),
		AnnotationTerminationMessagePath:   container.TerminationMessagePath,
		AnnotationTerminationMessagePolicy: string(container.TerminationMessagePolicy),
	}
	if len(container.Ports) > 0 {
		annotations[AnnotationPorts] = toJSON(container.Ports)
	}
	if container.Lifecycle != nil && container.Lifecycle.PreStop != nil {
		annotations[AnnotationPreStop] = toJSON(container.Lifecycle.PreStop)
	}
	if grace := pod.Spec.TerminationGracePeriodSeconds; grace != nil {
		annotations[AnnotationTerminationGracePeriod] = strconv.FormatInt(*grace, 10)
	}
	if grace := pod.DeletionGracePeriodSeconds; grace != nil {
		annotations[AnnotationDeletionGracePeriod] = strconv.FormatInt(*grace, 10)
	}
	return annotations
}

// toJSON encodes API types, which always can be.
func toJSON(v any) string {
	encoded, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(encoded)
}

// ContainerHash is the identity of a container's definition: a running
// container whose hash differs from its spec's is restarted. It covers the name
// and the image only, because these alone may change in a running container's
// spec; it must stay the same from release to release, or an upgrade of the
// agent restarts every container.
func ContainerHash(container *corev1.Container) uint64 {
	hash := fnv.New64a()
	hash.Write([]byte(container.Name))
	hash.Write([]byte{0})
	hash.Write([]byte(container.Image))
	return hash.Sum64()
}

// ContainerInfo is what the labels and annotations of a container say.
type ContainerInfo struct {
	PodName       string
	PodNamespace  string
	PodUID        types.UID
	ContainerName string

	Hash                     uint64
	RestartCount             int
	TerminationMessagePath   string
	TerminationMessagePolicy corev1.TerminationMessagePolicy
	Ports                    []corev1.ContainerPort
	PreStop                  *corev1.LifecycleHandler
	// TerminationGracePeriod and DeletionGracePeriod are in seconds, nil when
	// the pod had none.
	TerminationGracePeriod *int64
	DeletionGracePeriod    *int64
}

// ParseContainer reads the labels and annotations of a container. A value that
// is missing or malformed reads as its zero value: somebody else's container
// must not make a status fail.
func ParseContainer(labels, annotations map[string]string) ContainerInfo {
	info := ContainerInfo{
		PodName:                  labels[LabelPodName],
		PodNamespace:             labels[LabelPodNamespace],
		PodUID:                   types.UID(labels[LabelPodUID]),
		ContainerName:            labels[LabelContainerName],
		RestartCount:             restartCount(annotations),
		TerminationMessagePath:   annotations[AnnotationTerminationMessagePath],
		TerminationMessagePolicy: corev1.TerminationMessagePolicy(annotations[AnnotationTerminationMessagePolicy]),
		TerminationGracePeriod:   parseSeconds(annotations[AnnotationTerminationGracePeriod]),
		DeletionGracePeriod:      parseSeconds(annotations[AnnotationDeletionGracePeriod]),
	}
	info.Hash, _ = parseHash(annotations)
	info.Ports = parseJSON[[]corev1.ContainerPort](annotations[AnnotationPorts])
	info.PreStop = parseJSON[*corev1.LifecycleHandler](annotations[AnnotationPreStop])
	return info
}

// Info reads the labels and annotations of the container.
func (c *Container) Info() ContainerInfo {
	return ParseContainer(c.GetLabels(), c.GetAnnotations())
}

// RestartCount is how often a container of this name had been restarted when
// this one was created.
func (c *Container) RestartCount() int { return restartCount(c.GetAnnotations()) }

// HashMatches reports whether the container was created from a definition with
// the same hash. A container without a readable hash matches: it is adopted,
// not restarted.
func (c *Container) HashMatches(spec *corev1.Container) bool {
	hash, ok := parseHash(c.GetAnnotations())
	return !ok || hash == ContainerHash(spec)
}

func restartCount(annotations map[string]string) int {
	count, err := strconv.Atoi(annotations[AnnotationRestartCount])
	if err != nil || count < 0 {
		return 0
	}
	return count
}

func parseHash(annotations map[string]string) (uint64, bool) {
	hash, err := strconv.ParseUint(annotations[AnnotationHash], 16, 64)
	return hash, err == nil
}

func parseSeconds(value string) *int64 {
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return nil
	}
	return &seconds
}

func parseJSON[T any](value string) T {
	var parsed, zero T
	if value == "" || json.Unmarshal([]byte(value), &parsed) != nil {
		return zero
	}
	return parsed
}
