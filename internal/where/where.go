// Package where is the language of --where: predicates on the account of a
// connection or flow, as against those on packets, which are pcap-filter(7)'s.
//
//	state=CLOSE_WAIT and closed-by=client
//	teardown=reset or (handshake=three-way and rtt > 100ms)
//	host=10.0.0.0/8 and not port=443
//
// A test is a field, an operator (= or ==, !=, <, <=, >, >=) and a value; Fields
// lists the fields with their values. not (!) binds closer than and (&&), and
// and closer than or (||), as in most languages and unlike in pcap-filter(7);
// brackets group. Words may be in any case, with -, _ or nothing between their
// parts: CLOSE_WAIT, close-wait and CloseWait are one.
//
// Where a field has two values, such as the state of either end, a test is true
// when it is of one of them; != is true when = is of neither. A field that a
// connection does not have, such as the RTT of one joined midstream, or a UDP
// flow's teardown, makes every test of it false, that of != too. Its name alone
// is true where there is one: not rtt.
package where

import (
	"fmt"
	"strconv"

	"finack/trace"
)

// Predicate is a parsed expression. It is immutable: any goroutine may use it.
type Predicate struct {
	root node
}

// Parse parses an expression. An error is a *SyntaxError.
func Parse(text string) (*Predicate, error) {
	p := parser{text: text}
	p.advance()
	root, err := p.any(0)
	if err == nil && p.word != "" {
		err = p.errorf(`want "and", "or" or the end`)
	}
	if err != nil {
		return nil, err
	}
	return &Predicate{root}, nil
}

// Match reports whether the predicate is true of c.
func (p *Predicate) Match(c *trace.Conn) bool { return p.root.match(c) }

// String returns the predicate as Parse takes it, each word as Fields has it.
func (p *Predicate) String() string { return string(p.root.append(nil)) }

// SyntaxError says which word of an expression is wrong, and what would be right.
type SyntaxError struct {
	Word   string // the offending word; empty at the end of the expression
	Offset int    // of Word in the expression, in bytes
	Msg    string
}

// Error returns one line: the word, what is wrong with it, and its offset.
func (e *SyntaxError) Error() string {
	word := e.Word
	if word == "" {
		word = "end of expression"
	} else if q := strconv.QuoteToASCII(word); q != `"`+word+`"` {
		word = q
	}
	return fmt.Sprintf("%s: %s (at offset %d)", word, e.Msg, e.Offset)
}

// node is a part of an expression: a test, or what joins others.
type node struct {
	op   nodeOp
	of   []node // of not one, of and and or two or more, none of the same op
	test test
}

type nodeOp uint8

const (
	opTest nodeOp = iota
	opNot
	opAnd
	opOr
)

func (n *node) match(c *trace.Conn) bool {
	switch n.op {
	case opNot:
		return !n.of[0].match(c)
	case opAnd:
		for i := range n.of {
			if !n.of[i].match(c) {
				return false
			}
		}
		return true
	case opOr:
		for i := range n.of {
			if n.of[i].match(c) {
				return true
			}
		}
		return false
	default:
		return n.test.match(c)
	}
}

func (n *node) append(dst []byte) []byte {
	switch n.op {
	case opNot:
		return n.of[0].appendIn(append(dst, "not "...), opNot)
	case opAnd, opOr:
		for i := range n.of {
			if i > 0 {
				dst = append(dst, [...]string{opAnd: " and ", opOr: " or "}[n.op]...)
			}
			dst = n.of[i].appendIn(dst, n.op)
		}
		return dst
	default:
		return n.test.append(dst)
	}
}

// appendIn appends n as a part of outer, in brackets if it binds less.
func (n *node) appendIn(dst []byte, outer nodeOp) []byte {
	if n.op <= outer {
		return n.append(dst)
	}
	dst = n.append(append(dst, '('))
	return append(dst, ')')
}

// comparison is an operator.
type comparison uint8

const (
	exists comparison = iota // no operator: the field is there or, of a flag, true
	equal
	unequal
	less
	lessEqual
	greater
	greaterEqual
)

var operators = [...]string{exists: "", equal: "=", unequal: "!=", less: "<", lessEqual: "<=", greater: ">", greaterEqual: ">="}

// test is a field, an operator and a value.
type test struct {
	field *field
	op    comparison
	n     int64 // the value, unless it is an address
	addr  address
}

func (t *test) match(c *trace.Conn) bool {
	var found [2]bool // of each value: it is as the test says
	var n int
	if t.field.kind == kindAddress {
		for _, s := range t.field.sides {
			found[n] = t.addr.is(c, s)
			n++
		}
	} else {
		var values [2]int64
		values, n = t.field.get(c)
		for i := range n {
			found[i] = t.op.holds(values[i], t.n)
		}
	}
	switch {
	case n == 0:
		return false
	case t.op == exists:
		return t.field.kind != kindFlag || found[0]
	case t.op == unequal:
		return !found[0] && !found[1]
	default:
		return found[0] || found[1]
	}
}

// holds compares two numbers. Of unequal it says when it does not hold.
func (op comparison) holds(a, b int64) bool {
	switch op {
	case less:
		return a < b
	case lessEqual:
		return a <= b
	case greater:
		return a > b
	case greaterEqual:
		return a >= b
	default:
		return a == b
	}
}

func (t *test) append(dst []byte) []byte {
	dst = append(append(dst, t.field.name...), operators[t.op]...)
	if t.op == exists {
		return dst
	}
	return t.field.appendValue(dst, t)
}
