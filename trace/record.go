package trace

import "finack/decode"

// What is known of one end; evidence.go derives its state from these.
const (
	endSeen         uint32 = 1 << iota // a segment of this end was seen: nxt holds
	endBase                            // base holds
	endAck                             // this end has acknowledged something: acked holds
	endUnseen                          // this end has acknowledged what was not seen yet: unseen holds
	endSYN                             // its SYN was sent, seen or proved
	endSYNSeen                         // its SYN was seen
	endPureSYN                         // its SYN came without ACK
	endSYNRcvd                         // its SYN has arrived at the peer
	endSYNLost                         // the ACK of its SYN was lost: it sent the SYN-ACK again
	endFIN                             // its FIN was seen; closing.fin holds
	endFINRcvd                         // its FIN has arrived at the peer
	endFINAcked                        // an acknowledgment of its FIN was seen
	endFINLost                         // the ACK of its FIN was lost: it sent the FIN again
	endAlive                           // joined midstream: it has sent new data since, so no FIN before
	endGap                             // something that this end sent was not seen
	endReset                           // ended by a RST
	endPayload                         // nxt is the end of payload that was seen
	endProbed                          // it has probed a zero window with the octet at nxt
	endTaken                           // the last octet before nxt was a probe that was taken
	endClosedWindow                    // it has advertised a window of zero at acked
	endWants                           // it has acknowledged acked twice: it lacks what follows
	endHole                            // the number before nxt was not seen: it may be a FIN
	endProvoked                        // the peer has sent what is answered by a challenge ACK
)

// end is what is kept of one end of an open connection. It has no pointer.
type end struct {
	packets, bytes uint64
	base           uint32 // ISS, or the first number seen
	nxt            uint32 // SND.NXT as far as seen: one past the highest number sent
	acked          uint32 // the highest acknowledgment sent, at most the peer's nxt
	unseen         uint32 // a higher one, of segments that were not seen
	flags          uint32
	syn, fin, rst  uint16 // these three stop at 65535
	win            uint16 // the last window advertised, unscaled
	print          uint16 // fingerprint of the last frame of this end
	when           uint16 // its time in 100 µs, modulo 6.5 s
	wscale         uint8  // its shift count; noScale when none was offered
	state          State
	zeek           zeekEnd
}

const (
	noScale  = 0xff
	maxScale = 14 // RFC 7323 section 2.3
)

func (e *end) has(f uint32) bool { return e.flags&f == f }

// key is a 4-tuple and a protocol, the lower endpoint first, so that both
// directions have the same one.
type key struct {
	lo, hi         [16]byte
	loPort, hiPort uint16
	proto          decode.Proto
	v6             bool
}

// record is an open connection or flow: 232 bytes without a pointer, so that a
// million of them cost the garbage collector nothing and, with its slot in the
// table, an open connection stays within 256 bytes.
type record struct {
	key
	list     listID
	clientHi bool // the client is the endpoint hi
	id       uint64
	start    decode.Timestamp // of the first packet, in the capture's order
	last     decode.Timestamp // of the last one
	opened   int64            // the SYN's Timestamp until it is acknowledged, then the time that took
	halfOpen int64            // the SYN-ACK's Timestamp until it is acknowledged, then the time that took
	lastData decode.Timestamp // of the last payload
	history  uint64           // Zeek's, its first letters
	prev     uint32           // neighbours in list, as index+1
	next     uint32
	closing  uint32 // index+1 in the closing slab, 0: none
	trouble  uint32 // index+1 in the trouble slab, 0: none
	complete uint8  // Wireshark's tcp.completeness
	bits     uint8
	role     Role
	stage    stage
	extra    uint8 // TCP: SYNs sent again, at most 255; a flow: 1 + the code of the ICMP error that ended it
	ends     [2]end
}

// record.bits
const (
	bitOpening  uint8 = 1 << iota // opened is the SYN's time
	bitRTT                        // opened is the handshake's round-trip time
	bitFastOpen                   // the SYN-ACK covers data of the SYN
	bitRefused                    // the SYN was answered by a RST
	bitReported                   // its Closed event was given
	bitSYNACK                     // halfOpen is the SYN-ACK's time
	bitHalfOpen                   // halfOpen is how long the server was in SYN_RECEIVED
	bitFlipped                    // the first packet was the server's
)

