package critest

import "net/netip"

// addressPool hands out the addresses of a range one after the other, as the
// CNI plugin host-local does: one that was given back is not used again before
// the others have been.
type addressPool struct {
	prefix netip.Prefix
	last   netip.Addr
	used   map[netip.Addr]bool
}

// newAddressPool keeps the first two addresses for the network and its gateway.
func newAddressPool(prefix netip.Prefix) addressPool {
	prefix = prefix.Masked()
	network := prefix.Addr()
	return addressPool{prefix: prefix, last: network, used: map[netip.Addr]bool{network: true, network.Next(): true}}
}

// take returns a free address, and false when there is none.
func (p *addressPool) take() (netip.Addr, bool) {
	candidate := p.last
	for {
		candidate = candidate.Next()
		if !p.prefix.Contains(candidate) {
			candidate = p.prefix.Addr()
		}
		if !p.used[candidate] {
			p.used[candidate] = true
			p.last = candidate
			return candidate, true
		}
		if candidate == p.last {
			return netip.Addr{}, false
		}
	}
}

func (p *addressPool) release(address netip.Addr) { delete(p.used, address) }
