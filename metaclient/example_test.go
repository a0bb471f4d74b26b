package metaclient_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/metaclient"
)

// cloud is a control plane of your own. This one wants a single pod, for ever.
type cloud struct{}

func (cloud) Watch(ctx context.Context, sink metaclient.Sink) error {
	web := &corev1.Pod{}
	web.Namespace, web.Name, web.UID = "default", "web", "4711"
	if err := sink.Pods(ctx, []*corev1.Pod{web}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func Example() {
	dir, err := os.MkdirTemp("", "metaclient")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(context.Background())

	meta, err := metaclient.Open(filepath.Join(dir, "meta.db"), cloud{}, metaclient.Config{
		OnPods: func(pods []*corev1.Pod, complete bool) {
			for _, pod := range pods {
				fmt.Println(pod.Namespace, pod.Name, "complete:", complete)
				cancel()
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer meta.Close()
	if err := meta.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: default web complete: true
}
