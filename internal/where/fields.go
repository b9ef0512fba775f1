package where

import (
	"math"
	"strings"

	"finack/decode"
	"finack/trace"
)

// Field is one of the language's fields, for those who explain it.
type Field struct {
	Name     string
	Optional bool     // not every connection has it; its name alone is true where there is one
	Words    []string // the values, where these are words; else nil
	Value    string   // what a value is: "a duration such as 5s or 100ms"
	Help     string   // what the field is
}

// Fields returns all fields in the order in which they are best read. The
// slice is the caller's, but not the words in it.
func Fields() []Field {
	all := make([]Field, len(fields))
	for i := range fields {
		f := &fields[i]
		all[i] = Field{f.name, f.optional, f.words, f.want(), f.help}
	}
	return all
}

// field is a field. Its values are read from an account as numbers, durations
// in nanoseconds and words by their place in words, but for an address.
type field struct {
	name     string
	kind     kind
	optional bool
	words    []string
	get      func(c *trace.Conn) (values [2]int64, n int) // up to two values; none: the connection does not have it
	sides    []trace.Side                                 // of an address
	help     string
}

// kind is what a field's values are.
type kind uint8

const (
	kindWord kind = iota
	kindFlag
	kindDuration
	kindCount
	kindSize
	kindPort
	kindAddress
)

func (k kind) ordered() bool { return k >= kindDuration && k <= kindPort }

func (k kind) operators() string {
	if k.ordered() {
		return "=, !=, <, <=, > or >="
	}
	return "= or !="
}

// find returns the field of that name in any spelling, or nil.
func find(name string) *field {
	name = fold(name)
	for i := range fields {
		if fold(fields[i].name) == name {
			return &fields[i]
		}
	}
	return nil
}

// fold makes the spellings of a word one.
func fold(word string) string {
	return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(word))
}

// The words are trace's own, in the order of their numbers.
var (
	states     = words(trace.NumStates, func(i int) string { return trace.State(i).String() })
	handshakes = words(int(trace.Refused)+1, func(i int) string { return trace.HandshakeKind(i).String() })
	teardowns  = words(int(trace.Reset)+1, func(i int) string { return trace.TeardownKind(i).String() })
	roles      = words(int(trace.RoleSYNACK)+1, func(i int) string { return trace.Role(i).String() })
	sides      = words(int(trace.Server)+1, func(i int) string { return trace.Side(i).String() })
	connStates = words(int(trace.ConnSHR)+1, func(i int) string { return trace.ConnState(i).String() })
	closers    = words(int(trace.ClosedUnknown)+1, func(i int) string {
		if c := trace.Closer(i); c != trace.NoCloser {
			return c.String()
		}
		return "none"
	})
	protos   = []string{"tcp", "udp", "icmp", "icmpv6"}
	protoOf  = [...]decode.Proto{decode.ProtoTCP, decode.ProtoUDP, decode.ProtoICMP, decode.ProtoICMPv6} // as protos
	bothEnds = []trace.Side{trace.Client, trace.Server}
)

func words(n int, name func(int) string) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = name(i)
	}
	return list
}

