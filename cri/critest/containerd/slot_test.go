//go:build linux

package containerd

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// rules are what iptables-save prints with a host port in each of two networks.
const rules = `*nat
:PREROUTING ACCEPT [0:0]
:CNI-DN-1111 - [0:0]
:CNI-DN-2222 - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-DN-1111 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.213.1.2:80
-A CNI-DN-2222 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 10.213.12.2:80
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"edged-e2e-1\" id: \"aaaa\"" -m multiport --dports 8080 -j CNI-DN-1111
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"edged-e2e-12\" id: \"bbbb\"" -m multiport --dports 8081 -j CNI-DN-2222
COMMIT
`

func TestHostPortRulesOfOneNetworkAreRemoved(t *testing.T) {
	assert.Equal(t, `*nat
-D CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \"edged-e2e-1\" id: \"aaaa\"" -m multiport --dports 8080 -j CNI-DN-1111
-F CNI-DN-1111
-X CNI-DN-1111
COMMIT
`, removeHostPorts(rules, "edged-e2e-1"))
}

func TestNoHostPortRulesNoRemoval(t *testing.T) {
	assert.Empty(t, removeHostPorts(rules, "edged-e2e-2"))
	assert.Empty(t, removeHostPorts("", "edged-e2e-1"))
}
