package gc_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/gc"
)

// A pod that crashed twice keeps the newest of its dead containers; the
// container of a pod that was deleted goes.
func ExampleContainers() {
	labels := func(uid types.UID) map[string]string {
		pod := &corev1.Pod{}
		pod.UID = uid
		return cri.ContainerLabels(pod, "app")
	}
	runtime := &fakeRuntime{containers: []*runtimeapi.Container{ // a *cri.Client in earnest
		{Id: "first crash", State: runtimeapi.ContainerState_CONTAINER_EXITED, CreatedAt: 1, Labels: labels("crashing")},
		{Id: "second crash", State: runtimeapi.ContainerState_CONTAINER_EXITED, CreatedAt: 2, Labels: labels("crashing")},
		{Id: "now running", State: runtimeapi.ContainerState_CONTAINER_RUNNING, CreatedAt: 3, Labels: labels("crashing")},
		{Id: "of a deleted pod", State: runtimeapi.ContainerState_CONTAINER_EXITED, CreatedAt: 4, Labels: labels("deleted")},
	}}
	containers := gc.NewContainers(runtime, gc.ContainersConfig{
		Removed:       func(uid types.UID) bool { return uid == "deleted" },
		PodLogs:       "/nonexistent/pods",
		ContainerLogs: "/nonexistent/containers",
	})
	if err := containers.Collect(context.Background()); err != nil {
		fmt.Println(err)
	}
	for _, container := range runtime.containers {
		fmt.Println("left:", container.GetId())
	}
	// Output:
	// left: second crash
	// left: now running
}

// The disk is full: of the images that no container has, as many go as it takes.
func ExampleImages() {
	disk := newImageDisk() // a *cri.Client in earnest
	for _, id := range []string{"base", "old", "older"} {
		disk.add(id, 100, 100)
	}
	disk.use("a container", "base")
	disk.fill(600)
	images := gc.NewImages(disk, gc.ImagesConfig{
		HighThresholdPercent: 90,
		LowThresholdPercent:  80,
		MinAge:               -1, // however new they are
		Wanted:               func() []string { return []string{"older:1"} },
		DiskOf:               disk.disk, // the kernel's answer in earnest
	})
	if err := images.Collect(context.Background()); err != nil {
		fmt.Println(err)
	}
	fmt.Println("left:", disk.left())
	// Output:
	// left: base older
}
