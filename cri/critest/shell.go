package critest

import (
	"errors"
	"maps"
	"strings"
	"time"
)

const (
	// instant is how long a command takes that does not wait: a process needs
	// some time, and a Run of Duration 0 would be one that never ends.
	instant = time.Millisecond

	// maxSteps bounds the commands that are simulated of one command line, and
	// the text that they handle: so many bytes count as one more command.
	maxSteps  = 1000
	stepBytes = 4096

	// century is as good as for ever.
	century = 100 * 365 * 24 * time.Hour
)

// dateCommand is what follows the $ of a command substitution with date;
// dateMark stands in a line for the time at which it will be written.
const (
	dateCommand = "(date)"
	dateMark    = "\x00date\x00"
)

var (
	// errNotUnderstood ends the simulation of what is beyond it.
	errNotUnderstood = errors.New("not understood")
	// errExit is how exit ends a shell, errForever how a command that never ends does.
	errExit    = errors.New("exit")
	errForever = errors.New("runs for ever")
)

// simulate tells how a process with this command line would run, without
// running it. Images are taken to have a busybox. It understands
//
//   - sleep (also "infinity"), echo [-n], printf %s, date, true, false, :,
//     tail -f /dev/null;
//   - sh, ash, bash and dash with -c and a script of these and of exit, exec,
//     wait, set -e, trap on TERM, NAME=value, with ; && || & and newlines,
//     comments, quotes, $NAME, $0 to $9, $?, $! (empty) and $(date), > and >> (the
//     output is lost, but for /dev/stdout, /dev/stderr and the termination log);
//   - while true; do …; done, which runs for ever unless its body exits;
//   - for NAME in words; do …; done.
//
// Of anything else ok is false: pipes, subshells, if, case, arithmetic, any
// other $(…) and every other command. trapped tells whether the process has a handler for
// SIGTERM, which run.Term then is; it is taken to come at once, not after the
// command that the shell waits for.
func simulate(argv []string, env map[string]string) (run Run, trapped, ok bool) {
	sim := &shell{env: maps.Clone(env)}
	if sim.env == nil {
		sim.env = map[string]string{}
	}
	sim.first = true
	err := sim.command(argv)
	if errors.Is(err, errNotUnderstood) || len(argv) == 0 {
		return Run{}, false, false
	}
	run = Run{Logs: sim.lines, TerminationMessage: sim.message, ExitCode: sim.status, Duration: max(sim.now, instant)}
	if errors.Is(err, errForever) {
		run.Duration, run.ExitCode = 0, 0
	}
	if sim.term != nil {
		run.Term = *sim.term
	}
	return run, sim.term != nil, true
}

// shell is the state of a simulated shell.
type shell struct {
	env     map[string]string
	now     time.Duration // since its start
	jobs    time.Duration // when the last background job ends
	status  int32         // $?
	errexit bool
	lines   []Log
	message string // what was written to the termination log
	term    *Term  // the handler for SIGTERM, nil without one
	onWait  bool   // the handler returns, which ends a wait
	first   bool   // it is the container's first process, whose handlers count
	steps   int
}

func (s *shell) step() error {
	if s.steps++; s.steps > maxSteps {
		return errNotUnderstood
	}
	return nil
}

// list runs the parts of a script one after the other.
func (s *shell) list(list []node) error {
	for _, part := range list {
		if err := part.run(s); err != nil {
			return err
		}
	}
	return nil
}

// run of an and-or list: each next command depends on the status before it.
func (n andOr) run(s *shell) error {
	if n.background {
		return s.background(n)
	}
	for i, command := range n.commands {
		if i > 0 && (n.operators[i-1] == "&&") != (s.status == 0) {
			continue
		}
		if err := command.run(s); err != nil {
			return err
		}
		if last := i == len(n.commands)-1; last && s.errexit && s.status != 0 {
			return errExit
		}
	}
	return nil
}

// background notes when a command in the background ends, and what it writes.
func (s *shell) background(n andOr) error {
	n.background = false
	job := &shell{env: maps.Clone(s.env), now: s.now, steps: s.steps}
	err := n.run(job)
	switch {
	case errors.Is(err, errForever):
		s.jobs = -1
	case errors.Is(err, errNotUnderstood):
		return err
	case s.jobs >= 0:
		s.jobs = max(s.jobs, job.now)
	}
	s.steps = job.steps
	s.lines = append(s.lines, job.lines...)
	s.status = 0
	return nil
}

// run of while true: once, and what that wrote is written again and again.
func (n loop) run(s *shell) error {
	begin, first := s.now, len(s.lines)
	if err := s.list(n.body); err != nil {
		return err
	}
	period := s.now - begin
	for i := first; i < len(s.lines); i++ {
		switch {
		case s.lines[i].Every > 0: // a loop in the background
		case period > 0:
			s.lines[i].Every = period
		}
	}
	if period <= 0 {
		s.lines = s.lines[:first] // it would write without end at the same time
	}
	return errForever
}

func (n forEach) run(s *shell) error {
	for _, item := range n.items {
		value, err := item.expand(s)
		if err != nil {
			return err
		}
		if err := s.step(); err != nil {
			return err
		}
		s.env[n.name] = value
		if err := s.list(n.body); err != nil {
			return err
		}
	}
	return nil
}

func (n simple) run(s *shell) error {
	argv := make([]string, 0, len(n.words))
	for _, word := range n.words {
		text, err := word.expand(s)
		if err != nil {
			return err
		}
		if text == "" && !word.quoted {
			continue
		}
		argv = append(argv, text)
	}
	first := len(s.lines)
	if len(argv) > 0 {
		if err := s.command(argv); err != nil {
			return err
		}
	}
	for name, word := range n.assignments {
		value, err := word.expand(s)
		if err != nil {
			return err
		}
		s.env[name] = value
	}
	return s.redirect(n.redirects, first)
}

// redirect sends the lines from first on where the redirections say.
func (s *shell) redirect(redirects []redirect, first int) error {
	for _, r := range redirects {
		target, err := r.target.expand(s)
		if err != nil {
			return err
		}
		switch target {
		case "&1", "/dev/stdout":
		case "&2", "/dev/stderr":
			for i := first; i < len(s.lines); i++ {
				s.lines[i].Stderr = true
			}
		default:
			if target == terminationLog {
				s.message += s.textFrom(first)
			}
			s.lines = s.lines[:first]
		}
	}
	return nil
}

func (s *shell) textFrom(first int) string {
	var text strings.Builder
	for _, line := range s.lines[first:] {
		text.WriteString(line.raw())
	}
	return text.String()
}
