package statusmgr_test

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/statusmgr"
)

// printer is an Updater that shows what it is told.
type printer struct{ done func() }

func (p printer) ReportPodStatus(_ context.Context, pod *corev1.Pod) error {
	s := statusmgr.Summarize(pod)
	fmt.Printf("%s %d/%d %s %d\n", pod.Name, s.Ready, s.Containers, s.Status, s.Restarts)
	p.done()
	return nil
}

func Example() {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "blinker", UID: "7f0c"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "led", Image: "example.org/led:1"}}},
	}
	state := &cri.PodState{Containers: []*cri.Container{{ContainerStatus: &runtimeapi.ContainerStatus{
		Id:          "c1",
		State:       runtimeapi.ContainerState_CONTAINER_EXITED,
		ExitCode:    1,
		Labels:      map[string]string{cri.LabelContainerName: "led"},
		Annotations: map[string]string{cri.AnnotationRestartCount: "2"},
	}}}}

	ctx, cancel := context.WithCancel(context.Background())
	statuses := statusmgr.New(printer{done: cancel}, statusmgr.Config{})
	statuses.Set(pod, statusmgr.Generate(statusmgr.Input{
		Pod:         pod,
		State:       state,
		Waiting:     map[string]corev1.ContainerStateWaiting{"led": {Reason: "CrashLoopBackOff"}},
		RuntimeName: "containerd",
		Now:         time.Now(),
	}))
	_ = statuses.Run(ctx)
	// Output: blinker 0/1 CrashLoopBackOff 2
}
