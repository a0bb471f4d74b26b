package statusmgr_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/statusmgr"
)

func ended(status corev1.PodStatus, name string) *corev1.ContainerStateTerminated {
	return container(status, name).State.Terminated
}

func TestTerminationMessageJoinsRuntimeAndContainer(t *testing.T) {
	tests := map[string]struct{ run, left, want string }{
		"both":               {"app#0 exited 1", "no config", "it broke: no config"},
		"the runtime's only": {"app#0 exited 1", "", "it broke"},
		"the container's":    {"app#0 exited 0", "42 rows", "42 rows"},
		"neither":            {"app#0 exited 0", "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := input(newPod(never, "app"), observed(test.run))
			in.Messages = map[string]string{"app-0": test.left, "other-0": "not this one's"}
			assert.Equal(t, test.want, ended(statusmgr.Generate(in), "app").Message)
		})
	}
	t.Run("of the run before too", func(t *testing.T) {
		in := input(newPod(always, "app"), observed("app#0 exited 1", "app#1 running"))
		in.Messages = map[string]string{"app-0": "no config"}
		assert.Equal(t, "it broke: no config", container(statusmgr.Generate(in), "app").LastTerminationState.Terminated.Message)
	})
	t.Run("one that still runs has none", func(t *testing.T) {
		in := input(newPod(always, "app"), observed("app#1 running"))
		in.Messages = map[string]string{"app-1": "soon"}
		assert.Nil(t, ended(statusmgr.Generate(in), "app"))
	})
}

func TestTerminationMessageOnceKnownIsKept(t *testing.T) {
	pod := newPod(always, "app")
	in := input(pod, observed("app#0 exited 1"))
	in.Messages = map[string]string{"app-0": "no config"}
	known := statusmgr.Generate(in)

	for name, messages := range map[string]map[string]string{"gone": nil, "empty": {"app-0": ""}} {
		t.Run(name, func(t *testing.T) {
			in := input(pod, observed("app#0 exited 1"))
			in.Messages = messages
			same := then(known, in)
			assert.Equal(t, "it broke: no config", ended(same, "app").Message)

			in.State = observed("app#0 exited 1", "app#1 exited 2")
			next := then(same, in)
			assert.Equal(t, "it broke", ended(next, "app").Message, "another container's message is its own")
			assert.Equal(t, "it broke: no config", container(next, "app").LastTerminationState.Terminated.Message)

			in.State = observed("app#2 running")
			assert.Equal(t, "it broke", container(then(next, in), "app").LastTerminationState.Terminated.Message)
		})
	}
	t.Run("while it waits for its back-off", func(t *testing.T) {
		in := input(pod, observed("app#0 exited 1"))
		in.Waiting = waiting("app", "CrashLoopBackOff")
		looping := then(then(known, in), in)
		assert.Equal(t, "it broke: no config", container(looping, "app").LastTerminationState.Terminated.Message)
	})
	t.Run("but what is read now is newer", func(t *testing.T) {
		in := input(pod, observed("app#0 exited 1"))
		in.Messages = map[string]string{"app-0": "no disk"}
		assert.Equal(t, "it broke: no disk", ended(then(known, in), "app").Message)
	})
	t.Run("and an end that was only concluded gives way", func(t *testing.T) {
		before := statusmgr.Generate(input(pod, observed("app#0 running")))
		lost := then(before, input(pod, observed("app#0 unknown")))
		assert.Contains(t, ended(lost, "app").Message, "no longer knows")
		assert.Empty(t, ended(then(lost, input(pod, observed("app#0 exited 0"))), "app").Message)
	})
}

func TestTerminationMessagesShareTheBudgetOfThePod(t *testing.T) {
	long := strings.Repeat("x", 20000)
	in := input(newPod(always, "init:i", "a", "debug:d"), observed("i#0 exited 0", "a#0 exited 0", "a#1 exited 0", "d#0 exited 0"))
	in.Messages = map[string]string{"i-0": long, "a-0": long, "a-1": long, "d-0": "short"}
	status := statusmgr.Generate(in)
	assert.Len(t, ended(status, "i").Message, 12288/3)
	assert.Len(t, ended(status, "a").Message, 12288/3)
	assert.Len(t, container(status, "a").LastTerminationState.Terminated.Message, 12288/3)
	assert.Equal(t, "short", ended(status, "d").Message)

	alone := input(newPod(never, "app"), observed("app#0 exited 0"))
	alone.Messages = map[string]string{"app-0": long}
	assert.Len(t, ended(statusmgr.Generate(alone), "app").Message, 12288)
}

func TestTerminationMessageIsTextWhateverWasLeft(t *testing.T) {
	in := input(newPod(never, "a", "b"), observed("a#0 exited 0", "b#0 exited 0"))
	in.Messages = map[string]string{"a-0": "half \xe2\x82", "b-0": "x" + strings.Repeat("€", 5000)}
	status := statusmgr.Generate(in)
	assert.Equal(t, "half \uFFFD", ended(status, "a").Message)
	cut := ended(status, "b").Message
	assert.True(t, utf8.ValidString(cut))
	assert.Equal(t, "x"+strings.Repeat("€", 2047), cut, "6144 bytes would split a character")
}
