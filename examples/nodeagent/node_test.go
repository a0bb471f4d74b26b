package main

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestTheNodeHasOneAddressOfEachFamily(t *testing.T) {
	for _, row := range []struct {
		name  string
		all   []string
		whole []string
	}{
		{"none", nil, nil},
		{"those that others cannot reach do not count", []string{"127.0.0.1", "::1", "169.254.1.2", "fe80::1"}, nil},
		{"the first counts", []string{"192.0.2.7", "10.88.0.1", "2001:db8::7", "2001:db8::8"}, []string{"192.0.2.7", "2001:db8::7"}},
		{"IPv6 may be first", []string{"2001:db8::7", "192.0.2.7", "2001:db8::7"}, []string{"2001:db8::7", "192.0.2.7"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var ips []net.IP
			for _, ip := range row.all {
				ips = append(ips, net.ParseIP(ip))
			}
			assert.Equal(t, row.whole, onePerFamily(ips))
		})
	}
}

// Each look at each pod asks for them, and the kernel is slow on a node with many pods.
func TestTheNodesAddressesAreFoundOnceForManyPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var there []string
		times := 0
		host := addresses{find: func() []string { times++; return there }}
		assert.Empty(t, host.ips())
		there = []string{"192.0.2.7"}
		for range 110 {
			assert.Equal(t, there, host.ips(), "that there are none is not remembered")
		}
		assert.Equal(t, 2, times)
		there = []string{"192.0.2.8"}
		time.Sleep(10 * time.Second)
		assert.Equal(t, there, host.ips())
	})
}

// As on a system of which nothing can be measured, to try the agent on.
func TestWhatCannotBeMeasuredHasNoLimit(t *testing.T) {
	allocatable := thisNode("n", "/nonexistent").Allocatable
	assert.NotContains(t, allocatable, corev1.ResourceEphemeralStorage)
	assert.Contains(t, allocatable, corev1.ResourceCPU)
}

func TestRuntimeHandlersAreReadFromTheCommandLine(t *testing.T) {
	var h handlers
	require.NoError(t, h.Set("gvisor=runsc,kata=kata-qemu"))
	assert.Equal(t, handlers{"gvisor": "runsc", "kata": "kata-qemu"}, h)
	assert.Equal(t, "gvisor=runsc,kata=kata-qemu", h.String())
	for _, bad := range []string{"", "gvisor", "gvisor=", "=runsc", "gvisor=runsc,"} {
		require.ErrorContains(t, h.Set(bad), "is not class=handler", bad)
	}
}
