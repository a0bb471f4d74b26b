package statusmgr_test

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/statusmgr"
)

// now is the time of every test that does not say otherwise.
var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// newPod builds a pod from words: "app" is a regular container, "init:x" an
// init container, "side:x" a sidecar, "debug:x" an ephemeral container.
func newPod(policy corev1.RestartPolicy, words ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u1", Generation: 1},
		Spec:       corev1.PodSpec{RestartPolicy: policy},
	}
	for _, word := range words {
		kind, name, found := strings.Cut(word, ":")
		if !found {
			kind, name = "", word
		}
		c := corev1.Container{Name: name, Image: "example.org/" + name + ":1"}
		switch kind {
		case "init":
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
		case "side":
			c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
		case "debug":
			pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, corev1.EphemeralContainer{
				EphemeralContainerCommon: corev1.EphemeralContainerCommon(c),
			})
		default:
			pod.Spec.Containers = append(pod.Spec.Containers, c)
		}
	}
	return pod
}

func named(pod *corev1.Pod, namespace, name, uid string) *corev1.Pod {
	pod.Namespace, pod.Name, pod.UID = namespace, name, types.UID(uid)
	return pod
}

// run builds one run of a container from a line like "app#2 exited 1": the
// restart count behind the '#', then the state, then the exit code, then the reason
// if it does not follow from that. Its ID is "app-2".
func run(line string) *cri.Container {
	var (
		name, state     string
		attempt, code   int
		started, ended  int64
		criState        runtimeapi.ContainerState
		reason, message string
	)
	fields := strings.Fields(line)
	name, count, _ := strings.Cut(fields[0], "#")
	_, _ = fmt.Sscan(count, &attempt)
	state = fields[1]
	created := now.Add(-time.Hour + time.Duration(attempt)*time.Minute)
	switch state {
	case "running":
		criState, started = runtimeapi.ContainerState_CONTAINER_RUNNING, created.UnixNano()+1500
	case "exited":
		criState, started, ended = runtimeapi.ContainerState_CONTAINER_EXITED, created.UnixNano()+1500, created.Add(30*time.Second).UnixNano()+1500
		_, _ = fmt.Sscan(fields[2], &code)
		reason = "Completed"
		if code != 0 {
			reason, message = "Error", "it broke"
		}
		if len(fields) > 3 {
			reason = fields[3]
		}
	case "created":
		criState = runtimeapi.ContainerState_CONTAINER_CREATED
	case "unknown":
		criState = runtimeapi.ContainerState_CONTAINER_UNKNOWN
	default:
		panic("no such state: " + line)
	}
	return &cri.Container{SandboxID: "sandbox-0", ContainerStatus: &runtimeapi.ContainerStatus{
		Id:          fmt.Sprintf("%s-%d", name, attempt),
		Metadata:    &runtimeapi.ContainerMetadata{Name: name, Attempt: uint32(attempt)},
		State:       criState,
		CreatedAt:   created.UnixNano(),
		StartedAt:   started,
		FinishedAt:  ended,
		ExitCode:    int32(code),
		Reason:      reason,
		Message:     message,
		Image:       &runtimeapi.ImageSpec{Image: "registry.example/" + name + ":1"},
		ImageRef:    "sha256:" + name,
		Labels:      map[string]string{cri.LabelContainerName: name},
		Annotations: map[string]string{cri.AnnotationRestartCount: fmt.Sprint(attempt)},
	}}
}

// observed is a pod with one ready sandbox and these runs of its containers.
func observed(lines ...string) *cri.PodState {
	state := &cri.PodState{
		UID: "u1", Namespace: "shop", Name: "web",
		Sandboxes: []*runtimeapi.PodSandboxStatus{sandbox(0, "10.0.0.5")},
		IPs:       []string{"10.0.0.5"},
	}
	for _, line := range lines {
		state.Containers = append(state.Containers, run(line))
	}
	state.Sort()
	return state
}

// sandbox is a ready sandbox with these addresses.
func sandbox(attempt uint32, ips ...string) *runtimeapi.PodSandboxStatus {
	s := &runtimeapi.PodSandboxStatus{
		Id:       fmt.Sprintf("sandbox-%d", attempt),
		Metadata: &runtimeapi.PodSandboxMetadata{Attempt: attempt},
		State:    runtimeapi.PodSandboxState_SANDBOX_READY,
		Network:  &runtimeapi.PodSandboxNetworkStatus{},
	}
	for i, ip := range ips {
		if i == 0 {
			s.Network.Ip = ip
			continue
		}
		s.Network.AdditionalIps = append(s.Network.AdditionalIps, &runtimeapi.PodIP{Ip: ip})
	}
	return s
}

func hostSandbox() *runtimeapi.PodSandboxStatus {
	return onNetwork(sandbox(0), runtimeapi.NamespaceMode_NODE)
}

// ownSandbox is a sandbox of a runtime that tells that it has its own network.
func ownSandbox(ip string) *runtimeapi.PodSandboxStatus {
	return onNetwork(sandbox(0, ip), runtimeapi.NamespaceMode_POD)
}

func onNetwork(s *runtimeapi.PodSandboxStatus, mode runtimeapi.NamespaceMode) *runtimeapi.PodSandboxStatus {
	s.Linux = &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{
		Options: &runtimeapi.NamespaceOption{Network: mode},
	}}
	return s
}

func stopped(s *runtimeapi.PodSandboxStatus) *runtimeapi.PodSandboxStatus {
	s.State = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	return s
}

// input is the pod as observed on a node.
func input(pod *corev1.Pod, state *cri.PodState) statusmgr.Input {
	return statusmgr.Input{
		Pod: pod, State: state, RuntimeName: "containerd", HostIPs: []string{"192.0.2.7"}, Now: now,
	}
}

// then generates the status of what came next.
func then(previous corev1.PodStatus, in statusmgr.Input) corev1.PodStatus {
	in.Previous = previous
	return statusmgr.Generate(in)
}

func waiting(name, reason string) map[string]corev1.ContainerStateWaiting {
	return map[string]corev1.ContainerStateWaiting{name: {Reason: reason, Message: "because of " + reason}}
}

func container(status corev1.PodStatus, name string) corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{
		status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses,
	} {
		for _, c := range list {
			if c.Name == name {
				return c
			}
		}
	}
	return corev1.ContainerStatus{}
}

func condition(status corev1.PodStatus, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}
