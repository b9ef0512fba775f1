package trace

import "finack/decode"

// datagram takes a UDP datagram. UDP has no beginning and no end: whoever sends
// first is the client, and silence ends the flow.
func (t *Tracker) datagram(p *decode.Packet) {
	var k key
	srcHi := makeKey(&k, &p.Src, &p.Dst, decode.ProtoUDP)
	c, first := t.flow(&k, srcHi, p)
	t.exchange(c, c.side(srcHi), first, p)
}

// echo takes an ICMP echo request or reply. A flow has one pair of addresses
// and one identifier, which stands where UDP has ports.
func (t *Tracker) echo(p *decode.Packet) {
	src, dst := p.Src, p.Dst
	src.Port, dst.Port = p.ICMP.ID, p.ICMP.ID
	var k key
	srcHi := makeKey(&k, &src, &dst, p.Proto)
	from := Client
	if p.ICMP.Type == echoReply || p.ICMP.Type == echoReply6 {
		from = Server
	}
	c, first := t.flow(&k, srcHi == (from == Client), p)
	t.exchange(c, from, first, p)
}

// ICMP types of echo replies (RFC 792; RFC 4443 section 4.2). ICMP's own has
// no other meaning in ICMPv6, nor the other way round.
const (
	echoReply  = 0
	echoReply6 = 129
)

// flow finds the record of a datagram's flow, or begins one; clientHi is then
// whether the client is the higher endpoint.
func (t *Tracker) flow(k *key, clientHi bool, p *decode.Packet) (c *record, first bool) {
	h := t.hash(k)
	c, idx := t.find(k, h)
	if first = c == nil; first {
		t.stats.Flows++
		c, _ = t.open(k, h, clientHi, listFlow, p)
	} else {
		t.move(listFlow, c, idx)
	}
	c.opened = int64(t.now)
	t.wake = min(t.wake, c.flowDue(t.cfg.UDPTimeout))
	return c, first
}

// exchange counts a datagram of side s.
func (t *Tracker) exchange(c *record, s Side, first bool, p *decode.Packet) {
	answer := s == Server && c.ends[Server].packets == 0
	if answer {
		c.lastData = p.Time // of the first answer
	}
	if s == Server {
		c.extra = 0 // what was unreachable has answered
	}
	c.count(s, p)
	if (t.cfg.All || first || answer) && !t.cfg.Without.Has(DatagramSeen) {
		e := t.event(c, DatagramSeen, p.Time, s)
		e.TTL, e.Iface = p.TTL, p.Iface
		e.Len, e.First = p.Len, first
		e.ICMPType, e.ICMPCode, e.IPv6 = p.ICMP.Type, p.ICMP.Code, p.Version == 6
		t.out = append(t.out, e)
	}
}

// icmp takes an ICMP message. An error that quotes a connection or flow is told
// of it; it proves nothing about a connection's state (RFC 5927).
func (t *Tracker) icmp(p *decode.Packet) {
	if p.ICMP.Echo {
		t.echo(p)
		return
	}
	e := Event{Kind: ICMPSeen, Proto: p.Proto, Time: p.Time, Client: p.Src, Server: p.Dst, Len: p.Len}
	e.TTL, e.Iface = p.TTL, p.Iface
	e.ICMPType, e.ICMPCode, e.IPv6 = p.ICMP.Type, p.ICMP.Code, p.Version == 6
	q := &p.ICMP
	src, dst := q.QuotedSrc, q.QuotedDst
	switch q.QuotedProto {
	case decode.ProtoICMP, decode.ProtoICMPv6:
		src.Port, dst.Port = q.QuotedID, q.QuotedID
		fallthrough
	case decode.ProtoTCP, decode.ProtoUDP:
		var k key
		srcHi := makeKey(&k, &src, &dst, q.QuotedProto)
		if c, _ := t.find(&k, t.hash(&k)); c != nil {
			// From is the end whose packet was refused.
			ce := t.event(c, ICMPSeen, p.Time, c.side(srcHi))
			ce.ICMPType, ce.ICMPCode, ce.IPv6, ce.Len = e.ICMPType, e.ICMPCode, e.IPv6, e.Len
			ce.TTL, ce.Iface = e.TTL, e.Iface
			e = ce
			switch {
			case q.QuotedProto == decode.ProtoTCP:
				e.Anomaly = ICMPError
			case Unreachable(p.ICMP.Type, p.Version == 6):
				c.extra = 1 + min(p.ICMP.Code, 254)
			}
		}
	}
	if !t.cfg.Without.Has(ICMPSeen) {
		t.out = append(t.out, e)
	}
}

// Unreachable reports whether an ICMP type is "destination unreachable"
// (RFC 792; RFC 4443 section 3.1).
func Unreachable(icmpType uint8, v6 bool) bool {
	if v6 {
		return icmpType == 1
	}
	return icmpType == 3
}
