package podmanager

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// gate keeps, for each full name, the UIDs that go by it in the order of their
// turn. Only the first may start: names are unique in Kubernetes, and two pods of
// one name would meet in their network, host ports and log directories.
type gate map[string][]types.UID

// join puts uid at the end, if it has no place yet.
func (g gate) join(name string, uid types.UID) {
	if !slices.Contains(g[name], uid) {
		g[name] = append(g[name], uid)
	}
}

// joinFirst is for what runs already.
func (g gate) joinFirst(name string, uid types.UID) {
	g.leave(name, uid)
	g[name] = slices.Insert(g[name], 0, uid)
}

func (g gate) first(name string, uid types.UID) bool {
	return len(g[name]) > 0 && g[name][0] == uid
}

// leave takes uid out of the queue and returns who is first then, if anybody.
func (g gate) leave(name string, uid types.UID) (types.UID, bool) {
	g[name] = slices.DeleteFunc(g[name], func(u types.UID) bool { return u == uid })
	if len(g[name]) == 0 {
		delete(g, name)
		return "", false
	}
	return g[name][0], true
}
