package probe

import "strings"

// MaxOutput is the most that is kept of a check's output, in bytes. It is the
// kubelet's figure.
const MaxOutput = 10 << 10

// Result is what a check found.
type Result int

const (
	// Unknown is no result: nothing was found out about the container.
	Unknown Result = iota
	// Success means healthy.
	Success
	// Warning means healthy, with something that a person should know. It counts
	// as success.
	Warning
	// Failure means not healthy.
	Failure
)

// String returns the result's name in lower case.
func (r Result) String() string {
	switch r {
	case Success:
		return "success"
	case Warning:
		return "warning"
	case Failure:
		return "failure"
	default:
		return "unknown"
	}
}

// Outcome is the result of a check and what is to be told about it.
type Outcome struct {
	Result Result
	// Output is what the container answered, or why the check failed, in at most
	// MaxOutput bytes of valid UTF-8.
	Output string
}

func outcome(result Result, output string) Outcome {
	return Outcome{Result: result, Output: clip(output)}
}

// clip cuts output to its limit and makes it text: it goes into events and
// statuses, whose encodings refuse anything else. A replacement of one byte
// cannot make the text longer.
func clip(output string) string {
	if len(output) > MaxOutput {
		output = output[:MaxOutput]
	}
	return strings.ToValidUTF8(output, "?")
}
