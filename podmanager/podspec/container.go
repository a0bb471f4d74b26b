package podspec

import (
	"fmt"
	"strings"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/crilog"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ContainerOptions is what a container's configuration needs beside the pod.
// Only Image is required.
type ContainerOptions struct {
	// RestartCount is how often a container of this name has been restarted.
	RestartCount int
	// Image is the container's image as the runtime reports it: its ID and user.
	Image *runtimeapi.Image
	// TargetContainerID is the container whose processes an ephemeral container
	// with a targetContainerName sees.
	TargetContainerID string

	// PodIPs are the addresses of the pod's sandbox, the primary one first.
	// They are empty on the host's network.
	PodIPs []string
	// HostIPs are the addresses of the node, the primary one first.
	HostIPs []string
	// NodeName is the node's name for pods that were not scheduled by anybody.
	NodeName string

	// ConfigMaps and Secrets are those of the pod's namespace that EnvObjects
	// names, by name. What is not here does not exist.
	ConfigMaps map[string]*corev1.ConfigMap
	Secrets    map[string]*corev1.Secret
	// Services are at least those of the pod's namespace and "kubernetes" of the
	// default namespace, with which the environment tells where they are. Those
	// of other namespaces are skipped.
	Services []*corev1.Service

	// Mounts is where the pod's volumes are on the host, by name.
	Mounts map[string]string
	// SubPaths is where the parts of volumes that SubPaths names are on the host, by
	// the index of the container's mount.
	SubPaths map[int]string
	// ImageVolumes are the images of the pod's volumes of that kind as the runtime
	// reports them, by the name of the volume.
	ImageVolumes map[string]*runtimeapi.Image
	// VolumeGroups are the groups that the container needs for its volumes.
	VolumeGroups []int64
	// Devices is where the pod's block volumes are on the host, by name.
	Devices map[string]string
	// HostsFile is the file on the host with the content of HostsFile, mounted as
	// /etc/hosts. Empty mounts none.
	HostsFile string
	// TermMessageFile is an empty file on the host, mounted where the container
	// writes its termination message. Empty mounts none.
	TermMessageFile string

	// MemoryCapacity is the node's memory in bytes, of which a container's
	// request is a share when the kernel looks for a victim (OOM score).
	MemoryCapacity int64
	// Allocatable is what the node has for pods: the value of limits that the
	// environment refers to and the container does not have.
	Allocatable corev1.ResourceList
	// HugePageSizes are the node's sizes of huge pages as the kernel's cgroups
	// spell them ("2MB", "1GB"). Containers get none of a size without a limit.
	HugePageSizes []string
	// CgroupV2 says that the node has the unified hierarchy: then the kernel
	// kills all processes of a container that is out of memory, not one.
	CgroupV2 bool

	// SeccompRoot is the directory of Localhost seccomp profiles.
	SeccompRoot string
	// SeccompDefault gives containers that name no seccomp profile the runtime's
	// default instead of none.
	SeccompDefault bool
	// MaskedPaths are what containers do not see on this node beside the paths
	// that none sees, unless their procMount is Unmasked. The kubelet masks
	// /sys/devices/system/cpu/cpu<n>/thermal_throttle where it exists.
	MaskedPaths []string
	// RecursiveReadOnly says that the runtime can mount recursively read-only.
	RecursiveReadOnly bool
	// StrictGroups says that the runtime can do without the groups that the image has
	// for the user, as the supplementalGroupsPolicy Strict wants it.
	StrictGroups bool
}

// Container returns the configuration of a container of the pod: regular,
// init or ephemeral (its EphemeralContainerCommon, converted). The result is
// the caller's. Errors are *Error.
func Container(pod *corev1.Pod, container *corev1.Container, opts ContainerOptions) (*runtimeapi.ContainerConfig, error) {
	config, err := containerConfig(pod, locate(pod, container), opts)
	if err != nil {
		return nil, &Error{Reason: ReasonContainerConfig, Err: err}
	}
	return config, nil
}

func containerConfig(pod *corev1.Pod, c located, opts ContainerOptions) (*runtimeapi.ContainerConfig, error) {
	if opts.Image.GetId() == "" {
		return nil, fmt.Errorf("image %q of container %q is not resolved", c.Image, c.Name)
	}
	if err := unsupportedInContainer(c); err != nil {
		return nil, err
	}
	env, err := environment(pod, c, opts)
	if err != nil {
		return nil, err
	}
	mounts, err := mounts(pod, c, opts)
	if err != nil {
		return nil, err
	}
	devices, err := devices(pod, c, opts)
	if err != nil {
		return nil, err
	}
	security, err := containerSecurity(pod, c, opts)
	if err != nil {
		return nil, err
	}
	resources, err := containerResources(pod, c, opts)
	if err != nil {
		return nil, err
	}
	stop, err := stopSignal(c)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: uint32(max(opts.RestartCount, 0))},
		Image:       &runtimeapi.ImageSpec{Image: opts.Image.GetId(), UserSpecifiedImage: c.Image},
		Command:     expandAll(c.Command, env.lookup),
		Args:        expandAll(c.Args, env.lookup),
		WorkingDir:  c.WorkingDir,
		Envs:        env.keyValues(),
		Mounts:      mounts,
		Devices:     devices,
		Labels:      cri.ContainerLabels(pod, c.Name),
		Annotations: cri.ContainerAnnotations(pod, c.Container, opts.RestartCount),
		LogPath:     crilog.ContainerPath(c.Name, opts.RestartCount),
		Stdin:       c.Stdin,
		StdinOnce:   c.StdinOnce,
		Tty:         c.TTY,
		StopSignal:  stop,
		Linux:       &runtimeapi.LinuxContainerConfig{Resources: resources, SecurityContext: security},
	}, nil
}

// stopSignal is the signal that replaces the image's own. Runtimes older than
// the field go on sending the image's.
func stopSignal(c located) (runtimeapi.Signal, error) {
	if c.Lifecycle == nil || c.Lifecycle.StopSignal == nil {
		return runtimeapi.Signal_SIGNAL_RUNTIME_DEFAULT, nil
	}
	name := string(*c.Lifecycle.StopSignal)
	signal, known := runtimeapi.Signal_value["SIGNAL_"+strings.NewReplacer("+", "PLUS", "-", "MINUS").Replace(name)]
	if !known {
		return 0, fmt.Errorf("%s: unknown signal %q", c.path.Child("lifecycle", "stopSignal"), name)
	}
	return runtimeapi.Signal(signal), nil
}
