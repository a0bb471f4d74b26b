//go:build race

package main

import "runtime"

// Two timers that run at the same moment in one bubble crash the race detector
// (golang/go#78156): the runtime runs them on two threads in one race context. These
// tests connect and disconnect all the time, and each connection in memory starts
// timers of no length. One processor at a time avoids it; races are found all the
// same, as the detector goes by what happens before what.
func init() { runtime.GOMAXPROCS(1) }
