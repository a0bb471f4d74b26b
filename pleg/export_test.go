package pleg

import "context"

// Relist makes one listing of all pods, for the benchmark.
func (g *Generator) Relist(ctx context.Context) { g.relist(ctx) }

// Held is how many pods something is held of.
func (g *Generator) Held() int {
	g.cache.mu.Lock()
	defer g.cache.mu.Unlock()
	return len(g.cache.pods) + len(g.cache.suspects) + len(g.cache.queue)
}
