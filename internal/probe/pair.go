package probe

import (
	"time"

	"finack/decode"
)

// Kind says what an Event tells.
type Kind uint8

// The kinds of event.
const (
	Sent        Kind = iota // a packet of ours, as it passed the wire
	Answer                  // what answers one
	KernelReset             // a RST from our address that is not ours: this host's kernel knows no such connection
)

// Event is a packet that was seen. It is a value and may be kept, but for
// Packet.Payload.
type Event struct {
	Kind      Kind
	N         int           // of the packet of ours that it is, or belongs to, from 1
	Packet    decode.Packet // of a fragmented one the first fragment
	Fragments int           // Sent: in how many it was
	Len       int           // Sent: the payload of them all
	First     bool          // Sent: the first between these ends
	RTT       time.Duration // Answer: since ours passed the wire, by the kernel's times
	Again     bool          // Answer: not the first one
	Proves    string        // Answer: what it proves, in words; "" for nothing certain
}

// probe is a packet that was sent.
type probe struct {
	packet     decode.Packet    // what is expected on the wire, without payload
	given      time.Time        // to the kernel
	at         decode.Timestamp // when it passed the wire; until that is known, given
	seen       bool             // it passed the wire
	answered   bool
	answer     decode.Packet // the last one
	fragments  int
	payloadLen int
}

// pairing knows what was sent.
type pairing struct {
	spec   *Spec
	dec    decode.Decoder
	probes []probe
	unseen int // all before it were seen
}

// add notes that the packet in these fragments was given to the kernel.
func (m *pairing) add(fragments [][]byte, now time.Time) {
	first := fragments[0]
	pr := probe{given: now, at: decode.TimestampOf(now), fragments: len(fragments), payloadLen: len(m.spec.Payload)}
	f := decode.Frame{Link: decode.LinkRaw, Data: first, Wire: len(first)}
	_ = m.dec.Decode(&f, &pr.packet) // what it cannot read it will not read on the wire either
	pr.packet.Payload = nil
	m.probes = append(m.probes, pr)
}

// copyTime is how long a packet takes from one interface of a host to another.
const copyTime = 5 * time.Millisecond

// see tells what a packet is, if it is one of ours or belongs to one.
func (m *pairing) see(p *decode.Packet) (e Event, ok bool) {
	e = Event{Packet: *p}
	if i := m.own(p); i >= 0 {
		pr := &m.probes[i]
		if pr.seen {
			return e, false // a copy, seen on another interface
		}
		pr.at = p.Time
		return m.sent(i, e), true
	}
	if i := m.reset(p); i >= 0 {
		e.Kind, e.N = KernelReset, i+1
		return e, true
	}
	i := m.answered(p)
	if i < 0 || m.probes[i].hasCopy(p) {
		return e, false
	}
	pr := &m.probes[i]
	e.Kind, e.N, e.RTT, e.Again = Answer, i+1, max(0, p.Time.Sub(pr.at)), pr.answered
	e.Proves = proves(&pr.packet, p)
	if !isRedirect(p) {
		pr.answered, pr.answer = true, *p
		pr.answer.Payload = nil
	}
	return e, true
}

// sent makes e tell of packet i of ours, which is seen.
func (m *pairing) sent(i int, e Event) Event {
	pr := &m.probes[i]
	pr.seen = true
	for m.unseen < len(m.probes) && m.probes[m.unseen].seen {
		m.unseen++
	}
	e.Kind, e.N, e.Fragments, e.Len = Sent, i+1, pr.fragments, pr.packet.Len
	if pr.fragments > 1 {
		e.Len = pr.payloadLen
	}
	e.First = i == 0 || m.probes[i-1].packet.Src != pr.packet.Src
	return e
}

// own returns the number of the packet of ours that p is, -1 for none: the
// first one not seen yet, or one that was seen.
func (m *pairing) own(p *decode.Packet) int {
	for i := m.unseen; i < len(m.probes); i++ {
		if pr := &m.probes[i]; !pr.seen && pr.is(p) {
			return i
		}
	}
	for i := range m.probes {
		if pr := &m.probes[i]; pr.seen && pr.is(p) && (p.IPID == pr.packet.IPID || pr.packet.IPID == 0) {
			return i
		}
	}
	return -1
}

