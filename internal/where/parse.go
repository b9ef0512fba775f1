package where

import (
	"fmt"
	"strings"
)

// maxDepth bounds brackets and nots in one another.
const maxDepth = 100

// parser takes an expression word by word.
type parser struct {
	text string
	at   int    // of word in text
	word string // at hand; "" at the end
	next int    // where the word after it is looked for
}

// advance makes the next word the one at hand: an operator, a bracket, or
// whatever lies between these and spaces.
func (p *parser) advance() {
	p.at = p.next
	for p.at < len(p.text) && isSpace(p.text[p.at]) {
		p.at++
	}
	rest := p.text[p.at:]
	n := 0
	for n < len(rest) && !isSpace(rest[n]) && !strings.ContainsRune(special, rune(rest[n])) {
		n++
	}
	if n == 0 && rest != "" {
		n = 1
		for _, two := range [...]string{"==", "!=", "<=", ">=", "&&", "||"} {
			if strings.HasPrefix(rest, two) {
				n = 2
			}
		}
	}
	p.word, p.next = rest[:n], p.at+n
}

// special are the bytes that end a word and are one themselves.
const special = "()=!<>&|"

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }

func (p *parser) errorf(format string, args ...any) error {
	return &SyntaxError{Word: p.word, Offset: p.at, Msg: fmt.Sprintf(format, args...)}
}

// any parses what or joins.
func (p *parser) any(depth int) (node, error) {
	return p.joined(opOr, "or", "||", depth, p.all)
}

// all parses what and joins.
func (p *parser) all(depth int) (node, error) {
	return p.joined(opAnd, "and", "&&", depth, p.one)
}

func (p *parser) joined(op nodeOp, word, sign string, depth int, part func(depth int) (node, error)) (node, error) {
	first, err := part(depth)
	if err != nil || !p.is(word, sign) {
		return first, err
	}
	n := node{op: op}
	for next := first; ; {
		if next.op == op { // in brackets that change nothing
			n.of = append(n.of, next.of...)
		} else {
			n.of = append(n.of, next)
		}
		if !p.is(word, sign) {
			return n, nil
		}
		p.advance()
		if next, err = part(depth); err != nil {
			return n, err
		}
	}
}

func (p *parser) is(word, sign string) bool { return p.word == sign || strings.EqualFold(p.word, word) }

// one parses a test, one that not precedes, or an expression in brackets.
func (p *parser) one(depth int) (node, error) {
	if depth == maxDepth {
		return node{}, p.errorf("more than %d brackets and nots in one another", maxDepth)
	}
	switch {
	case p.is("not", "!"):
		p.advance()
		n, err := p.one(depth + 1)
		return node{op: opNot, of: []node{n}}, err
	case p.word == "(":
		p.advance()
		n, err := p.any(depth + 1)
		if err == nil && p.word != ")" {
			err = p.errorf(`want "and", "or" or ")"`)
		}
		p.advance()
		return n, err
	default:
		t, err := p.test()
		return node{test: t}, err
	}
}

// test parses a field with its operator and value.
func (p *parser) test() (test, error) {
	f := find(p.word)
	if f == nil {
		return test{}, p.unknown()
	}
	t := test{field: f}
	p.advance()
	switch p.word {
	case "=", "==":
		t.op = equal
	case "!=":
		t.op = unequal
	case "<":
		t.op = less
	case "<=":
		t.op = lessEqual
	case ">":
		t.op = greater
	case ">=":
		t.op = greaterEqual
	default:
		if !f.optional && f.kind != kindFlag {
			return t, p.errorf("want %s after %s", f.kind.operators(), f.name)
		}
		t.n = 1 // a flag is to be true
		return t, nil
	}
	if t.op > unequal && !f.kind.ordered() {
		return t, p.errorf("want = or != after %s", f.name)
	}
	p.advance()
	if !f.parseValue(p.word, &t) {
		return t, p.errorf("want %s", f.want())
	}
	p.advance()
	return t, nil
}

// unknown is the error for a word where a field should be.
func (p *parser) unknown() error {
	if p.word == "" || strings.Contains(special, p.word[:1]) {
		return p.errorf("want a field, such as state=CLOSE_WAIT")
	}
	var names, near []string
	word := fold(p.word)
	for i := range fields {
		name := fields[i].name
		names = append(names, name)
		if f := fold(name); strings.Contains(f, word) || strings.Contains(word, f) || distance(f, word) <= 2 {
			near = append(near, name)
		}
	}
	if near != nil {
		return p.errorf("no such field: is it %s?", list(near, "or"))
	}
	return p.errorf("no such field: want %s", list(names, "or"))
}

// distance is the number of letters to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			d := left
			if a[i] != b[j] {
				d++
			}
			row[j+1] = min(d, above+1, row[j]+1)
			left = above
		}
	}
	return row[len(b)]
}

// list joins words: "a, b or c".
func list(words []string, last string) string {
	n := len(words) - 1
	if n == 0 {
		return words[0]
	}
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}
