package imagepull

import (
	"os/exec"
	"syscall"
)

// killWithChildren makes the end of the command's context the end of all that it
// started, too: a shell leaves its children behind.
func killWithChildren(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
