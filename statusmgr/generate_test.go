package statusmgr_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/statusmgr"
)

func TestStartTimeIsSetOnce(t *testing.T) {
	pod := newPod(always, "app")
	in := input(pod, nil)
	in.Now = now.Add(123 * time.Millisecond)
	first := statusmgr.Generate(in)
	assert.Equal(t, now, first.StartTime.Time, "in whole seconds")

	in.Now = now.Add(time.Hour)
	assert.Equal(t, first.StartTime, then(first, in).StartTime)

	pod.Status.StartTime = &metav1.Time{Time: now.Add(-time.Hour)}
	assert.Equal(t, now.Add(-time.Hour), statusmgr.Generate(in).StartTime.Time, "upstream knows it after an agent's restart")
}

func TestStoredStatusStandsInForThePrevious(t *testing.T) {
	pod := newPod(always, "app")
	pod.Status = statusmgr.Generate(input(pod, observed("app#5 running")))
	c := container(statusmgr.Generate(input(pod, observed())), "app")
	assert.EqualValues(t, 6, c.RestartCount)
	assert.NotNil(t, c.LastTerminationState.Terminated)
}

func TestWhatUpstreamAloneDecidesIsKept(t *testing.T) {
	pod := newPod(always, "app")
	pod.Status.NominatedNodeName = "elsewhere"
	pod.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "gpu"}}
	status := then(corev1.PodStatus{Phase: running}, input(pod, observed("app#0 running")))
	assert.Equal(t, "elsewhere", status.NominatedNodeName)
	assert.Equal(t, pod.Status.ResourceClaimStatuses, status.ResourceClaimStatuses)
}

func TestTimesAreInWholeSeconds(t *testing.T) {
	in := input(newPod(always, "app"), observed("app#0 exited 1", "app#1 running"))
	in.Now = now.Add(7)
	status := statusmgr.Generate(in)
	c := container(status, "app")
	for _, time := range []metav1.Time{
		*status.StartTime, condition(status, corev1.PodReady).LastTransitionTime, c.State.Running.StartedAt,
		c.LastTerminationState.Terminated.StartedAt, c.LastTerminationState.Terminated.FinishedAt,
	} {
		assert.Zero(t, time.Nanosecond())
	}
}

func TestResultSharesNoMemoryWithTheInput(t *testing.T) {
	pod := newPod(always, "init:i", "app", "debug:d")
	pod.Status = statusmgr.Generate(input(pod, observed("app#1 exited 1", "app#0 exited 1")))
	pod.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "gpu"}}
	previous := then(pod.Status, input(pod, observed("app#1 exited 1", "app#0 exited 1")))
	in := input(pod, nil)
	in.Previous = previous
	podBefore, previousBefore := pod.DeepCopy(), previous.DeepCopy()

	status := statusmgr.Generate(in)
	status.StartTime.Time = time.Time{}
	status.ResourceClaimStatuses[0].Name = "changed"
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses} {
		_ = append(list[:0], corev1.ContainerStatus{Name: "changed"})
	}
	for i := range status.Conditions {
		status.Conditions[i].Type = "changed"
	}
	assert.Equal(t, podBefore, pod)
	assert.Equal(t, *previousBefore, previous)

	status = statusmgr.Generate(in)
	status.ContainerStatuses[0].State.Terminated.ExitCode = 99
	status.ContainerStatuses[0].LastTerminationState.Terminated.ExitCode = 99
	assert.Equal(t, *previousBefore, previous)
}