// hasCopy reports whether p is the last answer once more, on its way through
// another interface of this host.
func (pr *probe) hasCopy(p *decode.Packet) bool {
	a := &pr.answer
	return pr.answered && p.Iface != a.Iface && p.Time.Sub(a.Time) < copyTime &&
		looksAlike(p, a) && p.Len == a.Len && p.IPID == a.IPID
}

// is reports whether p is this packet of ours, as it is on the wire. One in
// fragments may be whole there: connection tracking puts them together.
func (pr *probe) is(p *decode.Packet) bool {
	return looksAlike(p, &pr.packet) && (p.Len == pr.packet.Len || pr.fragments > 1 && p.Len == pr.payloadLen)
}

// looksAlike reports whether two packets are the same but for their payload.
func looksAlike(p, q *decode.Packet) bool {
	return p.Proto == q.Proto && p.Src == q.Src && p.Dst == q.Dst &&
		p.Segment.Seq == q.Segment.Seq && p.Segment.Ack == q.Segment.Ack && p.Segment.Flags == q.Segment.Flags &&
		p.ICMP.Type == q.ICMP.Type && p.ICMP.ID == q.ICMP.ID && p.ICMP.Seq == q.ICMP.Seq
}

// reset returns the number of the packet of ours for whose answer this host's
// kernel sends the RST p, -1 for none.
func (m *pairing) reset(p *decode.Packet) int {
	if p.Proto != decode.ProtoTCP || !p.Segment.Flags.Has(decode.RST) {
		return -1
	}
	for i := len(m.probes) - 1; i >= 0; i-- {
		pr := &m.probes[i]
		if pr.packet.Src == p.Src && pr.packet.Dst == p.Dst && pr.answered && pr.answer.Segment.Ack == p.Segment.Seq {
			return i
		}
	}
	return -1
}

// answered returns the number of the packet of ours that p answers, -1 for
// none: the first one that it fits best and that has no answer yet, else the
// last one with an answer.
func (m *pairing) answered(p *decode.Packet) int {
	best, again := -1, -1
	for i := range m.probes {
		pr := &m.probes[i]
		fit := fits(p, &pr.packet)
		switch {
		case fit == 0:
		case pr.answered:
			if fit == exactly || again < 0 {
				again = i
			}
		case fit == exactly:
			return i
		case best < 0:
			best = i
		}
	}
	if best < 0 {
		return again
	}
	return best
}

// How well an answer fits a packet of ours.
const (
	possibly = 1 + iota // between the same ends
	exactly             // and it names it
)

// fits tells how well p answers sent; 0: not at all.
func fits(p, sent *decode.Packet) int {
	if m := &p.ICMP; m.Error {
		if m.QuotedProto != sent.Proto || m.QuotedSrc != sent.Src || m.QuotedDst != sent.Dst ||
			sent.Proto == decode.ProtoTCP && m.QuotedSeq != sent.Segment.Seq || sent.ICMP.Echo && m.QuotedID != sent.ICMP.ID {
			return 0
		}
		return possibly
	}
	if p.Proto != sent.Proto || p.Src != sent.Dst || p.Dst != sent.Src {
		return 0
	}
	switch {
	case sent.Proto == decode.ProtoTCP && acknowledges(p, sent):
		return exactly
	case sent.ICMP.Echo:
		if !p.ICMP.Echo || p.ICMP.Type == sent.ICMP.Type || p.ICMP.ID != sent.ICMP.ID || p.ICMP.Seq != sent.ICMP.Seq {
			return 0
		}
		return exactly
	case p.ICMP.Echo:
		return 0 // of somebody else's ping
	}
	return possibly
}

// acknowledges reports whether a segment names ours: it acknowledges all of
// it, or is the bare RST that ours, with its own acknowledgment, draws (RFC
// 9293 section 3.10.7.1).
func acknowledges(p, sent *decode.Packet) bool {
	s := &p.Segment
	if s.Flags.Has(decode.ACK) {
		return s.Ack == sent.Segment.Seq+sent.SeqLen()
	}
	return s.Flags.Has(decode.RST) && sent.Segment.Flags.Has(decode.ACK) && s.Seq == sent.Segment.Ack
}

// isRedirect reports whether p only tells of a better way: the answer is yet to come.
func isRedirect(p *decode.Packet) bool {
	return p.Proto == decode.ProtoICMP && p.ICMP.Type == 5
}
