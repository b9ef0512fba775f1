package trace

import (
	"time"

	"finack/decode"
)

// Kind says what an Event tells.
type Kind uint8

// The kinds of event.
const (
	SegmentSeen  Kind = iota // a TCP segment
	StateChanged             // an end changed its state
	AnomalySeen              // a segment that its receiver would not act on, or that cannot be
	DatagramSeen             // a UDP datagram, or an ICMP echo request or reply
	ICMPSeen                 // an ICMP message; Conn is 0 unless it quotes a connection or flow
	ConnClosed               // a teardown is complete; Verdict holds
	ConnReleased             // a connection or flow is let go; Verdict holds. Each has exactly one
)

// Event is a value: it refers neither to packet bytes nor to the tracker's
// memory and may be kept.
type Event struct {
	Kind   Kind
	Proto  decode.Proto
	Time   decode.Timestamp
	Conn   uint64 // number of the connection or flow, from 1 in order of appearance
	Client decode.Endpoint
	Server decode.Endpoint
	Start  decode.Timestamp // of the connection's first packet
	From   Side

	// The packet, for SegmentSeen, AnomalySeen, DatagramSeen and ICMPSeen.
	Flags    decode.Flags
	Seq, Ack uint32 // as on the wire
	SeqBase  uint32 // what relative numbers count from: the ISS, or the first number seen
	AckBase  uint32
	Len      int    // payload bytes
	Iface    uint32 // where it was captured, as the frame tells it
	Window   uint16
	TTL      uint8 // or hop limit
	First    bool  // the first packet of its connection or flow
	Note     Note
	ICMPType uint8
	ICMPCode uint8
	IPv6     bool // ICMP's version

	// After a segment: the states of both ends, and which it changed.
	States  [2]State
	Changed [2]bool

	// StateChanged: which end, from which state to which.
	Side     Side
	Old, New State
	Timer    bool // no segment: TIME_WAIT has lasted 2MSL; also of a ConnReleased that a timer has caused
	Revised  bool // takes back what was taken as said

	Anomaly Anomaly

	// Verdict is set for ConnClosed and ConnReleased. It is not changed afterwards.
	Verdict *Conn
}

// SeqLen returns SEG.LEN of a segment: payload bytes, SYN and FIN counted (RFC
// 9293 section 3.4).
func (e *Event) SeqLen() uint32 {
	n := uint32(e.Len)
	for _, f := range [...]decode.Flags{decode.SYN, decode.FIN} {
		if e.Flags.Has(f) {
			n++
		}
	}
	return n
}

// Conn is the account of one TCP connection, UDP flow or ICMP echo flow, whose
// endpoints have the echo's identifier for a port. Arrays are indexed by Side.
type Conn struct {
	ID             uint64
	Proto          decode.Proto
	Client, Server decode.Endpoint
	Role           Role
	Start, End     decode.Timestamp // of the first and the last packet

	Handshake      HandshakeKind
	RTT            time.Duration // SYN to the SYN-ACK that acknowledges it; 0 with HasRTT false
	HasRTT         bool
	SYNRetransmits int

	Teardown    TeardownKind
	Closer      Closer
	Complete    bool // both FINs were acknowledged, or a reset ended it
	WasReset    bool // Teardown is Reset
	ResetBy     Side
	ResetAfter  TeardownKind // what the reset interrupted
	Steps       [maxSteps]Step
	NumSteps    int
	States      [2]State
	TimeIn      [2][NumStates]time.Duration // in the states of the teardown, while they lasted
	WaitLeft    time.Duration               // what is left of TIME_WAIT
	LastData    decode.Timestamp            // of the last payload; 0: none
	HalfOpen    time.Duration               // the server's SYN-ACK to the ACK that completes the handshake; with HasHalfOpen
	HasHalfOpen bool
	Idle        time.Duration // the last payload before the first FIN or RST to that; with HasIdle
	HasIdle     bool
	HalfClose   HalfClose // between the first FIN's arrival and the other side's FIN
	Base        [2]uint32 // relative sequence numbers count from here
	BaseISS     [2]bool   // Base is the ISS, not just the first number seen
	Packets     [2]uint64
	Bytes       [2]uint64 // payload
	// DataUnseen is set with Config.Lifecycle. Bytes come from sequence numbers
	// then: what is known to have been sent, each byte once. Packets, Start, End
	// and the counts of segments are of those seen; Completeness, ConnState and
	// History lack the data; Idle and LastData are not known. HalfOpen, HalfClose,
	// TimeIn and Steps lack, or have later, what came with data.
	DataUnseen bool
	SYN        [2]uint32
	FIN        [2]uint32
	RST        [2]uint32

	// Segments of each side that change no verdict, counted as what they are.
	Retransmits      [2]uint32
	Duplicates       [2]uint32 // the same frame again, from a mirror port or a second tap
	OutOfOrder       [2]uint32 // fill a gap seen before
	Gaps             [2]uint32 // begin after numbers that were not seen
	KeepAlives       [2]uint32
	ZeroWindowProbes [2]uint32
	ChallengeACKs    [2]uint32

	// The evidence of who closed first: each side's FIN.
	FINSeen  [2]bool
	FINAcked [2]bool   // an acknowledgment of it was seen
	FINSeq   [2]uint32 // the sequence number that the FIN itself occupies
	FINAck   [2]uint32 // the lowest acknowledgment on it, of all the times that it was sent
	FINLate  [2]bool   // what its sender sent later was captured before it: it may be a retransmission

	Completeness uint8     // Wireshark's tcp.completeness
	ConnState    ConnState // Zeek's conn_state
	History      History   // Zeek's history
	Announced    bool      // a ConnClosed was given for it
	Evicted      bool      // let go before its time because of Config.MaxConns
	Unreachable  bool      // a flow: ended by an ICMP error
	ICMPCode     uint8
}

// HalfClose is the time in which one direction was closed and the other was
// not: from the acknowledgment of the first FIN to the other side's FIN, to a
// RST, or to the last packet.
type HalfClose struct {
	Seen     bool          // there was such a time: the second FIN did not ride on the acknowledgment of the first
	By       Side          // who had closed its direction
	Duration time.Duration // how long the other side's CLOSE_WAIT lasted, as far as it was captured
	Bytes    uint64        // payload that the other side sent meanwhile, retransmissions included
}

// Duration is the time from the first packet to the last, never negative.
func (c *Conn) Duration() time.Duration { return max(0, c.End.Sub(c.Start)) }

// TeardownDuration is the time from the first FIN or RST to the last step.
func (c *Conn) TeardownDuration() time.Duration {
	if c.NumSteps == 0 {
		return 0
	}
	return max(0, c.Steps[c.NumSteps-1].Time.Sub(c.Steps[0].Time))
}

// Over reports whether nothing more is to come: both ends are CLOSED or in TIME_WAIT.
func (c *Conn) Over() bool { return over(c.States[Client]) && over(c.States[Server]) }

func over(s State) bool { return s == Closed || s == TimeWait }
