package critest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func sh(script string) []string { return []string{"sh", "-c", script} }

func out(at time.Duration, text string) Log { return Log{At: at, Text: text} }

func TestSimulate(t *testing.T) {
	const s = time.Second
	for name, test := range map[string]struct {
		argv []string
		want Run
	}{
		"true":                {[]string{"true"}, Run{Duration: instant}},
		"false":               {[]string{"/bin/false"}, Run{Duration: instant, ExitCode: 1}},
		"sleep":               {[]string{"/bin/sleep", "90"}, Run{Duration: 90 * s}},
		"sleep with units":    {[]string{"sleep", "1m", "0.5"}, Run{Duration: 60*s + s/2}},
		"sleep for ever":      {[]string{"sleep", "infinity"}, Run{}},
		"sleep like forever":  {[]string{"sleep", "1d"}, Run{Duration: 24 * time.Hour}},
		"tail":                {[]string{"tail", "-f", "/dev/null"}, Run{}},
		"echo":                {[]string{"echo", "a", "b"}, Run{Duration: instant, Logs: []Log{out(0, "a b")}}},
		"echo -n":             {[]string{"echo", "-n", "a"}, Run{Duration: instant, Logs: []Log{{Text: "a", Unfinished: true}}}},
		"printf":              {[]string{"printf", "%s", "a\nb\n"}, Run{Duration: instant, Logs: []Log{out(0, "a\nb")}}},
		"busybox":             {[]string{"busybox", "sh", "-c", "exit 3"}, Run{Duration: instant, ExitCode: 3}},
		"the usual":           {sh("echo hi; sleep 3; exit 1"), Run{Duration: 3 * s, ExitCode: 1, Logs: []Log{out(0, "hi")}}},
		"lines":               {sh("echo a\nsleep 1\n\n# a comment; exit 9\necho b # another\n"), Run{Duration: s, Logs: []Log{out(0, "a"), out(s, "b")}}},
		"last status":         {sh("exit 3 || true"), Run{Duration: instant, ExitCode: 3}},
		"status of the last":  {sh("true; false"), Run{Duration: instant, ExitCode: 1}},
		"exit with $?":        {sh("false; exit"), Run{Duration: instant, ExitCode: 1}},
		"exit wraps":          {sh("exit 257"), Run{Duration: instant, ExitCode: 1}},
		"and":                 {sh("true && echo yes && false && echo no"), Run{Duration: instant, ExitCode: 1, Logs: []Log{out(0, "yes")}}},
		"or":                  {sh("false || echo no || echo yes"), Run{Duration: instant, Logs: []Log{out(0, "no")}}},
		"and or":              {sh("false && echo a || echo b"), Run{Duration: instant, Logs: []Log{out(0, "b")}}},
		"errexit":             {[]string{"sh", "-ec", "false; echo no"}, Run{Duration: instant, ExitCode: 1}},
		"set -e":              {sh("set -e; false || true; echo yes; false; echo no"), Run{Duration: instant, ExitCode: 1, Logs: []Log{out(0, "yes")}}},
		"exec":                {sh("echo a; exec sleep 5; echo never"), Run{Duration: 5 * s, Logs: []Log{out(0, "a")}}},
		"nested":              {sh(`sh -c "sleep 1; exit 4"; echo $?; sleep 1`), Run{Duration: 2 * s, Logs: []Log{out(s, "4")}}},
		"stderr":              {sh("echo a >&2; echo b 1>&2; echo c >/dev/stderr; echo d 2>&1"), Run{Duration: instant, Logs: []Log{{Text: "a", Stderr: true}, {Text: "b", Stderr: true}, {Text: "c", Stderr: true}, out(0, "d")}}},
		"to a file":           {sh("echo a > /tmp/x; echo b >> /tmp/x; echo c >/dev/null 2>&1"), Run{Duration: instant}},
		"termination message": {sh("echo -n bad > /dev/termination-log; exit 1"), Run{Duration: instant, ExitCode: 1, TerminationMessage: "bad"}},
		"quotes":              {sh(`echo 'a  "b"' "c  'd' \" \\ \n" e\ f "" $`), Run{Duration: instant, Logs: []Log{out(0, `a  "b" c  'd' " \ \n e f  $`)}}},
		"joined lines":        {sh("echo a \\\n b"), Run{Duration: instant, Logs: []Log{out(0, "a b")}}},
		"environment":         {sh(`echo $HOST ${HOST}s "$HOST" '$HOST' $NONE-`), Run{Duration: instant, Logs: []Log{out(0, "web webs web $HOST -")}}},
		"assignment":          {sh(`A=1 B="x $HOST"; echo $A $B`), Run{Duration: instant, Logs: []Log{out(0, "1 x web")}}},
		"positional":          {append(sh("echo $0 $1"), "a", "b"), Run{Duration: instant, Logs: []Log{out(0, "a b")}}},
		"for":                 {sh("for i in 1 2 3; do echo $i; sleep 1; done; echo end"), Run{Duration: 3 * s, Logs: []Log{out(0, "1"), out(s, "2"), out(2*s, "3"), out(3*s, "end")}}},
		"loop":                {sh("while true; do sleep 2; echo a; sleep 3; done"), Run{Logs: []Log{{At: 2 * s, Text: "a", Every: 5 * s}}}},
		"loop over lines":     {sh("echo up\nwhile :\ndo\n  echo a\n  sleep 1\ndone"), Run{Logs: []Log{out(0, "up"), {Text: "a", Every: s}}}},
		"loop that ends":      {sh("while true; do sleep 2; exit 3; done"), Run{Duration: 2 * s, ExitCode: 3}},
		"busy loop":           {sh("while true; do echo a; done"), Run{}},
		"background":          {sh("sleep 5 & sleep 1; echo a; wait; echo b"), Run{Duration: 5 * s, Logs: []Log{out(s, "a"), out(5*s, "b")}}},
		"for ever behind":     {sh("sleep infinity & wait"), Run{}},
		"nobody waits":        {sh("sleep 100 & echo a"), Run{Duration: instant, Logs: []Log{out(0, "a")}}},
		"loop behind":         {sh("while true; do echo a; sleep 1; done & sleep 10"), Run{Duration: 10 * s, Logs: []Log{{Text: "a", Every: s}}}},
		"not ASCII":           {sh(`echo grüß "dich ✓"`), Run{Duration: instant, Logs: []Log{out(0, "grüß dich ✓")}}},
	} {
		t.Run(name, func(t *testing.T) {
			run, trapped, ok := simulate(test.argv, map[string]string{"HOST": "web"})
			require.True(t, ok)
			require.False(t, trapped)
			require.Equal(t, test.want.Logs, emptyAsNil(run.Logs))
			run.Logs = test.want.Logs
			require.Equal(t, test.want, run)
		})
	}
}