// closing is what only a connection needs that has seen a FIN or a RST, or an
// acknowledgment of what was not seen.
type closing struct {
	steps     [maxSteps]Step
	due       decode.Timestamp        // when TIME_WAIT ends, by the tracker's clock
	since     [2]decode.Timestamp     // when each end entered its state
	timeIn    [2][closingStates]int64 // nanoseconds, from FIN_WAIT_1 on
	fin       [2]uint32               // end(X): the number after X's FIN
	finAck    [2]uint32               // the lowest acknowledgment on X's FIN
	finTime   [2]decode.Timestamp     // of X's last FIN
	brings    [2]uint32               // the end of what X has first sent that acknowledges the peer's FIN
	bringsSet [2]bool
	finLate   [2]bool // what X sent after its FIN was seen before it: it may be a retransmission
	ackFirst  [2]bool // X acknowledged the peer's FIN before it sent its own
	n         uint8   // steps used
	reset     bool    // ended by a RST
	resetBy   Side
	after     TeardownKind // what the RST interrupted
	idle      int64        // nanoseconds from the last payload to the first FIN or RST; −1: none
	halfSince decode.Timestamp
	halfTill  decode.Timestamp
	halfBytes uint64 // what the other side had sent then; afterwards, what it sent meanwhile
	half      halfClose
	halfBy    Side

	// Zeek's last numbers of X's FINs and RSTs, which make another letter when they change.
	zeekFIN, zeekRST [2]uint32
}

// closingStates is the number of states that a teardown has, which are the last ones.
const closingStates = NumStates - int(FinWait1)

// halfClose says how far a half-close has come.
type halfClose uint8

const (
	halfNone  halfClose = iota
	halfBegun           // one FIN has arrived, the other was not sent
	halfOver            // the other was sent, or a RST
)

// trouble is what only a connection needs in which something was lost, came
// twice, or does not belong to it.
type trouble struct {
	gapLo, gapHi     [2]uint32 // the last gap in what this end sent
	retransmits      [2]uint32
	duplicates       [2]uint32
	outOfOrder       [2]uint32
	gaps             [2]uint32
	keepAlives       [2]uint32
	zeroWindowProbes [2]uint32
	challengeACKs    [2]uint32

	// Zeek's counters, whose letters come at 1, 10, 100…, and the rest of its history.
	zeek     [2]zeekCounts
	zeekLost [2]uint32 // what X sent before this number and was not seen is counted
	zeekSYN  [2]uint32 // of X's last SYN
	history  [6]uint64

	// By X: the first segment with the highest acknowledgment of what was not seen yet.
	ahead [2]Step

	// A FIN beyond the window of its receiver, as far as that was captured.
	fin    [2]held
	finSet [2]bool

	// A SYN with another ISN, not accepted yet.
	syn     held
	synLast decode.Timestamp // when it was sent again
	synPrev decode.Timestamp // of the packet before it
	synSide Side
	syns    uint16 // how often it was sent; 0: there is none
}

// held is a segment whose receiver does not act on it, as far as is known yet.
type held struct {
	decode.Segment
	len  int
	time decode.Timestamp
}

func hold(p *decode.Packet) held { return held{p.Segment, p.Len, p.Time} }

// packet returns the segment as the packet that the peer's answer is to.
func (h *held) packet(answer *decode.Packet) decode.Packet {
	return decode.Packet{
		Time: h.time, Proto: decode.ProtoTCP, Version: answer.Version, Src: answer.Dst, Dst: answer.Src, Segment: h.Segment, Len: h.len,
	}
}

// maxSteps: each side's first FIN, the first acknowledgment of each, each
// side's first RST.
const maxSteps = 6

// Step is one segment of a teardown.
type Step struct {
	Time  decode.Timestamp
	Seq   uint32
	Ack   uint32
	Flags decode.Flags
	From  Side
}
