package metatest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/metatest"
)

func Example() {
	dir, err := os.MkdirTemp("", "metatest")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	cloud := metatest.New()
	web := &corev1.Pod{}
	web.Namespace, web.Name, web.UID = "default", "web", "4711"
	cloud.Put(web)

	ctx, cancel := context.WithCancel(context.Background())
	meta, err := metaclient.Open(filepath.Join(dir, "meta.db"), cloud, metaclient.Config{
		OnPods: func(pods []*corev1.Pod, complete bool) {
			for _, pod := range pods {
				fmt.Println(pod.Name, "at version", pod.ResourceVersion)
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
	// Output: web at version 1
}
