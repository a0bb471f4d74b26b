package critest

import "strings"

// scanner cuts a script into tokens.
type scanner struct {
	rest    string
	tokens  []token
	current word
	started bool // there is a current word
}

func scanShell(script string) ([]token, error) {
	s := &scanner{rest: script}
	for s.rest != "" {
		if err := s.next(); err != nil {
			return nil, err
		}
	}
	s.endWord()
	return s.tokens, nil
}

// next takes one character, operator or quoted text.
func (s *scanner) next() error {
	switch s.rest[0] {
	case ' ', '\t', '\r':
		s.endWord()
	case '\n':
		s.operator(";")
	case ';', '&', '|', '>', '<':
		return s.special()
	case '#':
		if !s.started {
			s.rest = s.rest[strings.IndexByte(s.rest+"\n", '\n'):]
			return nil
		}
		s.add(part{text: "#"})
	case '\'':
		return s.single()
	case '"':
		return s.double()
	case '\\':
		return s.escaped()
	case '$':
		return s.dollar()
	case '(', ')', '`', '*', '[', '~', '{', '}':
		return errNotUnderstood
	default:
		s.add(part{text: s.rest[:1]})
	}
	s.rest = s.rest[1:]
	return nil
}

// special takes an operator of more than one character.
func (s *scanner) special() error {
	for _, operator := range []struct{ text, op string }{
		{"&&", "&&"}, {"||", "||"}, {";;", ""}, {"<", ""}, {"&>", ""}, {"|", ""}, {">|", ""},
		{">>", ">"}, {">&", ">&"}, {">", ">"}, {";", ";"}, {"&", "&"},
	} {
		if !strings.HasPrefix(s.rest, operator.text) {
			continue
		}
		s.rest = s.rest[len(operator.text):]
		switch operator.op {
		case "":
			return errNotUnderstood
		case ">", ">&":
			return s.redirection(operator.op)
		}
		s.operator(operator.op)
		return nil
	}
	return errNotUnderstood
}

// redirection takes the descriptor before a > that stands at its front, and
// makes the one after >& the target. What goes to stderr alone (2>) is nothing
// that a simulated command writes.
func (s *scanner) redirection(op string) error {
	descriptor := ""
	if s.started {
		descriptor = s.current.literal()
		if descriptor == "1" || descriptor == "2" {
			s.current, s.started = word{}, false
		}
	}
	s.endWord()
	if descriptor == "2" {
		return s.skipTarget()
	}
	s.tokens = append(s.tokens, token{op: ">"})
	if op == ">&" {
		s.rest = strings.TrimLeft(s.rest, " ")
		s.add(part{text: "&"})
	}
	return nil
}

// skipTarget drops the target of a redirection that does not matter.
func (s *scanner) skipTarget() error {
	s.rest = strings.TrimLeft(s.rest, " ")
	target := s.rest[:strings.IndexAny(s.rest+" ", " \t\n;&|<>")]
	if target == "" || strings.ContainsAny(target, "$`'\"\\()") {
		return errNotUnderstood
	}
	s.rest = s.rest[len(target):]
	return nil
}

func (s *scanner) operator(op string) {
	s.endWord()
	s.tokens = append(s.tokens, token{op: op})
}

func (s *scanner) endWord() {
	if s.started {
		s.tokens = append(s.tokens, token{word: s.current})
	}
	s.current, s.started = word{}, false
}

// add appends to the current word; text follows text as one part.
func (s *scanner) add(next part) {
	s.started = true
	last := len(s.current.parts) - 1
	if !next.variable && last >= 0 && !s.current.parts[last].variable {
		s.current.parts[last].text += next.text
		return
	}
	s.current.parts = append(s.current.parts, next)
}

func (s *scanner) single() error {
	text, rest, ok := strings.Cut(s.rest[1:], "'")
	if !ok {
		return errNotUnderstood
	}
	s.rest = rest
	s.current.quoted = true
	s.add(part{text: text})
	return nil
}

func (s *scanner) double() error {
	s.rest = s.rest[1:]
	s.current.quoted = true
	s.add(part{})
	for s.rest != "" {
		switch s.rest[0] {
		case '"':
			s.rest = s.rest[1:]
			return nil
		case '`':
			return errNotUnderstood
		case '$':
			if err := s.dollar(); err != nil {
				return err
			}
		case '\\':
			if len(s.rest) > 1 && !strings.ContainsRune("\"\\$`\n", rune(s.rest[1])) {
				s.add(part{text: `\`})
				s.rest = s.rest[1:]
				continue
			}
			if err := s.escaped(); err != nil {
				return err
			}
		default:
			s.add(part{text: s.rest[:1]})
			s.rest = s.rest[1:]
		}
	}
	return errNotUnderstood
}

// escaped takes a backslash and what follows it; a newline is then nothing.
func (s *scanner) escaped() error {
	if len(s.rest) < 2 {
		return errNotUnderstood
	}
	if s.rest[1] != '\n' {
		s.current.quoted = true
		s.add(part{text: s.rest[1:2]})
	}
	s.rest = s.rest[2:]
	return nil
}

// dollar takes $NAME, ${NAME}, $0 to $9, $?, $! or $(date); a lone $ is itself.
func (s *scanner) dollar() error {
	rest := s.rest[1:]
	switch {
	case rest != "" && strings.ContainsAny(rest[:1], "?!0123456789"):
		s.add(part{text: rest[:1], variable: true})
		s.rest = rest[1:]
		return nil
	case strings.HasPrefix(rest, dateCommand):
		s.add(part{text: dateCommand, variable: true})
		s.rest = rest[len(dateCommand):]
		return nil
	case strings.HasPrefix(rest, "{"):
		name, after, ok := strings.Cut(rest[1:], "}")
		if !ok || !isName(name) {
			return errNotUnderstood
		}
		s.add(part{text: name, variable: true})
		s.rest = after
		return nil
	}
	length := nameLength(rest)
	if length == 0 {
		if rest != "" && strings.ContainsAny(rest[:1], "$@*#-(") {
			return errNotUnderstood
		}
		s.add(part{text: "$"})
		s.rest = rest
		return nil
	}
	s.add(part{text: rest[:length], variable: true})
	s.rest = rest[length:]
	return nil
}

// nameLength is how much of the text's start is a name.
func nameLength(text string) int {
	length := 0
	for length < len(text) && isName(text[:length+1]) {
		length++
	}
	return length
}
