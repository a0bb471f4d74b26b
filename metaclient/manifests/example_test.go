package manifests_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/manifests"
)

func Example() {
	dir, err := os.MkdirTemp("", "manifests")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	manifest := `
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: main
    image: example.test/web:1
    prot: 80
`
	if err := os.WriteFile(filepath.Join(dir, "web.yaml"), []byte(manifest), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	ctx, cancel := context.WithCancel(context.Background())
	src := manifests.New(dir, manifests.Config{
		NodeName:  "edge-1",
		OnProblem: func(p manifests.Problem) { fmt.Println(p) },
	})
	meta, err := metaclient.Open(filepath.Join(dir, "meta.db"), src, metaclient.Config{
		OnPods: func(pods []*corev1.Pod, _ bool) {
			for _, pod := range pods {
				fmt.Println(pod.Namespace, pod.Name, pod.UID, pod.Spec.NodeName)
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
	// Output:
	// web.yaml (document 1): Pod default/web: spec.containers[0].prot: unknown field
	// default web 9ccb822baa050d2a7a893c68d8ca5cb4 edge-1
}
