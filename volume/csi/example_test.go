package csi_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/volume"
	"github.com/edged-project/edged/volume/csi"
)

// A pod's volume is of a driver that this node has declared, and that has not
// registered yet.
func Example() {
	plugin := csi.New(csi.Config{
		Root: "/var/lib/edged",
		Driver: func(name string) csi.DriverSpec {
			if name == "scratch.example.org" {
				return csi.DriverSpec{VolumeLifecycleModes: []csi.LifecycleMode{csi.Ephemeral}, PodInfoOnMount: true}
			}
			return csi.DriverSpec{}
		},
	})
	// The program has plugin.Run(ctx) in its errgroup, which registers drivers.

	v := &volume.Volume{
		Pod:  &corev1.Pod{},
		Spec: &corev1.Volume{Name: "scratch", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "scratch.example.org"}}},
		Dir:  "/var/lib/edged/pods/uid/volumes/kubernetes.io~csi/scratch",
	}
	if plugin.Serves(v) {
		_, err := plugin.Mount(context.Background(), v)
		fmt.Println(err)
	}
	// Output: CSI driver "scratch.example.org" is not registered on this node
}
