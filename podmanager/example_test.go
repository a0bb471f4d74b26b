package podmanager_test

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/podmanager"
)

// printing is a runtime that runs nothing but words.
type printing struct{ synced chan struct{} }

func (p printing) Sync(_ context.Context, pod *corev1.Pod) (podmanager.Result, error) {
	fmt.Println("sync", pod.Name)
	p.synced <- struct{}{}
	return podmanager.Result{}, nil
}

func (p printing) Kill(_ context.Context, pod *corev1.Pod, grace time.Duration) error {
	fmt.Println("kill", pod.Name, "within", grace)
	return nil
}

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	runtime := printing{synced: make(chan struct{})}
	m := podmanager.New(runtime, podmanager.Config{
		OnRemoved: func(pod *corev1.Pod) {
			fmt.Println("gone", pod.Name)
			stop()
		},
	})

	web := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "1"}}
	m.Replace([]*corev1.Pod{web})
	go func() {
		<-runtime.synced
		m.Wake(web.UID)
		<-runtime.synced
		m.Delete(web.UID)
	}()
	fmt.Println(m.Run(ctx))
	// Output:
	// sync web
	// sync web
	// kill web within 30s
	// gone web
	// <nil>
}
