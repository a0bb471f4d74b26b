package manifests

import (
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// Problem is something that is wrong in the folder. Problems are comparable.
type Problem struct {
	// File is the file's name in the folder, or the folder's path if the folder
	// itself is the problem.
	File string
	// Document counts the file's documents from 1, empty ones left out. 0 is the
	// file as a whole.
	Document int
	// Object is the kind and name of the object, such as "Pod default/web", as far
	// as they are known.
	Object string
	// Field is the path of the field, such as "spec.containers[0].image", if the
	// problem is with one.
	Field string
	// Message says what is wrong. It repeats no values of env or commands.
	Message string
	// Warning means that the object is used all the same.
	Warning bool
}

// String renders the problem on one line.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Document > 0 {
		fmt.Fprintf(&b, " (document %d)", p.Document)
	}
	for _, part := range []string{p.Object, p.Field, p.Message} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	return b.String()
}

// report publishes the problems of a scan and tells what is new among them, and
// what is gone.
func (s *Source) report(problems []Problem) {
	s.mu.Lock()
	before := s.problems
	s.problems = problems
	s.mu.Unlock()

	for _, p := range without(problems, before) {
		s.log.Warn("problem in manifests", p.fields()...)
		if s.cfg.OnProblem != nil {
			s.cfg.OnProblem(p)
		}
	}
	for _, p := range without(before, problems) {
		s.log.Info("problem in manifests is gone", p.fields()...)
	}
}

// without returns what is in all and not in others.
func without(all, others []Problem) []Problem {
	known := make(map[Problem]bool, len(others))
	for _, p := range others {
		known[p] = true
	}
	return slices.DeleteFunc(slices.Clone(all), func(p Problem) bool { return known[p] })
}

func (p Problem) fields() []zap.Field {
	return []zap.Field{
		zap.String("file", p.File), zap.Int("document", p.Document), zap.String("object", p.Object),
		zap.String("field", p.Field), zap.String("problem", p.Message), zap.Bool("warning", p.Warning),
	}
}
