package crilog_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edged-project/edged/cri/crilog"
)

// The last line of a log, as kubectl logs --tail=1 --timestamps gives it.
func ExampleRead() {
	dir, err := os.MkdirTemp("", "log")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "0.log")
	entries := "2026-01-02T03:04:05.6Z stdout F one\n2026-01-02T03:04:06Z stdout P t\n2026-01-02T03:04:07Z stdout F wo\n"
	if err := os.WriteFile(path, []byte(entries), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	if err := crilog.Read(context.Background(), path, crilog.Options{Tail: new(int64(1)), Timestamps: true}, os.Stdout, os.Stderr); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 2026-01-02T03:04:06.000000000Z two
}
