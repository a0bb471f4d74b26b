package critest

import (
	"slices"
	"strconv"
	"strings"
)

// node is a part of a parsed script.
type node interface {
	run(*shell) error
}

// andOr is commands with && or || between them.
type andOr struct {
	commands   []node
	operators  []string
	background bool
}

// loop is while true.
type loop struct{ body []node }

type forEach struct {
	name  string
	items []word
	body  []node
}

// simple is one command with its words.
type simple struct {
	words       []word
	assignments map[string]word
	redirects   []redirect
}

// redirect is output that goes elsewhere: to a file, or to "&1" or "&2".
type redirect struct{ target word }

// word is text with variables in it.
type word struct {
	parts  []part
	quoted bool // also counts when it is empty
}

type part struct {
	text     string
	variable bool
}

func (w word) expand(s *shell) (string, error) {
	var text strings.Builder
	for _, part := range w.parts {
		switch {
		case !part.variable:
			text.WriteString(part.text)
		case part.text == "?":
			text.WriteString(strconv.Itoa(int(s.status)))
		case part.text == dateCommand:
			text.WriteString(dateMark)
		default:
			text.WriteString(s.env[part.text])
		}
	}
	s.steps += text.Len() / stepBytes
	if s.steps > maxSteps {
		return "", errNotUnderstood
	}
	return text.String(), nil
}

// literal is the word when it is plain text without quotes, else "".
func (w word) literal() string {
	if w.quoted || len(w.parts) != 1 || w.parts[0].variable {
		return ""
	}
	return w.parts[0].text
}

// token is a word, or an operator when op is not empty.
type token struct {
	op   string
	word word
}

// parseShell parses a script. Whatever it does not know is errNotUnderstood.
func parseShell(script string) ([]node, error) {
	tokens, err := scanShell(script)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	list, err := p.list()
	if err != nil {
		return nil, err
	}
	if len(p.tokens) > 0 || p.depth != 0 {
		return nil, errNotUnderstood
	}
	return list, nil
}

const maxDepth = 20

type parser struct {
	tokens []token
	depth  int
}

func (p *parser) peek() token {
	if len(p.tokens) == 0 {
		return token{op: "end"}
	}
	return p.tokens[0]
}

// accept takes the next token if it is that operator or reserved word.
func (p *parser) accept(text string) bool {
	next := p.peek()
	if next.op != text && (next.op != "" || next.word.literal() != text) {
		return false
	}
	p.tokens = p.tokens[1:]
	return true
}

// list parses up to the end or the word that closes a loop.
func (p *parser) list() ([]node, error) {
	var list []node
	for {
		for p.accept(";") {
		}
		if next := p.peek(); next.op == "end" || next.word.literal() == "done" {
			return list, nil
		}
		part, err := p.andOr()
		if err != nil {
			return nil, err
		}
		part.background = p.accept("&")
		list = append(list, part)
		if next := p.peek(); !part.background && next.op != ";" && next.op != "end" {
			return nil, errNotUnderstood
		}
	}
}

func (p *parser) andOr() (andOr, error) {
	var joined andOr
	for {
		command, err := p.command()
		if err != nil {
			return andOr{}, err
		}
		joined.commands = append(joined.commands, command)
		operator := p.peek().op
		if operator != "&&" && operator != "||" {
			return joined, nil
		}
		p.accept(operator)
		for p.accept(";") {
		}
		joined.operators = append(joined.operators, operator)
	}
}

func (p *parser) command() (node, error) {
	switch {
	case p.accept("while"):
		if !p.accept("true") && !p.accept(":") {
			return nil, errNotUnderstood
		}
		body, err := p.body()
		return loop{body: body}, err
	case p.accept("for"):
		return p.forEach()
	}
	return p.simple()
}

// body parses do …; done.
func (p *parser) body() ([]node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, errNotUnderstood
	}
	for p.accept(";") {
	}
	if !p.accept("do") {
		return nil, errNotUnderstood
	}
	body, err := p.list()
	if err != nil {
		return nil, err
	}
	if !p.accept("done") {
		return nil, errNotUnderstood
	}
	p.depth--
	return body, nil
}

func (p *parser) forEach() (node, error) {
	name := p.peek().word.literal()
	if !isName(name) || !p.accept(name) || !p.accept("in") {
		return nil, errNotUnderstood
	}
	each := forEach{name: name}
	for p.peek().op == "" {
		each.items = append(each.items, p.peek().word)
		p.tokens = p.tokens[1:]
	}
	body, err := p.body()
	each.body = body
	return each, err
}

func (p *parser) simple() (node, error) {
	var command simple
	for {
		next := p.peek()
		switch {
		case next.op == ">":
			p.accept(">")
			if p.peek().op != "" {
				return nil, errNotUnderstood
			}
			command.redirects = append(command.redirects, redirect{target: p.peek().word})
		case next.op != "":
			if len(command.words)+len(command.assignments) == 0 {
				return nil, errNotUnderstood
			}
			return command, nil
		case len(command.words) == 0 && isReserved(next.word.literal()):
			return nil, errNotUnderstood
		case len(command.words) == 0 && command.assign(next.word):
		default:
			command.words = append(command.words, next.word)
		}
		p.tokens = p.tokens[1:]
	}
}

// assign takes a word of the form NAME=value.
func (n *simple) assign(w word) bool {
	if len(w.parts) == 0 || w.parts[0].variable {
		return false
	}
	name, value, ok := strings.Cut(w.parts[0].text, "=")
	if !ok || !isName(name) {
		return false
	}
	if n.assignments == nil {
		n.assignments = map[string]word{}
	}
	n.assignments[name] = word{parts: append([]part{{text: value}}, w.parts[1:]...), quoted: true}
	return true
}

func isName(text string) bool {
	for i, c := range text {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return text != ""
}

func isReserved(text string) bool {
	reserved := []string{"if", "then", "else", "elif", "fi", "case", "esac", "until", "do", "done", "in", "{", "}", "!", "function", "[[", "time"}
	return slices.Contains(reserved, text)
}
