package tracetest

import (
	"slices"
	"testing"

	"finack/decode"
	"finack/trace"
)

// account is what was seen of one connection or flow by some moment.
type account struct {
	tr      *Trace
	events  []trace.Event
	frames  []decode.Frame
	verdict *trace.Conn
}

// Conn is the account of one TCP connection. Its assertions call t.Errorf when
// they do not hold, and the test goes on.
type Conn struct{ account }

// Flow is the account of one UDP flow.
type Flow struct{ account }

// account returns what there is of a connection or flow.
func (tr *Trace) account(id uint64) account {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	s := tr.conns[id]
	a := account{tr: tr, events: slices.Clone(s.events)}
	for _, i := range s.frames {
		a.frames = append(a.frames, tr.frames[i])
	}
	a.verdict = judge(id, a.frames)
	return a
}

// judge traces the frames of one connection again: a tracker that goes on tells
// only of those that are over.
func judge(id uint64, frames []decode.Frame) *trace.Conn {
	var d decode.Decoder
	var p decode.Packet
	var events []trace.Event
	tracker := trace.New(nil)
	for i := range frames {
		if d.Decode(&frames[i], &p) == nil {
			events = tracker.Observe(&p, events[:0])
		}
	}
	for c := range tracker.Conns() {
		c.ID = id
		return c
	}
	return &trace.Conn{ID: id}
}

// Verdict returns the account itself, for assertions of one's own: how the
// connection opened and closed, both states, what was counted. It is the
// caller's to keep and not to change.
func (a *account) Verdict() *trace.Conn { return a.verdict }

// Events returns what happened, packet by packet, with the states that each
// proves: every SegmentSeen, DatagramSeen, ICMPSeen, StateChanged, AnomalySeen.
// The slice is the caller's.
func (a *account) Events() []trace.Event { return slices.Clone(a.events) }

// Frames returns the captured frames, in order. They share their bytes with the
// trace and must not be changed.
func (a *account) Frames() []decode.Frame { return slices.Clone(a.frames) }

// Payload returns what a side of the connection sent, without what came twice:
// up to the first byte that was not captured (see Config.Snaplen). Of a flow it
// is the payload of its datagrams, one after another. The slice is the caller's.
func (a *account) Payload(side trace.Side) []byte {
	var d decode.Decoder
	var p decode.Packet
	var data []byte
	base := a.verdict.Base[side] + 1 // after the SYN
	for i := range a.frames {
		if d.Decode(&a.frames[i], &p) != nil || p.Len == 0 || !a.sentBy(side, &p) {
			continue
		}
		if p.Proto == decode.ProtoTCP {
			have := int32(base + uint32(len(data)) - p.Segment.Seq)
			if have < 0 || int(have) >= len(p.Payload) {
				continue // after a gap, or again
			}
			p.Payload = p.Payload[have:]
		}
		data = append(data, p.Payload...)
	}
	return data
}

// sentBy reports whether a packet comes from that side; an ICMP message does not.
func (a *account) sentBy(side trace.Side, p *decode.Packet) bool {
	if p.Proto != a.verdict.Proto {
		return false
	}
	if side == trace.Client {
		return p.Src == a.verdict.Client
	}
	return p.Src == a.verdict.Server
}

// String returns the connection as a ladder, with its verdict.
func (a *account) String() string { return string(a.appendTo(nil, -1)) }

// Match fails the test unless the packets match a pattern: steps, in the order
// of the capture, each the packet right after the one of the step before.
//
//	client > server SYN         a segment of that side, with exactly those flags
//	server > client SYN,ACK     names, also SYN+ACK: FIN SYN RST PSH ACK URG ECE CWR AE
//	server > client S.          or tcpdump's letters: F S R P . U E W e
//	client > server FIN,*       at least those flags; F* in letters
//	client > server *           any packet
//	client > server data        a segment with payload, whatever its flags
//	client > server udp         a datagram
//	server > client icmp        an ICMP error that quotes a packet of the client
//	…                           between two steps: any packets, or none; also ...
//	within 1s                   after a step: so long after the step before, at most
//
// White space and line ends separate words and mean nothing else. The pattern
// may begin and end anywhere in the connection. There is nothing more to it.
//
// A failure names the first step for which there is no packet, and marks the
// last packet that came as far as the step before, or the one that came too late.
func (a *account) Match(t testing.TB, pattern string) {
	t.Helper()
	p, err := parsePattern(pattern)
	if err != nil {
		t.Fatalf("tracetest: %v", err)
	}
	if m := p.match(a.events); !m.ok() {
		what, mark := p.explain(a.events, m)
		a.fail(t, mark, "%s", what)
	}
}

// NoMatch fails the test if the packets match a pattern.
func (a *account) NoMatch(t testing.TB, pattern string) {
	t.Helper()
	p, err := parsePattern(pattern)
	if err != nil {
		t.Fatalf("tracetest: %v", err)
	}
	if m := p.match(a.events); m.ok() {
		a.fail(t, m.last, "want nothing that matches %q", pattern)
	}
}

// Bytes fails the test unless the sides have sent so many bytes of payload. In a
// connection, what was sent again counts once.
func (a *account) Bytes(t testing.TB, client, server uint64) {
	t.Helper()
	if got := a.bytes(); got != [2]uint64{client, server} {
		a.fail(t, -1, "want %d bytes from the client and %d from the server, got %d and %d", client, server, got[0], got[1])
	}
}

// bytes returns how much payload each side has sent: in a connection, how far it
// has come in its sequence numbers.
func (a *account) bytes() (n [2]uint64) {
	if a.verdict.Proto != decode.ProtoTCP {
		return a.verdict.Bytes
	}
	for i := range a.events {
		e := &a.events[i]
		if e.Kind != trace.SegmentSeen || e.Len == 0 || e.Flags.Has(decode.RST) {
			continue
		}
		begin := e.SeqBase + 1
		if e.Flags.Has(decode.SYN) {
			begin = e.SeqBase // data on the SYN follows it
		}
		if end := int32(e.Seq - begin + uint32(e.Len)); end > 0 {
			n[e.From] = max(n[e.From], uint64(end))
		}
	}
	return n
}

// Datagrams fails the test unless the sides have sent so many datagrams.
func (f *Flow) Datagrams(t testing.TB, client, server uint64) {
	t.Helper()
	if got := f.verdict.Packets; got != [2]uint64{client, server} {
		f.fail(t, -1, "want %d datagrams from the client and %d from the server, got %d and %d", client, server, got[0], got[1])
	}
}

// Unreachable fails the test unless an ICMP error said that the server cannot be
// reached, as the kernel does where no socket is bound to the port, and the
// server has sent nothing since.
func (f *Flow) Unreachable(t testing.TB) {
	t.Helper()
	if !f.verdict.Unreachable {
		f.fail(t, -1, "want an ICMP error that says unreachable, got none, or an answer after it")
	}
}
