package volume_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edged-project/edged/volume"
)

func ExampleManager() {
	root, err := os.MkdirTemp("", "edged")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(root)
	ctx := context.Background()
	volumes := volume.New(nil, volume.Config{Root: root})

	pod := podWith("0b1c", emptyDir("cache"))
	paths, err := volumes.Mount(ctx, pod)
	if err != nil {
		fmt.Println(err)
		return
	}
	for name, path := range paths {
		path, _ = filepath.Rel(root, path)
		fmt.Println(name, "is at", path)
	}
	// The containers run, and end.
	if err := volumes.Unmount(ctx, pod.UID); err != nil {
		fmt.Println(err)
	}
	// Output:
	// cache is at pods/0b1c/volumes/kubernetes.io~empty-dir/cache
}
