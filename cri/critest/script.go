package critest

import (
	"slices"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Script says how containers run. It is for those that match all of its names;
// an empty name matches any.
type Script struct {
	Namespace string
	// Pod is the pod's name.
	Pod string
	// Container is the container's name in the pod.
	Container string
	// Image is the image as the pod names it: "nginx" is also
	// "docker.io/library/nginx:latest".
	Image string

	// Runs are played one per start of a container, counted by pod UID and
	// container name: the restarted container plays the second. The last one
	// repeats. None means: runs for ever.
	Runs []Run
}

// Run is one life of a container, from its start to its end. The zero value
// runs for ever and ends with code 0 as soon as it is asked to.
type Run struct {
	// Duration is how long it runs; 0 is for ever. For an end at once take
	// time.Nanosecond.
	Duration time.Duration
	// ExitCode and Reason are those of its end. An empty reason is Completed
	// after code 0 and Error after any other, as containerd has it.
	ExitCode int32
	Reason   string
	// Logs are the lines that it writes while it runs, see Config.WriteLogs.
	Logs []Log
	// TerminationMessage is written, before it ends by itself, into the file
	// that the agent mounted for it.
	TerminationMessage string
	// Term is what it does when it is asked to end.
	Term Term

	// StartDelay is how long StartContainer takes.
	StartDelay time.Duration
	// FailStart, when not empty, is the error of StartContainer. The container
	// is then EXITED with code 128 and reason StartError.
	FailStart string
}

// Log is one line that a container writes.
type Log struct {
	// At is when, from the start of the run.
	At time.Duration
	// Text is the line, or several with newlines between them.
	Text string
	// Unfinished writes no newline at its end.
	Unfinished bool
	// Stderr writes it there instead of to stdout.
	Stderr bool
	// Every, when not 0, writes the line again each time that has passed.
	Every time.Duration
}

// output is what the container writes when the line's time has come.
func (l Log) output(at time.Time) string { return stamp(l.raw(), at) }

func (l Log) raw() string {
	if l.Unfinished {
		return l.Text
	}
	return l.Text + "\n"
}

// stamp puts the time where a simulated command wants it, as date prints it.
func stamp(text string, at time.Time) string {
	return strings.ReplaceAll(text, dateMark, at.UTC().Format(time.UnixDate))
}

// Term is what a process does on its stop signal. The zero value ends at once
// with code 0. What has not ended when the grace is over is killed: code 137.
type Term struct {
	// Ignore goes on as if nothing had happened.
	Ignore bool
	// After is how long it takes to end.
	After time.Duration
	// ExitCode is that of its end.
	ExitCode int32
	// Logs are written, their At counted from the signal, instead of what was
	// left of the run's.
	Logs []Log
}

// turnKey counts the uses of a script for one container of one pod.
type turnKey struct {
	script    any // *Script or *ExecScript
	uid, name string
}

// AddScript adds a script. Of those that match a container the last added
// decides. Containers that run already go on as they are.
func (r *Runtime) AddScript(script Script) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.scripts = append(r.scripts, &script)
}

// nextRun is how the container that is now started will run.
func (r *Runtime) nextRun(c *container) Run {
	for _, script := range slices.Backward(r.scripts) {
		if r.matches(c, script.Namespace, script.Pod, script.Container, script.Image) {
			return takeTurn(r, c, script, script.Runs)
		}
	}
	run, trapped, ok := simulate(commandLine(c.config), environment(c.config))
	if ok && !trapped {
		run.Term = untrappedTerm(c.config)
	}
	return run
}

// matches reports whether a script with these names is for the container.
func (r *Runtime) matches(c *container, namespace, pod, name, image string) bool {
	metadata := c.sandbox.config.GetMetadata()
	return (namespace == "" || namespace == metadata.GetNamespace()) &&
		(pod == "" || pod == metadata.GetName()) &&
		(name == "" || name == c.config.GetMetadata().GetName()) &&
		(image == "" || r.hasImage(c, image))
}

// hasImage reports whether the container was made from the image. The agent
// may have named it by its ID, so the names of what that ID is count as well.
func (r *Runtime) hasImage(c *container, image string) bool {
	name := normalize(image)
	spec := c.config.GetImage()
	if name == normalize(spec.GetUserSpecifiedImage()) || name == normalize(spec.GetImage()) {
		return true
	}
	found, err := r.images.find(image)
	return err == nil && found.id == c.imageID
}

// takeTurn returns the element that is next for a container; the last repeats.
func takeTurn[T any](r *Runtime, c *container, script any, elements []T) T {
	var element T
	if len(elements) == 0 {
		return element
	}
	key := turnKey{script: script, uid: c.sandbox.uid(), name: c.config.GetMetadata().GetName()}
	element = elements[min(r.turns[key], len(elements)-1)]
	r.turns[key]++
	return element
}

// commandLine is what the container executes. Images are taken to have no
// entrypoint of their own.
func commandLine(config *runtimeapi.ContainerConfig) []string {
	return slices.Concat(config.GetCommand(), config.GetArgs())
}

func environment(config *runtimeapi.ContainerConfig) map[string]string {
	env := make(map[string]string, len(config.GetEnvs()))
	for _, variable := range config.GetEnvs() {
		env[variable.GetKey()] = string(variable.GetValue())
	}
	return env
}

// untrappedTerm is what SIGTERM does to a process without a handler: nothing
// when it is the first of its PID namespace, as the kernel protects that one,
// else it dies of it.
func untrappedTerm(config *runtimeapi.ContainerConfig) Term {
	if config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetPid() == runtimeapi.NamespaceMode_CONTAINER {
		return Term{Ignore: true}
	}
	return Term{ExitCode: 128 + 15}
}
