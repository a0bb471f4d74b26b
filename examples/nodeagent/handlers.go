package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// handlers are the runtime's handlers by runtime class, the value of -runtime-handlers.
type handlers map[string]string

func (h *handlers) String() string {
	var pairs []string
	for _, class := range slices.Sorted(maps.Keys(*h)) {
		pairs = append(pairs, class+"="+(*h)[class])
	}
	return strings.Join(pairs, ",")
}

func (h *handlers) Set(value string) error {
	*h = handlers{}
	for pair := range strings.SplitSeq(value, ",") {
		class, handler, ok := strings.Cut(pair, "=")
		if !ok || class == "" || handler == "" {
			return fmt.Errorf("%q is not class=handler", pair)
		}
		(*h)[class] = handler
	}
	return nil
}
