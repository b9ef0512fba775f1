// Package trace turns packets and time into events: the RFC 9293 state of both
// ends of every TCP connection, how it opened, who closed it and how; and the
// conversations of UDP. It knows nothing of bytes, sockets, files or printing,
// and reads no clock.
//
// States follow evidence only. A segment seen at the tap proves, in this order,
// that its sender has received everything that it acknowledges, that its
// sender has sent it, and that what it acknowledges is known to its receiver.
// See evidence.go, the only place where a state changes but for ordinary.go,
// which does at once what evidence.go would do of the most usual segments.
package trace

// State is the state of one end of a TCP connection, RFC 9293 section 3.3.2.
type State uint8

// The states. Unknown is an end of which nothing is proved.
const (
	Unknown State = iota
	Closed
	Listen
	SynSent
	SynReceived
	Established
	FinWait1
	FinWait2
	CloseWait
	Closing
	LastAck
	TimeWait
)

// NumStates is the number of values that a State may have.
const NumStates = int(TimeWait) + 1

// String returns the state's name as RFC 9293 has it, with underscores.
func (s State) String() string {
	switch s {
	case Closed:
		return "CLOSED"
	case Listen:
		return "LISTEN"
	case SynSent:
		return "SYN_SENT"
	case SynReceived:
		return "SYN_RECEIVED"
	case Established:
		return "ESTABLISHED"
	case FinWait1:
		return "FIN_WAIT_1"
	case FinWait2:
		return "FIN_WAIT_2"
	case CloseWait:
		return "CLOSE_WAIT"
	case Closing:
		return "CLOSING"
	case LastAck:
		return "LAST_ACK"
	case TimeWait:
		return "TIME_WAIT"
	default:
		return "UNKNOWN"
	}
}

// follows reports whether an arrow of RFC 9293's state diagram (figure 5 with
// its notes) leads from s to next. Anything may be reset; an end of which
// nothing was known may turn out to be in any state, and one that was known
// may become unknown: what is not captured moves it unseen.
func (s State) follows(next State) bool {
	if s == Unknown || next == Unknown || next == Closed {
		return true
	}
	switch s {
	case Closed:
		return next == SynSent
	case SynSent:
		return next == SynReceived || next == Established
	case SynReceived:
		return next == Established || next == FinWait1 || next == CloseWait
	case Established:
		return next == FinWait1 || next == CloseWait
	case FinWait1:
		return next == FinWait2 || next == Closing || next == TimeWait
	case FinWait2, Closing:
		return next == TimeWait
	case CloseWait:
		return next == LastAck
	default:
		return false
	}
}

// Side is one of the two ends of a connection.
type Side uint8

// The client is the sender of the first SYN, else the receiver of the SYN-ACK,
// else a guess (see Role).
const (
	Client Side = iota
	Server
)

// Peer returns the other side.
func (s Side) Peer() Side { return s ^ 1 }

// String returns "client" or "server".
func (s Side) String() string {
	if s == Client {
		return "client"
	}
	return "server"
}

// Role tells how the client was found.
type Role uint8

// The ways to tell the client from the server.
const (
	RoleGuess  Role = iota // no SYN was seen: the end with the lower port is taken for the server, else the first receiver
	RoleSYN                // it sent the first SYN
	RoleSYNACK             // it received the SYN-ACK
)

// String returns "guess", "syn" or "synack".
func (r Role) String() string {
	switch r {
	case RoleSYN:
		return "syn"
	case RoleSYNACK:
		return "synack"
	default:
		return "guess"
	}
}

// HandshakeKind tells how a connection opened.
type HandshakeKind uint8

// The kinds of opening.
const (
	Midstream           HandshakeKind = iota // no SYN was seen
	ThreeWay                                 // SYN, SYN-ACK, ACK
	SimultaneousOpen                         // the two SYNs crossed (RFC 9293 figure 7)
	FastOpen                                 // data on the SYN, covered by the SYN-ACK (RFC 7413)
	IncompleteHandshake                      // a SYN was seen, but not all three segments
	Refused                                  // RST in answer to the SYN
)

// String returns the kind's name in the JSON contract.
func (k HandshakeKind) String() string {
	switch k {
	case ThreeWay:
		return "three-way"
	case SimultaneousOpen:
		return "simultaneous"
	case FastOpen:
		return "fast-open"
	case IncompleteHandshake:
		return "incomplete"
	case Refused:
		return "refused"
	default:
		return "midstream"
	}
}

// TeardownKind tells how a connection ended.
type TeardownKind uint8

// The kinds of ending.
const (
	NoTeardown        TeardownKind = iota // neither FIN nor RST
	FourStep                              // FIN, ACK, FIN, ACK
	ThreeStep                             // the second FIN rides on the ACK of the first
	SimultaneousClose                     // neither FIN acknowledges the other: they crossed
	HalfClosed                            // one FIN, acknowledged; the other side has sent none
	Unacknowledged                        // one FIN, never acknowledged
	UnknownTeardown                       // data that was not seen may have acknowledged a FIN (Config.Lifecycle)
	Reset                                 // RST before both FINs were acknowledged
)

