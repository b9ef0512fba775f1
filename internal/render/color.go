package render

import (
	"finack/decode"
	"finack/trace"
)

// color is an ANSI colour (ECMA-48 SGR).
type color uint8

const (
	plain  color = 0
	bold   color = 1
	red    color = 31
	green  color = 32
	yellow color = 33
	cyan   color = 36
)

// color appends the escape sequence of c where colour is wanted.
func (t *Text) color(dst []byte, c color) []byte {
	if !t.Color {
		return dst
	}
	dst = append(dst, "\x1b["...)
	if c >= 10 {
		dst = append(dst, '0'+byte(c)/10)
	}
	return append(dst, '0'+byte(c)%10, 'm')
}

// paint appends s in colour.
func (t *Text) paint(dst []byte, c color, s string) []byte {
	if c == plain {
		return append(dst, s...)
	}
	dst = t.color(dst, c)
	dst = append(dst, s...)
	return t.color(dst, plain)
}

// AppendHeading appends a line that begins something of its own.
func (t *Text) AppendHeading(dst []byte, text string) []byte {
	return append(t.paint(dst, bold, text), '\n')
}

// state appends a state: green while data flows, red where a program's close
// is awaited, yellow on the way out.
func (t *Text) state(dst []byte, s trace.State) []byte {
	c := yellow
	switch s {
	case trace.Established:
		c = green
	case trace.CloseWait:
		c = red
	case trace.Closed, trace.Listen, trace.Unknown:
		c = plain
	case trace.SynSent, trace.SynReceived:
		c = cyan
	}
	return t.paint(dst, c, s.String())
}

// flags appends the flags of a segment, in colour where it opens or closes.
func (t *Text) flags(dst []byte, f decode.Flags) []byte {
	c := flagColor(f)
	dst = t.color(dst, c)
	dst = appendFlags(dst, f, '+')
	if c != plain {
		dst = t.color(dst, plain)
	}
	return dst
}

func flagColor(f decode.Flags) color {
	switch {
	case f.Has(decode.RST):
		return red
	case f.Has(decode.FIN):
		return yellow
	case f.Has(decode.SYN):
		return cyan
	default:
		return plain
	}
}
