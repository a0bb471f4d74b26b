//go:build linux && e2e

package conformance_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/conformance"
	"github.com/edged-project/edged/cri/critest/containerd"
)

func TestContainerd(t *testing.T) {
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			daemon := containerd.Start(t, version)
			conformance.Run(t, conformance.Target{
				Image:           containerd.Busybox,
				DisposableImage: containerd.BusyboxEdited,
				MissingImage:    containerd.Missing,
				Connect:         func(t *testing.T) conformance.Runtime { return connect(t, daemon) },
			})
		})
	}
}

func connect(t *testing.T, daemon *containerd.Daemon) conformance.Runtime {
	client, err := cri.Dial(t.Context(), daemon.Endpoint(), cri.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close(t.Context())) })
	return conformance.Runtime{
		Runtime: client,
		Images:  client,
		LogDir:  t.TempDir(),
		Restart: func(away time.Duration) {
			daemon.Kill()
			time.Sleep(away)
			daemon.Restart()
		},
		Reboot: daemon.Reboot,
	}
}
