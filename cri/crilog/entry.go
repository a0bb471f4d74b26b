package crilog

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
)

// entry is what a runtime writes to a log file at a time: a line of output, or a part
// of a long one.
type entry struct {
	time   time.Time
	stderr bool
	// text ends with a newline, unless more of the line is to come.
	text []byte
}

// finished reports whether the entry ends a line.
func (e entry) finished() bool { return bytes.HasSuffix(e.text, newline) }

var newline = []byte("\n")

// parseEntry reads an entry in the format of the CRI, or in that of Docker's
// json-file driver. It is false for anything else. The text may share memory with
// line.
func parseEntry(line []byte) (entry, bool) {
	if bytes.HasPrefix(line, []byte("{")) {
		return parseJSON(line)
	}
	return parseCRI(line)
}

// parseCRI reads "<RFC3339Nano> stdout|stderr F|P <text>", where F and P may have
// more tags after them.
func parseCRI(line []byte) (entry, bool) {
	fields := bytes.SplitN(line, []byte(" "), 4)
	if len(fields) != 4 {
		return entry{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(fields[0]))
	stderr, known := streamOf(string(fields[1]))
	if err != nil || !known {
		return entry{}, false
	}
	text := bytes.TrimSuffix(fields[3], newline)
	switch tag, _, _ := bytes.Cut(fields[2], []byte(":")); string(tag) {
	case "F":
		return entry{time: at, stderr: stderr, text: append(text[:len(text):len(text)], '\n')}, true
	case "P":
		return entry{time: at, stderr: stderr, text: text}, true
	default:
		return entry{}, false
	}
}

func parseJSON(line []byte) (entry, bool) {
	var written struct {
		Log    string    `json:"log"`
		Stream string    `json:"stream"`
		Time   time.Time `json:"time"`
	}
	if err := json.Unmarshal(line, &written); err != nil {
		return entry{}, false
	}
	stderr, known := streamOf(strings.ToLower(written.Stream))
	return entry{time: written.Time, stderr: stderr, text: []byte(written.Log)}, known
}

func streamOf(name string) (stderr, known bool) {
	return name == "stderr", name == "stdout" || name == "stderr"
}
