package render

import (
	"finack/decode"
	"finack/trace"
)

// echo reports whether a flow is one of ICMP echoes, whose endpoints have the
// identifier for a port.
func echo(p decode.Proto) bool { return p == decode.ProtoICMP || p == decode.ProtoICMPv6 }

// protocol returns the name of a flow's protocol in the JSON contract.
func protocol(p decode.Proto) string {
	switch p {
	case decode.ProtoICMP:
		return "icmp"
	case decode.ProtoICMPv6:
		return "icmpv6"
	default:
		return "udp"
	}
}

// echoRequest returns the ICMP type of an echo request.
func echoRequest(p decode.Proto) uint8 {
	if p == decode.ProtoICMPv6 {
		return 128
	}
	return 8
}

// unreachable returns the ICMP type "destination unreachable".
func unreachable(v6 bool) uint8 {
	if v6 {
		return 1
	}
	return 3
}

// appendEnd appends one end of a connection or flow, or of another protocol's
// packet, which has no ports.
func appendEnd(dst []byte, proto decode.Proto, e decode.Endpoint) []byte {
	if proto == decode.ProtoTCP || proto == decode.ProtoUDP {
		return e.AppendTo(dst)
	}
	return e.AddrPort().Addr().AppendTo(dst)
}

// appendEnds appends both: "10.0.0.1:40000 → 10.0.0.2:80".
func appendEnds(dst []byte, proto decode.Proto, client, server decode.Endpoint) []byte {
	dst = appendEnd(dst, proto, client)
	dst = append(dst, " → "...)
	return appendEnd(dst, proto, server)
}

// appendDatagramName appends "UDP", or what an ICMP echo message is.
func appendDatagramName(dst []byte, e *trace.Event) []byte {
	switch {
	case !echo(e.Proto):
		return append(dst, "UDP"...)
	case e.From == trace.Server:
		return append(dst, "echo reply"...)
	default:
		return append(dst, "echo"...)
	}
}
