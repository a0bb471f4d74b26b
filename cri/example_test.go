package cri_test

import (
	"context"
	"fmt"

	"github.com/edged-project/edged/cri"
)

func ExampleDial() {
	ctx := context.Background()
	endpoint, err := cri.DetectEndpoint(ctx)
	if err != nil {
		fmt.Println(err) // lists the sockets that were tried
		return
	}
	client, err := cri.Dial(ctx, endpoint, cri.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close(ctx)
	fmt.Println(client.RuntimeName())
}
