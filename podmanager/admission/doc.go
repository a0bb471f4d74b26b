// Package admission decides whether a node takes a pod. It asks what the kubelet
// asks before it starts one, and refuses in the kubelet's words: OutOfcpu,
// NodePorts, NodeAffinity and so on. It is pure: the same question has the same
// answer, and nothing is kept.
//
//	node := admission.Node{
//		Name:        "edge-1",
//		Labels:      map[string]string{corev1.LabelOSStable: "linux"},
//		Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")},
//		OS:          runtime.GOOS,
//	}
//	manager := podmanager.New(syncer, podmanager.Config{
//		Admit: func(pod *corev1.Pod, admitted []*corev1.Pod) *podmanager.Rejection {
//			return admission.Check(pod, node, admitted)
//		},
//	})
//
// CheckResize asks the same of a pod that runs and whose resources were changed.
//
// # Guarantees
//
//   - What the admitted pods request never comes to more than Allocatable, if each
//     was checked with all that were admitted before it and have not ended.
//   - What is not known of the node is not held against a pod. Unsafe sysctls are
//     the exception: they have to be allowed.
//   - A quantity too big for 64 bits counts as the biggest that fits.
//
// # What it does not do
//
// It makes no room: no pod is preempted for a more important one. It does not know
// the pressure that the node is under, what device plugins have to give, or AppArmor
// profiles.
package admission
