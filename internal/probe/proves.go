package probe

import (
	"fmt"
	"time"

	"finack/decode"
	"finack/internal/craft"
)

// What answers prove. RFC 9293 section 3.10.7 says how each state answers; a
// filter on the way may send a RST or an ICMP error in a host's name.
const (
	meansOpen     = "SYN+ACK: the port is open (LISTEN)"
	meansRefused  = "RST+ACK: closed: nobody listens, or a filter refuses"
	meansNoConn   = "RST: there is no such connection (CLOSED or LISTEN)"
	meansExists   = "ACK: there is a connection between these ends (RFC 5961)"
	meansClosed   = "RST+ACK: closed: in LISTEN it would have been dropped"
	meansServed   = "answered: the port is open"
	meansPort     = "port unreachable: nobody has the port, or a filter refuses"
	meansReply    = "echo reply: the host is up"
	meansProtocol = "protocol unreachable: nobody takes this protocol"
)

// proves says what p proves as an answer to sent, "" where nothing is certain.
func proves(sent, p *decode.Packet) string {
	if p.ICMP.Error {
		switch [3]uint8{p.Version, p.ICMP.Type, p.ICMP.Code} {
		case [3]uint8{4, 3, 3}, [3]uint8{6, 1, 4}:
			return meansPort
		case [3]uint8{4, 3, 2}, [3]uint8{6, 4, 1}: // RFC 4443 section 3.4: unrecognized next header
			return meansProtocol
		}
		return ""
	}
	switch sent.Proto {
	case decode.ProtoTCP:
		return segmentProves(sent.Segment.Flags, p.Segment.Flags, acknowledges(p, sent), acksSYN(sent, p))
	case decode.ProtoUDP:
		return meansServed
	case decode.ProtoICMP, decode.ProtoICMPv6:
		if p.ICMP.Echo {
			return meansReply
		}
	}
	return ""
}

// acksSYN reports whether p acknowledges the SYN of sent, if not its data: a
// server without fast open leaves that.
func acksSYN(sent, p *decode.Packet) bool {
	return sent.Segment.Flags.Has(decode.SYN) && p.Segment.Ack == sent.Segment.Seq+1
}

func segmentProves(sent, got decode.Flags, all, syn bool) string {
	const kinds = decode.SYN | decode.ACK | decode.RST
	switch got & kinds {
	case decode.SYN | decode.ACK:
		if sent&kinds == decode.SYN && (all || syn) {
			return meansOpen
		}
	case decode.RST | decode.ACK:
		switch {
		case sent&kinds == decode.SYN && all:
			return meansRefused
		case sent&kinds == 0 && all:
			return meansClosed
		}
	case decode.RST:
		if sent&(decode.ACK|decode.RST) == decode.ACK && all {
			return meansNoConn
		}
	case decode.ACK:
		return meansExists
	}
	return ""
}

// silence says what it means that nothing answered.
func (s *Spec) silence(timeout time.Duration) string {
	text := fmt.Sprintf("nothing in %v: ", timeout)
	const kinds = decode.SYN | decode.ACK | decode.RST
	switch {
	case s.sum() != craft.SumRight:
		return text + "a wrong checksum is dropped without a word"
	case s.TCP != nil && s.TCP.Flags.Has(decode.RST):
		return text + "a RST is never answered"
	case s.TCP != nil && s.TCP.Flags&kinds == 0:
		return text + "LISTEN drops it; or it was filtered or lost: unknown"
	case s.UDP != nil:
		return text + "nobody needs to answer a datagram; or dropped: unknown"
	default:
		return text + "dropped, filtered or lost: unknown"
	}
}
