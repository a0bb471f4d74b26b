package conformance

import (
	"fmt"
	"strings"
	"time"
)

// Tick is what a Program with Every prints, a line each time.
const Tick = "tick"

// Program is what a process does: that of a container, or one executed in it. It can be run by a shell (see Command)
// as well as imitated. The zero value ends at once with code 0.
type Program struct {
	// Out and Err are printed to stdout and stderr at the start, as they are, without a newline added.
	Out, Err string
	// Every, when not 0, prints a line with Tick to stdout over and over, with this pause after each. It goes with
	// Lasts Forever only.
	Every time.Duration
	// Lasts is how long it then goes on, or Forever.
	Lasts time.Duration
	// ExitCode is that of its end.
	ExitCode int
	// OnTerm makes it end at once with code TermCode when it gets SIGTERM. Without it the signal does nothing, as for
	// any first process of a namespace that asks for nothing else.
	OnTerm   bool
	TermCode int
	// Missing means that there is no such program: it cannot be started.
	Missing bool
}

// Forever is the time that a Program lasts that does not end by itself.
const Forever time.Duration = -1

// eternity is longer than any test.
const eternity = 24 * time.Hour

// missingProgram is a path that no image has.
const missingProgram = "/no/such/program"

// Command is the program for a POSIX shell, sh, in the PATH.
func (p Program) Command() []string {
	if p.Missing {
		return []string{missingProgram}
	}
	var script strings.Builder
	if p.OnTerm {
		fmt.Fprintf(&script, "trap 'exit %d' TERM; ", p.TermCode)
	}
	if p.Out != "" {
		script.WriteString(`printf %s "$0"; `)
	}
	if p.Err != "" {
		script.WriteString(`printf %s "$1" >&2; `)
	}
	lasts := p.Lasts.Seconds()
	if p.Lasts == Forever {
		lasts = eternity.Seconds()
	}
	switch {
	case p.Every > 0:
		fmt.Fprintf(&script, "while :; do echo %s; sleep %g; done", Tick, p.Every.Seconds())
	case p.OnTerm:
		// A trap is run at once while the shell waits for what is in the background, not while it runs a command.
		fmt.Fprintf(&script, "sleep %g & wait $!; exit %d", lasts, p.ExitCode)
	case p.ExitCode == 0:
		// One process, with no child that would hold its output open after its end.
		fmt.Fprintf(&script, "exec sleep %g", lasts)
	default:
		fmt.Fprintf(&script, "sleep %g; exit %d", lasts, p.ExitCode)
	}
	return []string{"sh", "-c", script.String(), p.Out, p.Err}
}