func TestAddresses(t *testing.T) {
	type ips = []string
	tests := map[string]struct {
		hosts, sandbox, previousHosts, previousPods ips
		hostNetwork, unobserved                     bool
		wantHosts, wantPods                         ips
	}{
		"one of each":                                 {hosts: ips{"192.0.2.7"}, sandbox: ips{"10.0.0.5"}, wantHosts: ips{"192.0.2.7"}, wantPods: ips{"10.0.0.5"}},
		"both families":                               {hosts: ips{"192.0.2.7", "2001:db8::7"}, sandbox: ips{"10.0.0.5", "fd00::5"}, wantHosts: ips{"192.0.2.7", "2001:db8::7"}, wantPods: ips{"10.0.0.5", "fd00::5"}},
		"the node's primary family first":             {hosts: ips{"2001:db8::7", "192.0.2.7"}, sandbox: ips{"10.0.0.5", "fd00::5"}, wantHosts: ips{"2001:db8::7", "192.0.2.7"}, wantPods: ips{"fd00::5", "10.0.0.5"}},
		"at most one a family":                        {hosts: ips{"192.0.2.7", "192.0.2.8"}, sandbox: ips{"10.0.0.5", "10.0.0.6", "fd00::5", "fd00::6"}, wantHosts: ips{"192.0.2.7"}, wantPods: ips{"10.0.0.5", "fd00::5"}},
		"what is no address is left out":              {hosts: ips{"node", "192.0.2.7"}, sandbox: ips{"", "10.0.0.500", "fe80::1%eth0"}, wantHosts: ips{"192.0.2.7"}},
		"mapped addresses are IPv4":                   {hosts: ips{"192.0.2.7"}, sandbox: ips{"::ffff:10.0.0.5", "10.0.0.6"}, wantHosts: ips{"192.0.2.7"}, wantPods: ips{"10.0.0.5"}},
		"kept when the sandbox has none any more":     {hosts: ips{"192.0.2.7"}, previousPods: ips{"10.0.0.5"}, wantHosts: ips{"192.0.2.7"}, wantPods: ips{"10.0.0.5"}},
		"kept before the first look":                  {hosts: ips{"192.0.2.7"}, previousPods: ips{"10.0.0.5"}, unobserved: true, wantHosts: ips{"192.0.2.7"}, wantPods: ips{"10.0.0.5"}},
		"replaced by those of a new sandbox":          {hosts: ips{"192.0.2.7"}, previousPods: ips{"10.0.0.5"}, sandbox: ips{"10.0.0.9"}, wantHosts: ips{"192.0.2.7"}, wantPods: ips{"10.0.0.9"}},
		"the node's are kept while it has no network": {previousHosts: ips{"192.0.2.7"}, sandbox: ips{"10.0.0.5"}, wantHosts: ips{"192.0.2.7"}, wantPods: ips{"10.0.0.5"}},
		"host network: the node's":                    {hosts: ips{"192.0.2.7", "2001:db8::7"}, hostNetwork: true, wantHosts: ips{"192.0.2.7", "2001:db8::7"}, wantPods: ips{"192.0.2.7", "2001:db8::7"}},
		"host network: only the missing one is added": {hosts: ips{"192.0.2.8", "2001:db8::7"}, hostNetwork: true, previousPods: ips{"192.0.2.7"}, wantHosts: ips{"192.0.2.8", "2001:db8::7"}, wantPods: ips{"192.0.2.7", "2001:db8::7"}},
		"none known":                                  {},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := newPod(always, "app")
			pod.Spec.HostNetwork = test.hostNetwork
			in := input(pod, observed())
			in.State.IPs = test.sandbox
			if test.unobserved {
				in.State = nil
			}
			in.HostIPs = test.hosts
			in.Previous = corev1.PodStatus{Phase: running}
			for _, ip := range test.previousHosts {
				in.Previous.HostIPs = append(in.Previous.HostIPs, corev1.HostIP{IP: ip})
			}
			for _, ip := range test.previousPods {
				in.Previous.PodIPs = append(in.Previous.PodIPs, corev1.PodIP{IP: ip})
			}
			status := statusmgr.Generate(in)

			var hosts, pods ips
			for _, ip := range status.HostIPs {
				hosts = append(hosts, ip.IP)
			}
			for _, ip := range status.PodIPs {
				pods = append(pods, ip.IP)
			}
			assert.Equal(t, test.wantHosts, hosts)
			assert.Equal(t, test.wantPods, pods)
			assert.Equal(t, first(test.wantHosts), status.HostIP)
			assert.Equal(t, first(test.wantPods), status.PodIP)
		})
	}
}

func first(ips []string) string {
	if len(ips) == 0 {
		return ""
	}
	return ips[0]
}

func TestPodKeepsItsAddressInTheFinalStatus(t *testing.T) {
	pod := newPod(never, "app")
	before := statusmgr.Generate(input(pod, observed("app#0 running")))
	in := input(pod, &cri.PodState{})
	in.Finished = true
	final := then(before, in)
	assert.Equal(t, "10.0.0.5", final.PodIP)
	assert.Equal(t, []corev1.PodIP{{IP: "10.0.0.5"}}, final.PodIPs)
}

func TestQOSClass(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		l := corev1.ResourceList{}
		if cpu != "" {
			l[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		if memory != "" {
			l[corev1.ResourceMemory] = resource.MustParse(memory)
		}
		return l
	}
	type resources = corev1.ResourceRequirements
	full := resources{Requests: list("1", "1Gi"), Limits: list("1", "1Gi")}
	tests := map[string]struct {
		app, init resources
		whole     *resources
		want      corev1.PodQOSClass
	}{
		"nothing asked for":                    {want: corev1.PodQOSBestEffort},
		"zero is nothing":                      {app: resources{Requests: list("0", "0")}, want: corev1.PodQOSBestEffort},
		"zero limits are nothing":              {app: resources{Limits: list("0", "0")}, want: corev1.PodQOSBestEffort},
		"other resources do not count":         {app: resources{Limits: corev1.ResourceList{"example.org/gpu": resource.MustParse("1")}}, want: corev1.PodQOSBestEffort},
		"limits equal requests everywhere":     {app: full, init: full, want: corev1.PodQOSGuaranteed},
		"the same amount, written otherwise":   {app: resources{Requests: list("1000m", "1024Mi"), Limits: list("1", "1Gi")}, init: full, want: corev1.PodQOSGuaranteed},
		"a request of zero is no limit":        {app: resources{Requests: list("0", "1Gi"), Limits: list("1", "1Gi")}, init: full, want: corev1.PodQOSBurstable},
		"missing requests are the limits":      {app: resources{Limits: list("1", "1Gi")}, init: full, want: corev1.PodQOSGuaranteed},
		"one container asks for nothing":       {app: full, want: corev1.PodQOSBurstable},
		"only requests":                        {app: resources{Requests: list("1", "1Gi")}, init: full, want: corev1.PodQOSBurstable},
		"no memory limit":                      {app: resources{Limits: list("1", "")}, init: full, want: corev1.PodQOSBurstable},
		"limits above requests":                {app: resources{Requests: list("1", "1Gi"), Limits: list("2", "1Gi")}, init: full, want: corev1.PodQOSBurstable},
		"only the init container asks":         {init: full, want: corev1.PodQOSBurstable},
		"the pod as a whole decides":           {whole: &full, want: corev1.PodQOSGuaranteed},
		"the pod as a whole, less than enough": {app: full, init: full, whole: &resources{Requests: list("1", "")}, want: corev1.PodQOSBurstable},
		"empty resources of the whole":         {app: full, init: full, whole: &resources{}, want: corev1.PodQOSGuaranteed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := newPod(always, "init:i", "app")
			pod.Spec.Containers[0].Resources = test.app
			pod.Spec.InitContainers[0].Resources = test.init
			pod.Spec.Resources = test.whole
			assert.Equal(t, test.want, statusmgr.Generate(input(pod, nil)).QOSClass)
		})
	}
}
