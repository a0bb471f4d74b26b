package probe

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A connection that lingers is given up after a second instead of holding its port for
// a minute.
func TestConnectionsLingerForASecond(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	conn, err := dial(t.Context(), "tcp", listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	var linger *unix.Linger
	var failure error
	require.NoError(t, raw.Control(func(fd uintptr) {
		linger, failure = unix.GetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER)
	}))
	require.NoError(t, failure)
	assert.Equal(t, unix.Linger{Onoff: 1, Linger: 1}, *linger)
}