var fields = [...]field{
	{name: "state", kind: kindWord, words: states, help: "the state of either end, as the last segment leaves it", get: func(c *trace.Conn) ([2]int64, int) {
		return [2]int64{int64(c.States[trace.Client]), int64(c.States[trace.Server])}, 2 * tcp(c)
	}},
	{name: "client-state", kind: kindWord, words: states, help: "the client's", get: func(c *trace.Conn) ([2]int64, int) {
		return value(tcp(c), c.States[trace.Client])
	}},
	{name: "server-state", kind: kindWord, words: states, help: "the server's", get: func(c *trace.Conn) ([2]int64, int) {
		return value(tcp(c), c.States[trace.Server])
	}},
	{name: "closed-by", kind: kindWord, words: closers, help: "who closed first; none: no FIN was seen", get: func(c *trace.Conn) ([2]int64, int) {
		return value(tcp(c), c.Closer)
	}},
	{name: "teardown", kind: kindWord, words: teardowns, help: "how it ended", get: func(c *trace.Conn) ([2]int64, int) {
		return value(tcp(c), c.Teardown)
	}},
	{name: "reset-after", kind: kindWord, optional: true, words: teardowns, help: "the teardown that a reset interrupted", get: func(c *trace.Conn) ([2]int64, int) {
		return value(has(c.WasReset), c.ResetAfter)
	}},
	{name: "reset-by", kind: kindWord, optional: true, words: sides, help: "who reset it", get: func(c *trace.Conn) ([2]int64, int) {
		return value(has(c.WasReset), c.ResetBy)
	}},
	{name: "handshake", kind: kindWord, words: handshakes, help: "how it opened", get: func(c *trace.Conn) ([2]int64, int) {
		return value(tcp(c), c.Handshake)
	}},
	{name: "role", kind: kindWord, words: roles, help: "how the client was found", get: func(c *trace.Conn) ([2]int64, int) {
		return value(tcp(c), c.Role)
	}},
	{name: "conn-state", kind: kindWord, words: connStates, help: "Zeek's conn_state", get: func(c *trace.Conn) ([2]int64, int) {
		return value(tcp(c), c.ConnState)
	}},

	{name: "duration", kind: kindDuration, help: "from the first packet to the last", get: func(c *trace.Conn) ([2]int64, int) {
		return value(1, c.Duration())
	}},
	{name: "rtt", kind: kindDuration, optional: true, help: "of the handshake: SYN to SYN-ACK", get: func(c *trace.Conn) ([2]int64, int) {
		return value(tcp(c)*has(c.HasRTT), c.RTT)
	}},
	{name: "half-open", kind: kindDuration, optional: true, help: "the SYN-ACK to the ACK that completes the handshake", get: func(c *trace.Conn) ([2]int64, int) {
		return value(has(c.HasHalfOpen), c.HalfOpen)
	}},
	{name: "idle-before-close", kind: kindDuration, optional: true, help: "the last payload to the first FIN or RST", get: func(c *trace.Conn) ([2]int64, int) {
		return value(has(c.HasIdle), c.Idle)
	}},
	{name: "half-close", kind: kindDuration, optional: true, help: "how long one direction was closed and the other was not", get: func(c *trace.Conn) ([2]int64, int) {
		return value(has(c.HalfClose.Seen), c.HalfClose.Duration)
	}},
	{name: "teardown-duration", kind: kindDuration, optional: true, help: "the first FIN or RST to the last step", get: func(c *trace.Conn) ([2]int64, int) {
		return value(has(c.NumSteps > 0), c.TeardownDuration())
	}},
	{name: "first-response", kind: kindDuration, optional: true, help: "of a datagram flow: the first packet to its answer", get: func(c *trace.Conn) ([2]int64, int) {
		return value((1-tcp(c))*has(c.HasRTT), c.RTT)
	}},

	{name: "bytes", kind: kindSize, help: "payload, both ends'", get: func(c *trace.Conn) ([2]int64, int) {
		return value(1, c.Bytes[trace.Client]+c.Bytes[trace.Server])
	}},
	{name: "client-bytes", kind: kindSize, help: "the client's", get: func(c *trace.Conn) ([2]int64, int) {
		return value(1, c.Bytes[trace.Client])
	}},
	{name: "server-bytes", kind: kindSize, help: "the server's", get: func(c *trace.Conn) ([2]int64, int) {
		return value(1, c.Bytes[trace.Server])
	}},
	{name: "packets", kind: kindCount, help: "segments or datagrams, both ends'", get: func(c *trace.Conn) ([2]int64, int) {
		return value(1, c.Packets[trace.Client]+c.Packets[trace.Server])
	}},
	{name: "client-packets", kind: kindCount, help: "the client's", get: func(c *trace.Conn) ([2]int64, int) {
		return value(1, c.Packets[trace.Client])
	}},
	{name: "server-packets", kind: kindCount, help: "the server's", get: func(c *trace.Conn) ([2]int64, int) {
		return value(1, c.Packets[trace.Server])
	}},
	{name: "syn-retransmits", kind: kindCount, help: "SYNs of the client sent again", get: func(c *trace.Conn) ([2]int64, int) {
		return value(tcp(c), c.SYNRetransmits)
	}},
	{name: "retransmits", kind: kindCount, help: "segments sent again, both ends'", get: func(c *trace.Conn) ([2]int64, int) {
		return sum(c, &c.Retransmits)
	}},
	{name: "client-retransmits", kind: kindCount, help: "the client's", get: func(c *trace.Conn) ([2]int64, int) {
		return value(tcp(c), c.Retransmits[trace.Client])
	}},
	{name: "server-retransmits", kind: kindCount, help: "the server's", get: func(c *trace.Conn) ([2]int64, int) {
		return value(tcp(c), c.Retransmits[trace.Server])
	}},
	{name: "gaps", kind: kindCount, help: "segments after numbers that were not seen", get: func(c *trace.Conn) ([2]int64, int) {
		return sum(c, &c.Gaps)
	}},
	{name: "out-of-order", kind: kindCount, help: "segments that fill such a gap", get: func(c *trace.Conn) ([2]int64, int) {
		return sum(c, &c.OutOfOrder)
	}},
	{name: "duplicates", kind: kindCount, help: "frames that were captured twice", get: func(c *trace.Conn) ([2]int64, int) {
		return sum(c, &c.Duplicates)
	}},
	{name: "keep-alives", kind: kindCount, help: "keep-alive probes", get: func(c *trace.Conn) ([2]int64, int) {
		return sum(c, &c.KeepAlives)
	}},
	{name: "zero-window-probes", kind: kindCount, help: "probes of a window of zero", get: func(c *trace.Conn) ([2]int64, int) {
		return sum(c, &c.ZeroWindowProbes)
	}},
	{name: "challenge-acks", kind: kindCount, help: "answers to segments that were not acted on", get: func(c *trace.Conn) ([2]int64, int) {
		return sum(c, &c.ChallengeACKs)
	}},
	{name: "completeness", kind: kindCount, help: "Wireshark's tcp.completeness", get: func(c *trace.Conn) ([2]int64, int) {
		return value(tcp(c), c.Completeness)
	}},
	{name: "id", kind: kindCount, help: "its number in this run", get: func(c *trace.Conn) ([2]int64, int) {
		return value(1, c.ID)
	}},

	{name: "proto", kind: kindWord, words: protos, help: "the protocol", get: func(c *trace.Conn) ([2]int64, int) {
		for i, p := range protoOf {
			if c.Proto == p {
				return value(1, i)
			}
		}
		return value(0, 0)
	}},
	{name: "host", kind: kindAddress, sides: bothEnds, help: "either end's address"},
	{name: "client", kind: kindAddress, sides: bothEnds[:1], help: "the client's"},
	{name: "server", kind: kindAddress, sides: bothEnds[1:], help: "the server's"},
	{name: "port", kind: kindPort, help: "either end's port, of TCP and UDP", get: func(c *trace.Conn) ([2]int64, int) {
		return [2]int64{int64(c.Client.Port), int64(c.Server.Port)}, 2 * ports(c)
	}},
	{name: "client-port", kind: kindPort, help: "the client's", get: func(c *trace.Conn) ([2]int64, int) {
		return value(ports(c), c.Client.Port)
	}},
	{name: "server-port", kind: kindPort, help: "the server's", get: func(c *trace.Conn) ([2]int64, int) {
		return value(ports(c), c.Server.Port)
	}},

	{name: "complete", kind: kindFlag, help: "both FINs were acknowledged, or a reset ended it", get: func(c *trace.Conn) ([2]int64, int) {
		return flag(tcp(c), c.Complete)
	}},
	{name: "evicted", kind: kindFlag, help: "let go early to make room", get: func(c *trace.Conn) ([2]int64, int) {
		return flag(1, c.Evicted)
	}},
	{name: "unreachable", kind: kindFlag, help: "of a datagram flow: an ICMP error ended it", get: func(c *trace.Conn) ([2]int64, int) {
		return flag(1-tcp(c), c.Unreachable)
	}},
}

// value returns v as the only value, none when n is 0.
func value[T ~int | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64](n int, v T) ([2]int64, int) {
	if uint64(v) > math.MaxInt64 && v > 0 {
		return [2]int64{math.MaxInt64}, n
	}
	return [2]int64{int64(v)}, n
}

func flag(n int, v bool) ([2]int64, int) { return [2]int64{int64(has(v))}, n }

// sum adds up what both ends of a TCP connection did.
func sum(c *trace.Conn, n *[2]uint32) ([2]int64, int) {
	return [2]int64{int64(n[trace.Client]) + int64(n[trace.Server])}, tcp(c)
}

// has returns 1 for true.
func has(v bool) int {
	if v {
		return 1
	}
	return 0
}

func tcp(c *trace.Conn) int { return has(c.Proto == decode.ProtoTCP) }

// ports returns 1 where the endpoints have ports; of an ICMP echo they have the
// identifier instead.
func ports(c *trace.Conn) int {
	return has(c.Proto == decode.ProtoTCP || c.Proto == decode.ProtoUDP)
}
