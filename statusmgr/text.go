package statusmgr

import (
	"strings"
	"unicode/utf8"
)

// clip makes a valid text of at most size bytes from what a program left
// behind. Statuses and events travel as JSON and are compared with what comes
// back, so that bytes which are no text must not be in them.
func clip(text string, size int) string {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	if len(text) <= size {
		return text
	}
	for size > 0 && !utf8.RuneStart(text[size]) {
		size--
	}
	return text[:size]
}
