package trace

import "finack/decode"

// What is known of one end; evidence.go derives its state from these.
const (
	endSeen     uint16 = 1 << iota // a segment of this end was seen: nxt holds
	endBase                        // base holds
	endAck                         // this end has acknowledged something: acked holds
	endUnseen                      // this end has acknowledged what was not seen yet: unseen holds
	endSYN                         // its SYN was sent, seen or proved
	endSYNSeen                     // its SYN was seen
	endPureSYN                     // its SYN came without ACK
	endSYNRcvd                     // its SYN has arrived at the peer
	endSYNLost                     // the ACK of its SYN was lost: it sent the SYN-ACK again
	endFIN                         // its FIN was seen; closing.fin holds
	endFINRcvd                     // its FIN has arrived at the peer
	endFINAcked                    // an acknowledgment of its FIN was seen
	endFINLost                     // the ACK of its FIN was lost: it sent the FIN again
	endAlive                       // joined midstream: it has sent new data since, so no FIN before
	endGap                         // something that this end sent was not seen
	endReset                       // ended by a RST
)

// end is what is kept of one end of an open connection. It has no pointer.
type end struct {
	packets, bytes uint64
	base           uint32 // ISS, or the first number seen
	nxt            uint32 // SND.NXT as far as seen: one past the highest number sent
	acked          uint32 // the highest acknowledgment sent, at most the peer's nxt
	unseen         uint32 // a higher one, of segments that were not seen
	gapLo, gapHi   uint32 // the last gap in what this end sent
	retransmits    uint32
	gaps           uint32
	syn, fin, rst  uint16 // these three stop at 65535
	flags          uint16
	win            uint16 // the last window advertised, unscaled
	print          uint16 // fingerprint of the last frame of this end
	when           uint16 // its time in 100 µs, modulo 6.5 s
	wscale         uint8  // its shift count; noScale when none was offered
	state          State
}

const (
	noScale  = 0xff
	maxScale = 14 // RFC 7323 section 2.3
)

func (e *end) has(f uint16) bool { return e.flags&f == f }

// key is a 4-tuple and a protocol, the lower endpoint first, so that both
// directions have the same one.
type key struct {
	lo, hi         [16]byte
	loPort, hiPort uint16
	proto          decode.Proto
	v6             bool
}

// record is an open connection or flow: 224 bytes without a pointer, so that a
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
	lastData decode.Timestamp // of the last payload
	prev     uint32           // neighbours in list, as index+1
	next     uint32
	closing  uint32 // index+1 in the closing slab, 0: none
	complete uint8  // Wireshark's tcp.completeness
	bits     uint8
	role     Role
	extra    uint8 // TCP: SYNs sent again, at most 255; UDP: 1 + the code of the ICMP error that ended it
	ends     [2]end
}

// record.bits
const (
	bitOpening  uint8 = 1 << iota // opened is the SYN's time
	bitRTT                        // opened is the handshake's round-trip time
	bitFastOpen                   // the SYN-ACK covers data of the SYN
	bitRefused                    // the SYN was answered by a RST
	bitReported                   // its Closed event was given
)

// closing is what only a connection needs that has seen a FIN or a RST, a SYN
// that does not belong to it, or an acknowledgment of what was not seen.
type closing struct {
	steps    [maxSteps]Step
	due      decode.Timestamp    // when TIME_WAIT ends, by the tracker's clock
	since    [2]decode.Timestamp // when each end entered its state
	timeIn   [2][NumStates]int64 // nanoseconds
	fin      [2]uint32           // end(X): the number after X's FIN
	finAck   [2]uint32           // the lowest acknowledgment on X's FIN
	finTime  [2]decode.Timestamp // of X's last FIN
	finLate  [2]bool             // what X sent after its FIN was seen before it: it may be a retransmission
	ackFirst [2]bool             // X acknowledged the peer's FIN before it sent its own
	n        uint8               // steps used
	reset    bool                // ended by a RST
	resetBy  Side
	after    TeardownKind // what the RST interrupted
	ahead    [2]Step      // by X: the first with the highest acknowledgment of what was not seen yet

	// A SYN with another ISN, not accepted yet.
	syn     decode.Segment
	synLen  int
	synTime decode.Timestamp
	synPrev decode.Timestamp // of the packet before it
	synSide Side
	synSet  bool
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
