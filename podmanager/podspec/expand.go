package podspec

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// expand replaces each $(NAME) for which lookup knows a value; $$ stands for
// one dollar. Anything else stays as it is: unknown names, a reference that is
// not closed, $NAME, ${NAME}. Values are not expanded again. (Kubernetes docs,
// "Define dependent environment variables".)
func expand(text string, lookup func(name string) (string, bool)) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		text = expandOne(&out, rest, lookup)
	}
}

// expandOne writes what the dollar before rest stands for, and returns what
// follows it.
func expandOne(out *strings.Builder, rest string, lookup func(string) (string, bool)) string {
	if after, ok := strings.CutPrefix(rest, "$"); ok {
		out.WriteByte('$')
		return after
	}
	inner, ok := strings.CutPrefix(rest, "(")
	if !ok {
		out.WriteByte('$')
		return rest
	}
	name, after, closed := strings.Cut(inner, ")")
	if !closed {
		out.WriteString("$(")
		return inner
	}
	if value, known := lookup(name); known {
		out.WriteString(value)
	} else {
		out.WriteString("$(" + name + ")")
	}
	return after
}

// ProbeCommand is the command of a container's exec probe as it is to be run: only
// what the container's env gives as a plain value is expanded in it. It is pure.
func ProbeCommand(container *corev1.Container, command []string) []string {
	return expandAll(command, func(name string) (string, bool) {
		for _, variable := range slices.Backward(container.Env) {
			if variable.Name == name {
				return variable.Value, !fromElsewhere(variable)
			}
		}
		return "", false
	})
}

func expandAll(texts []string, lookup func(string) (string, bool)) []string {
	if texts == nil {
		return nil
	}
	expanded := make([]string, len(texts))
	for i, text := range texts {
		expanded[i] = expand(text, lookup)
	}
	return expanded
}
