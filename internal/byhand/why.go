package byhand

import (
	"strings"
	"time"

	"finack/trace"
)

// Why says what a segment is for, or what came of it: bits, of which several
// may be set. What flags and length say is not repeated.
type Why uint32

// Why a segment is sent.
const (
	AcksSYN      Why = 1 << iota // the handshake's last ACK
	AcksData                     // data has come
	AcksFIN                      // the peer's FIN has come
	Again                        // a retransmission
	Probes                       // a byte for a closed window
	AnswersProbe                 // the window is closed
	WindowUpdate                 // it is open again
	Repeats                      // what came is not what is expected: say again what is
	Challenges                   // what came may not be the peer's: RFC 5961
	Refuses                      // RST to an ACK of what was never sent, in the handshake
	Aborts                       // RST because the caller wants it
	ByHand                       // the caller says so
)

// What came of a segment that was heard.
const (
	GetsSYN    Why = 1 << (iota + 12) // acknowledges our SYN
	GetsData                          // acknowledges data of ours
	GetsFIN                           // acknowledges our FIN
	TakesSYN                          // the peer's SYN, taken
	TakesData                         // the peer's data, taken
	TakesFIN                          // the peer's FIN, taken
	CrossedSYN                        // the peer's SYN again, which crossed ours
	Resets                            // RST, and it counts
	OldAck                            // acknowledges nothing new: it was overtaken
)

// Why a segment that was heard changes nothing, or not all that it could.
const (
	Late       Why = 1 << (iota + 21) // the connection is CLOSED
	BadAck                            // acknowledges what was never sent, or is far too old
	NoACK                             // has no ACK
	NoSYN                             // nothing to be expected before a SYN
	StrayRST                          // RST whose number is not exactly RCV.NXT
	SYNInside                         // SYN inside a connection
	Repeated                          // has come before
	OutOfOrder                        // something before it is missing
	Outside                           // outside the window
	NoRoom                            // the window is closed
	Damaged                           // wrong checksum, cut off, or a fragment

	refused = Late | BadAck | NoACK | NoSYN | StrayRST | SYNInside | Repeated | OutOfOrder | Outside | NoRoom | Damaged
)

const whyNames = "acks SYN,acks data,acks FIN,again,probe,answers probe,window update,repeats,challenge,refuses,aborts,by hand," +
	"gets SYN,gets data,gets FIN,takes SYN,takes data,takes FIN,crossed SYN,resets,old ack," +
	"late,bad ack,no ACK,no SYN,stray RST,SYN inside,repeated,out of order,outside,no room,damaged"

// String returns the bits' names, separated by commas: "gets FIN,takes FIN".
func (w Why) String() string {
	var list []string
	for i, name := range strings.Split(whyNames, ",") {
		if w>>i&1 != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, ",")
}

// Step is a segment that was sent or heard, and what it did to our state.
type Step struct {
	Time time.Time
	Sent bool
	Segment
	Why           Why
	Before, After trace.State
	ISS, IRS      uint32 // IRS is zero until it is known
	SndNxt        uint32 // after it
	RcvNxt        uint32 // after it
	Tries         int    // of a retransmission: how many there have been in a row
}
