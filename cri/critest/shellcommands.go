package critest

import (
	"errors"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// command runs one command and sets the status.
func (s *shell) command(argv []string) error {
	if err := s.step(); err != nil {
		return err
	}
	if len(argv) == 0 {
		return errNotUnderstood
	}
	args := argv[1:]
	switch path.Base(argv[0]) {
	case "busybox":
		return s.command(args)
	case "exec":
		return s.exec(args)
	case "exit":
		return s.exit(args)
	case "sh", "ash", "bash", "dash":
		return s.script(args)
	}
	s.status = 0
	switch path.Base(argv[0]) {
	case "true", ":":
		return nil
	case "false":
		s.status = 1
		return nil
	case "echo":
		s.echo(args)
		return nil
	case "date":
		return s.date(args)
	case "printf":
		return s.printf(args)
	case "sleep":
		return s.sleep(args)
	case "tail":
		return s.tail(args)
	case "wait":
		return s.wait()
	case "set":
		return s.set(args)
	case "trap":
		return s.trap(args)
	}
	return errNotUnderstood
}

// exec replaces the shell by a command, and its handlers with it.
func (s *shell) exec(args []string) error {
	s.term = nil
	if err := s.command(args); err != nil {
		return err
	}
	return errExit
}

func (s *shell) echo(args []string) {
	unfinished := len(args) > 0 && args[0] == "-n"
	if unfinished {
		args = args[1:]
	}
	s.lines = append(s.lines, Log{At: s.now, Text: strings.Join(args, " "), Unfinished: unfinished})
}

func (s *shell) date(args []string) error {
	if len(args) > 0 {
		return errNotUnderstood
	}
	s.lines = append(s.lines, Log{At: s.now, Text: dateMark})
	return nil
}

// printf only knows the format %s.
func (s *shell) printf(args []string) error {
	if len(args) != 2 || args[0] != "%s" {
		return errNotUnderstood
	}
	text, finished := strings.CutSuffix(args[1], "\n")
	s.lines = append(s.lines, Log{At: s.now, Text: text, Unfinished: !finished})
	return nil
}

func (s *shell) sleep(args []string) error {
	if len(args) == 0 {
		return errNotUnderstood
	}
	for _, arg := range args {
		if arg == "inf" || arg == "infinity" {
			return errForever
		}
		d, err := parseSleep(arg)
		if err != nil {
			return err
		}
		if s.now += d; s.now > century {
			return errForever
		}
	}
	return nil
}

// parseSleep reads "3", "0.5", "2m" as sleep does.
func parseSleep(arg string) (time.Duration, error) {
	units := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}
	unit := time.Second
	if arg != "" && units[arg[len(arg)-1:]] != 0 {
		unit = units[arg[len(arg)-1:]]
		arg = arg[:len(arg)-1]
	}
	count, err := strconv.ParseFloat(arg, 64)
	if err != nil || !(count >= 0) || count*float64(unit) > float64(century) {
		return 0, errNotUnderstood
	}
	return time.Duration(count * float64(unit)), nil
}

func (s *shell) tail(args []string) error {
	if slices.Equal(args, []string{"-f", "/dev/null"}) || slices.Equal(args, []string{"-F", "/dev/null"}) {
		return errForever
	}
	return errNotUnderstood
}

func (s *shell) exit(args []string) error {
	if len(args) == 0 {
		return errExit
	}
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return errNotUnderstood
	}
	s.status = int32(code & 0xff)
	return errExit
}

func (s *shell) wait() error {
	if s.jobs < 0 && s.onWait {
		s.term = &Term{ExitCode: 128 + 15, Logs: s.term.Logs}
	}
	if s.jobs < 0 {
		return errForever
	}
	s.now = max(s.now, s.jobs)
	return nil
}

func (s *shell) set(args []string) error {
	for _, arg := range args {
		switch arg {
		case "-e":
			s.errexit = true
		case "+e":
			s.errexit = false
		case "-u":
		default:
			return errNotUnderstood
		}
	}
	return nil
}

// trap sets the handler for SIGTERM. One that does not exit lets the shell go on.
func (s *shell) trap(args []string) error {
	if len(args) < 2 {
		return errNotUnderstood
	}
	isTerm := func(signal string) bool { return signal == "TERM" || signal == "SIGTERM" || signal == "15" }
	if !slices.ContainsFunc(args[1:], isTerm) {
		return nil
	}
	s.term, s.onWait = nil, false
	if args[0] == "-" {
		return nil
	}
	list, err := parseShell(args[0])
	if err != nil {
		return err
	}
	handler := &shell{env: maps.Clone(s.env), steps: s.steps}
	err = handler.list(list)
	if errors.Is(err, errNotUnderstood) {
		return err
	}
	s.steps = handler.steps
	s.term = &Term{After: handler.now, ExitCode: handler.status, Logs: handler.lines}
	if !errors.Is(err, errExit) {
		s.term.Ignore, s.onWait = true, len(list) > 0
	}
	return nil
}

// script runs sh -c. Its exit is its own; the caller goes on.
func (s *shell) script(args []string) error {
	inner := &shell{env: maps.Clone(s.env), now: s.now, steps: s.steps}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		flags := args[0][1:]
		args = args[1:]
		if strings.Trim(flags, "ceul") != "" {
			return errNotUnderstood
		}
		inner.errexit = inner.errexit || strings.Contains(flags, "e")
		if strings.Contains(flags, "c") {
			return s.adopt(inner, args)
		}
	}
	return errNotUnderstood
}

// adopt runs a script in inner and takes over what it left behind.
func (s *shell) adopt(inner *shell, args []string) error {
	if len(args) == 0 {
		return errNotUnderstood
	}
	list, err := parseShell(args[0])
	if err != nil {
		return err
	}
	for i, arg := range args[1:] {
		inner.env[strconv.Itoa(i)] = arg
	}
	err = inner.list(list)
	s.now, s.steps, s.status = inner.now, inner.steps, inner.status
	if s.first {
		s.term = inner.term
	}
	s.lines = append(s.lines, inner.lines...)
	s.message += inner.message
	if errors.Is(err, errExit) {
		return nil
	}
	return err
}