// String returns the kind's name in the JSON contract.
func (k TeardownKind) String() string {
	switch k {
	case FourStep:
		return "four-step"
	case ThreeStep:
		return "three-step"
	case SimultaneousClose:
		return "simultaneous"
	case HalfClosed:
		return "half-closed"
	case Unacknowledged:
		return "unacknowledged"
	case UnknownTeardown:
		return "unknown"
	case Reset:
		return "reset"
	default:
		return "none"
	}
}

// Closer tells who closed first.
type Closer uint8

// The answers to "who closed first?".
const (
	NoCloser Closer = iota // no FIN was seen
	ClosedByClient
	ClosedByServer
	ClosedByBoth  // simultaneous
	ClosedUnknown // FINs were seen, their order cannot be known
)

// String returns "", "client", "server", "both" or "unknown".
func (c Closer) String() string {
	switch c {
	case ClosedByClient:
		return "client"
	case ClosedByServer:
		return "server"
	case ClosedByBoth:
		return "both"
	case ClosedUnknown:
		return "unknown"
	default:
		return ""
	}
}

// Anomaly is something that the receiver of a segment would not act on, or
// that cannot be what it seems.
type Anomaly uint8

// The anomalies, each with the rule that applies.
const (
	NoAnomaly        Anomaly = iota
	BadChecksum              // dropped by its receiver (RFC 9293 section 3.1)
	ResetOutOfPlace          // RST not at RCV.NXT: answered by a challenge ACK or dropped (RFC 5961 section 3.2)
	ResetAfterClose          // RST after both FINs were acknowledged: it ends TIME_WAIT at most (RFC 1337)
	SYNInConnection          // SYN in a synchronized state: challenge ACK (RFC 5961 section 4.2)
	OutOfWindow              // data or FIN outside the receive window: dropped (RFC 9293 section 3.10.7.4)
	FINOutOfPlace            // FIN before the end of what its sender has sent, or a second, different one
	AckOfUnseen              // acknowledges what was not seen: lost by the capture, or never sent (RFC 9293 section 3.10.7.4)
	MissingAck               // no ACK bit in a synchronized state: dropped (RFC 9293 section 3.10.7.4)
	ICMPError                // an ICMP error quotes a segment of this connection
	SYNACKOutOfPlace         // SYN-ACK that does not acknowledge the SYN: answered by RST (RFC 9293 section 3.10.7.3)
	OldDuplicate             // numbers that are not of this connection: a late segment of an earlier one, dropped (RFC 9293 section 3.4.1)
)

// String returns the anomaly's name in the JSON contract.
func (a Anomaly) String() string {
	switch a {
	case BadChecksum:
		return "bad-checksum"
	case ResetOutOfPlace:
		return "reset-out-of-place"
	case ResetAfterClose:
		return "reset-after-close"
	case SYNInConnection:
		return "syn-in-connection"
	case OutOfWindow:
		return "out-of-window"
	case FINOutOfPlace:
		return "fin-out-of-place"
	case AckOfUnseen:
		return "ack-of-unseen"
	case MissingAck:
		return "missing-ack"
	case ICMPError:
		return "icmp-error"
	case SYNACKOutOfPlace:
		return "syn-ack-out-of-place"
	case OldDuplicate:
		return "old-duplicate"
	default:
		return "none"
	}
}

// Rule returns the sentence that explains a, with its source.
func (a Anomaly) Rule() string {
	switch a {
	case BadChecksum:
		return "the receiver drops it (RFC 9293 section 3.1)"
	case ResetOutOfPlace:
		return "not at RCV.NXT: challenge ACK or dropped (RFC 5961 section 3.2)"
	case ResetAfterClose:
		return "both FINs were acknowledged before: it ends TIME_WAIT at most (RFC 1337)"
	case SYNInConnection:
		return "a synchronized receiver sends a challenge ACK (RFC 5961 section 4.2)"
	case OutOfWindow:
		return "outside the receive window: dropped (RFC 9293 section 3.10.7.4)"
	case FINOutOfPlace:
		return "not after the last byte sent: dropped (RFC 9293 section 3.10.7.4)"
	case AckOfUnseen:
		return "acknowledges what was not seen: lost by the capture, or never sent (RFC 9293 section 3.10.7.4)"
	case MissingAck:
		return "no ACK bit: dropped by a synchronized receiver (RFC 9293 section 3.10.7.4)"
	case ICMPError:
		return "an ICMP error quotes this connection (RFC 5927: a hint, no proof)"
	case SYNACKOutOfPlace:
		return "does not acknowledge the SYN: answered by RST (RFC 9293 section 3.10.7.3)"
	case OldDuplicate:
		return "not this connection's numbers: late, of an earlier one, dropped (RFC 9293 section 3.4.1)"
	default:
		return ""
	}
}

// Note marks what kind of repetition a segment is; notes change no verdict.
type Note uint8

// The notes on a segment; several may hold.
const (
	Retransmission  Note = 1 << iota // repeats sequence numbers that were sent before
	Duplicate                        // the same frame again, from a mirror port or a second tap
	OutOfOrder                       // fills a gap seen before
	Gap                              // begins after a gap: segments before it were not seen
	KeepAlive                        // at SND.NXT−1 (RFC 9293 section 3.8.4)
	Reused                           // its SYN begins a new connection on a 4-tuple seen before
	ZeroWindowProbe                  // asks whether a window of zero has opened (RFC 9293 section 3.8.6.1)
	ChallengeACK                     // answers a segment that its sender did not act on (RFC 5961)
)
