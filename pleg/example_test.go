package pleg_test

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/pleg"
)

func Example() {
	runtime := newFakeRuntime() // or what cri.Dial returns
	runtime.addPod("6f1c")

	changed := make(chan types.UID, 100)
	generator := pleg.New(runtime, pleg.Config{
		OnChange: func(uid types.UID) { changed <- uid },
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error)
	go func() { done <- generator.Run(ctx) }()

	uid := <-changed
	state, err := generator.State(ctx, uid, time.Time{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(state.Namespace, state.Name, state.IPs, "app runs:", state.Newest("app").Running())

	runtime.setContainer("6f1c", "s-6f1c", "c-6f1c", exited)
	state, err = generator.State(ctx, uid, time.Now()) // not older than now
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("app runs:", state.Newest("app").Running())

	cancel()
	fmt.Println(<-done)
	// Output:
	// ns pod-6f1c [10.0.0.1] app runs: true
	// app runs: false
	// <nil>
}
