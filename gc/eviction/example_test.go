package eviction_test

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/gc/eviction"
)

// full is a node of which nothing is left.
type full struct{}

func (full) Measure(context.Context) (map[eviction.Signal]eviction.Amount, error) {
	return map[eviction.Signal]eviction.Amount{eviction.MemoryAvailable: {Capacity: 1 << 30}}, nil
}

func (full) OwnImageFs(context.Context) bool { return false }

func (full) Usage(context.Context, []*corev1.Pod, bool) (map[types.UID]eviction.Usage, error) {
	return nil, nil
}

func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "1"}}
	evictor := eviction.New(full{}, full{}, eviction.Config{ // in earnest NewNode and NewStats
		Active: func() []*corev1.Pod { return []*corev1.Pod{pod} },
		Evict: func(_ context.Context, pod *corev1.Pod, why eviction.Eviction) error {
			fmt.Println(pod.Name, why.Reason+":", why.Message)
			cancel()
			return nil
		},
	})
	if err := evictor.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// web Evicted: The node was low on resource: memory. Threshold quantity: 100Mi, available: 0.
}
