// Package pcapfilter compiles pcap-filter(7) expressions to classic BPF.
//
// It agrees with libpcap packet by packet on what it covers, which is the whole
// language but for what only other link types than finack's have, gateway, and
// the addresses of DECnet and ARCnet: all that is an error that points at the
// word. Where libpcap itself errs, the comment at the code says so. Host names
// are never resolved and no file is read.
package pcapfilter

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/net/bpf"
)

// ErrRejectsAll is the error for an expression that can match nothing on a
// link, such as arp where only IP is carried.
var ErrRejectsAll = errors.New("expression rejects all packets")

// ErrTooLong is the error for a program of more than 4096 instructions, the
// most that the kernel takes (BPF_MAXINSNS).
var ErrTooLong = errors.New("filter program longer than 4096 instructions")

// Filter is a parsed expression. It is immutable: any goroutine may use it.
type Filter struct {
	expr string
	root node // nil: everything is accepted
}

// SyntaxError says which word of an expression is wrong or not supported.
type SyntaxError struct {
	Expr   string // the whole expression
	Word   string // the offending word; empty at the end of the expression
	Offset int    // of Word in Expr, in bytes
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

// Parse parses a pcap-filter(7) expression. The empty expression accepts
// everything. An error is a *SyntaxError.
func Parse(expr string) (*Filter, error) {
	root, err := parse(expr)
	if err != nil {
		return nil, err
	}
	return &Filter{expr: expr, root: root}, nil
}

// Live returns a program for packet(7) sockets of any link type, SOCK_RAW and
// SOCK_DGRAM: the kernel tells the protocol (SKF_AD_PROTOCOL) and where the
// network header is (SKF_NET_OFF). Accepted packets are cut to snaplen bytes;
// zero means 262144. An Ethernet address matches on Ethernet and loopback only.
//
// It selects what the program of ForLink selects in a file of the same frames,
// also of those whose outer VLAN tag the kernel takes out: they are tagged
// frames, and only what follows vlan in the expression sees what they carry.
// (libpcap's live filters see through the first tag.) Two things differ: ether[…]
// beyond the addresses reads such a frame without its tag, and len on a
// SOCK_DGRAM socket does not count the link header.
//
// Older kernels (6.18 no longer) look for such offsets in a packet's linear part
// only: headers are nearly always there, payload often is not.
func (f *Filter) Live(snaplen uint32) ([]bpf.RawInstruction, error) {
	if snaplen == 0 {
		snaplen = acceptAll
	}
	return compile(f, liveLayout(), snaplen)
}

// ForLink returns the program for frames of the link type link, a LINKTYPE_
// value of the pcap format.
func (f *Filter) ForLink(link uint16) (*Program, error) {
	l, ok := layoutOf(link)
	if !ok {
		return nil, fmt.Errorf("compile filter: link type %d not supported", link)
	}
	code, err := compile(f, l, acceptAll)
	if err != nil {
		return nil, err
	}
	return &Program{code}, nil
}

// String returns the expression as it was given to Parse.
func (f *Filter) String() string { return f.expr }

// acceptAll is the number of bytes that tcpdump accepts by default.
const acceptAll = 262144

// compile generates f's program for one layout.
func compile(f *Filter, l *layout, accept uint32) ([]bpf.RawInstruction, error) {
	g := &gen{layout: *l, expr: f.expr}
	g.accept, g.reject = g.newLabel(), g.newLabel()
	if f.root != nil {
		f.root.gen(g, g.accept, g.reject)
	} else {
		g.jump(g.accept)
	}
	g.bind(g.accept)
	g.emit(opRet, accept)
	g.bind(g.reject)
	g.emit(opRet, 0)
	g.prelude()
	if g.err != nil {
		return nil, g.err
	}
	return g.assemble()
}
