package pleg

import "context"

// Relist makes one listing of all pods, for the benchmark.
func (g *Generator) Relist(ctx context.Context) { g.relist(ctx) }