func emptyAsNil(lines []Log) []Log {
	if len(lines) == 0 {
		return nil
	}
	return lines
}

func TestSimulateTraps(t *testing.T) {
	for script, want := range map[string]Term{
		"trap 'exit 3' TERM; sleep 100":                              {ExitCode: 3},
		`trap "echo bye; sleep 2; exit 0" INT SIGTERM; sleep 100`:    {After: 2 * time.Second, Logs: []Log{out(0, "bye")}},
		"trap '' TERM; sleep 100":                                    {Ignore: true},
		"trap 'echo no' 15; sleep 100":                               {Ignore: true, Logs: []Log{out(0, "no")}},
		"trap : TERM INT; sleep infinity & wait":                     {ExitCode: 143},
		"trap 'exit 1' TERM; while true; do echo a; sleep 1; done":   {ExitCode: 1},
		"trap 'exit 1' TERM; trap 'exit 2' TERM; sleep infinity":     {ExitCode: 2},
		"trap 'exit 1' TERM; sh -c 'trap \"exit 5\" TERM; sleep 10'": {ExitCode: 1},
	} {
		run, trapped, ok := simulate(sh(script), nil)
		require.True(t, ok, script)
		require.True(t, trapped, script)
		want.Logs, run.Term.Logs = emptyAsNil(want.Logs), emptyAsNil(run.Term.Logs)
		require.Equal(t, want, run.Term, script)
	}
	for _, script := range []string{
		"sleep 100",
		"trap 'exit 1' INT; sleep 100",
		"trap 'exit 1' TERM; trap - TERM; sleep 100",
		"trap 'exit 1' TERM; exec sleep 100",
	} {
		_, trapped, ok := simulate(sh(script), nil)
		require.True(t, ok, script)
		require.False(t, trapped, script)
	}
}

func TestSimulateKnowsWhatItDoesNotUnderstand(t *testing.T) {
	for _, script := range []string{
		"nginx", "echo a | cat", "(exit 1)", "echo $(id)", "date +%s", "echo `date`", "echo $((1+1))", "if true; then echo; fi",
		"while read x; do echo $x; done", "while true; do echo a", "done", "for i in 1; echo; done", "for 1 in 2; do :; done",
		"echo 'open", `echo "open`, "echo \\", "cat < /dev/null", "exit x", "sleep", "sleep soon", "sleep -1", "sleep NaN", "sleep 1e300",
		"echo *", "echo [a]", "{ echo a; }", "true;; false", "&& true", "; & true", "echo >", "trap 'nginx' TERM; sleep 1",
		"echo ${X:-1}", "echo $@", "set -x", "trap TERM", "printf '%d' 1", "exec", "busybox", "tail -n 1 file", "sh script.sh", "sh",
		"a=1; b=$a; while true; do " + "for i in 1 2 3; do for j in 1 2 3; do for k in 1 2 3; do for l in 1 2 3; do for m in 1 2 3; do for n in 1 2 3; do :; done; done; done; done; done; done; done",
	} {
		_, _, ok := simulate(sh(script), nil)
		require.False(t, ok, script)
	}
	for _, argv := range [][]string{nil, {"nginx", "-g", "daemon off;"}, {"sh"}, {"sh", "-x", "-c", "true"}, {"sh", "-c"}, {""}} {
		_, _, ok := simulate(argv, nil)
		require.False(t, ok, argv)
	}
}

func FuzzSimulate(f *testing.F) {
	for _, script := range []string{
		"echo hi; sleep 3; exit 1", "while true; do echo a; sleep 1; done & wait $!", "trap 'exit 3' TERM; for i in 1 2; do echo $i > /dev/stderr; done",
		`X='sh -c "$X"'; sh -c "$X"`, `printf %s "$0" 2>&1 >&2`,
	} {
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script string) {
		run, _, ok := simulate(sh(script), map[string]string{"HOME": "/"})
		if !ok {
			return
		}
		require.GreaterOrEqual(t, run.Duration, time.Duration(0))
		for _, line := range append(run.Logs, run.Term.Logs...) {
			require.GreaterOrEqual(t, line.At, time.Duration(0))
			require.GreaterOrEqual(t, line.Every, time.Duration(0))
		}
	})
}
