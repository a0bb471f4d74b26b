package conformance_test

import (
	"bytes"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/edged-project/edged/cri/critest/conformance"
)

func TestProgramsRunInAShell(t *testing.T) {
	for name, test := range map[string]struct {
		program        conformance.Program
		code           int
		stdout, stderr string
	}{
		"nothing":     {},
		"output":      {program: conformance.Program{Out: "100% 'of' \"$HOME\"\n", Err: "no newline"}, stdout: "100% 'of' \"$HOME\"\n", stderr: "no newline"},
		"exit code":   {program: conformance.Program{Out: "x", ExitCode: 7}, code: 7, stdout: "x"},
		"takes time":  {program: conformance.Program{Lasts: 10 * time.Millisecond, ExitCode: 7}, code: 7},
		"with a trap": {program: conformance.Program{OnTerm: true, TermCode: 42, ExitCode: 7}, code: 7},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, stdout, stderr := command(test.program)
			err := cmd.Run()
			if test.code == 0 {
				require.NoError(t, err)
			}
			assert.Equal(t, test.code, cmd.ProcessState.ExitCode())
			assert.Equal(t, test.stdout, stdout.String())
			assert.Equal(t, test.stderr, stderr.String())
		})
	}
}

func TestProgramEndsAtItsSignalWithItsCode(t *testing.T) {
	cmd, _, _ := command(conformance.Program{Out: "ready", OnTerm: true, TermCode: 42, Lasts: 5 * time.Second})
	cmd.Stdout, cmd.Stderr = nil, nil
	ready, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = ready.Read(make([]byte, 5))
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, cmd.Wait())
	assert.Equal(t, 42, cmd.ProcessState.ExitCode())
}

func TestMissingProgramCannotBeStarted(t *testing.T) {
	cmd, _, _ := command(conformance.Program{Missing: true})
	require.Error(t, cmd.Start())
}

func command(program conformance.Program) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	line := program.Command()
	cmd = exec.Command(line[0], line[1:]...)
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}
