package trace

import "finack/decode"

// datagram takes a UDP datagram. UDP has no beginning and no end: whoever sends
// first is the client, and silence ends the flow.
func (t *Tracker) datagram(p *decode.Packet) {
	var k key
	srcHi := makeKey(&k, &p.Src, &p.Dst, decode.ProtoUDP)
	h := t.hash(&k)
	c, idx := t.find(&k, h)
	first := c == nil
	if first {
		t.stats.Flows++
		c, _ = t.open(&k, h, srcHi, listFlow, p)
	} else {
		t.move(listFlow, c, idx)
	}
	c.opened = int64(t.now)
	s := c.side(srcHi)
	answer := s == Server && c.ends[Server].packets == 0
	if answer {
		c.lastData = p.Time // of the first answer
	}
	c.count(s, p)
	if t.cfg.All || first || answer {
		e := t.event(c, DatagramSeen, p.Time, s)
		e.Len, e.First = p.Len, first
		t.out = append(t.out, e)
	}
}

// icmp takes an ICMP message. An error that quotes a connection or flow is told
// of it; it proves nothing about a connection's state (RFC 5927).
func (t *Tracker) icmp(p *decode.Packet) {
	e := Event{Kind: ICMPSeen, Proto: p.Proto, Time: p.Time, Client: p.Src, Server: p.Dst, Len: p.Len}
	e.ICMPType, e.ICMPCode, e.IPv6 = p.ICMP.Type, p.ICMP.Code, p.Version == 6
	q := &p.ICMP
	if q.QuotedProto == decode.ProtoTCP || q.QuotedProto == decode.ProtoUDP {
		var k key
		srcHi := makeKey(&k, &q.QuotedSrc, &q.QuotedDst, q.QuotedProto)
		if c, _ := t.find(&k, t.hash(&k)); c != nil {
			// From is the end whose packet was refused.
			ce := t.event(c, ICMPSeen, p.Time, c.side(srcHi))
			ce.ICMPType, ce.ICMPCode, ce.IPv6, ce.Len = e.ICMPType, e.ICMPCode, e.IPv6, e.Len
			e = ce
			if q.QuotedProto == decode.ProtoUDP && Unreachable(p.ICMP.Type, p.Version == 6) {
				c.extra = 1 + min(p.ICMP.Code, 254)
			}
			if q.QuotedProto == decode.ProtoTCP {
				e.Anomaly = ICMPError
			}
		}
	}
	t.out = append(t.out, e)
}

// Unreachable reports whether an ICMP type is "destination unreachable"
// (RFC 792; RFC 4443 section 3.1).
func Unreachable(icmpType uint8, v6 bool) bool {
	if v6 {
		return icmpType == 1
	}
	return icmpType == 3
}
