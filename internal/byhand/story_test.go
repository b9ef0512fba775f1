package byhand

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"finack/decode"
)

// A story is prose, then what is done and what must come of it, a line each:
//
//	open, write N, read N, close, discard, abort   what the caller does
//	quiet, loud                                    Quiet on and off
//	send FLAGS seq ack len                         a segment by hand
//	< FLAGS seq ack len win mss ; why              a segment from the peer, and what the machine makes of it
//	> FLAGS seq ack len win ; why                  a segment that must be sent now; every one is named
//	timer                                          time goes on to the next timer
//	wait D                                         time goes on by D, and timers fire
//	= STATE                                        the state; with the error's beginning behind it
//
// seq and ack are relative to the ISS of whose number they are. win is 65535
// where it is left out, and not looked at in what is sent.
type story struct {
	name, prose, text string
	cfg               MachineConfig
}

var stories = []story{
	{name: "four steps", prose: "The client closes first, and the peer's program some time after it.", text: `
		open
		> SYN seq=0 mss=1460
		= SYN_SENT
		< SYN,ACK seq=0 ack=1 mss=1400 ; gets SYN,takes SYN
		> ACK seq=1 ack=1 ; acks SYN
		= ESTABLISHED
		write 64
		> PSH,ACK seq=1 ack=1 len=64
		< ACK seq=1 ack=65 ; gets data
		< PSH,ACK seq=1 ack=65 len=64 ; takes data
		> ACK seq=65 ack=65 ; acks data
		read 64
		close
		> FIN,ACK seq=65 ack=65
		= FIN_WAIT_1
		< ACK seq=65 ack=66 ; gets FIN
		= FIN_WAIT_2
		< FIN,ACK seq=65 ack=66 ; takes FIN
		> ACK seq=66 ack=66 ; acks FIN
		= TIME_WAIT
		wait 59.9s
		= TIME_WAIT
		wait 200ms
		= CLOSED`},
	{name: "three steps", prose: "The peer's FIN rides on its ACK of ours.", text: established + `
		close
		> FIN,ACK seq=1 ack=1
		< FIN,ACK seq=1 ack=2 ; gets FIN,takes FIN
		> ACK seq=2 ack=2 ; acks FIN
		= TIME_WAIT`},
	{name: "lost SYN", prose: "It is sent again, each time after twice the time, until it is answered.", text: `
		open
		> SYN seq=0
		wait 199ms
		wait 1ms
		> SYN seq=0 ; again
		wait 399ms
		wait 1ms
		> SYN seq=0 ; again
		< SYN,ACK seq=0 ack=1 ; gets SYN,takes SYN
		> ACK seq=1 ack=1 ; acks SYN
		= ESTABLISHED`},
	{name: "a SYN that nobody answers", prose: "After eight retransmissions it is given up.", text: `
		open
		> SYN seq=0
		timer
		> SYN seq=0 ; again
		timer
		> SYN seq=0 ; again
		timer
		> SYN seq=0 ; again
		timer
		= CLOSED SYN with seq ISS was never acknowledged, sent 4 times`, cfg: MachineConfig{Tries: 3}},
	{name: "lost SYN-ACK", prose: "For us it looks like a lost SYN; the peer answers both SYNs, and the second answer is old.", text: `
		open
		> SYN seq=0
		timer
		> SYN seq=0 ; again
		< SYN,ACK seq=0 ack=1 ; gets SYN,takes SYN
		> ACK seq=1 ack=1 ; acks SYN
		< SYN,ACK seq=0 ack=1 ; repeated
		> ACK seq=1 ack=1 ; repeats
		= ESTABLISHED`},
	{name: "lost last ACK of the handshake", prose: "The peer sends its SYN-ACK again and must be answered.", text: established + `
		< SYN,ACK seq=0 ack=1 ; repeated
		> ACK seq=1 ack=1 ; repeats
		= ESTABLISHED`},
	{name: "lost data", prose: "They are sent again with what is acknowledged by then.", text: established + `
		write 10
		> PSH,ACK seq=1 ack=1 len=10
		< PSH,ACK seq=1 ack=1 len=5 ; takes data
		> ACK seq=11 ack=6 ; acks data
		timer
		> PSH,ACK seq=1 ack=6 len=10 ; again
		< ACK seq=6 ack=11 ; gets data
		timer
		= ESTABLISHED`},
	{name: "lost first of three segments", prose: "After the timeout one segment goes alone; what the peer had kept is acknowledged with it.", text: established + `
		write 3000
		> ACK seq=1 ack=1 len=1400
		> ACK seq=1401 ack=1 len=1400
		> PSH,ACK seq=2801 ack=1 len=200
		< ACK seq=1 ack=1
		< ACK seq=1 ack=1
		timer
		> ACK seq=1 ack=1 len=1400 ; again
		< ACK seq=1 ack=3001 ; gets data
		timer
		= ESTABLISHED`},
	{name: "a lost flight", prose: "One segment, then as many more as were acknowledged: slow start.", text: established + `
		write 4200
		> ACK seq=1 ack=1 len=1400
		> ACK seq=1401 ack=1 len=1400
		> PSH,ACK seq=2801 ack=1 len=1400
		timer
		> ACK seq=1 ack=1 len=1400 ; again
		< ACK seq=1 ack=1401 ; gets data
		> ACK seq=1401 ack=1 len=1400 ; again
		> PSH,ACK seq=2801 ack=1 len=1400 ; again
		< ACK seq=1 ack=4201 ; gets data`},
	{name: "lost FIN", prose: "It is sent again; the peer's data since then are acknowledged with it.", text: established + `
		close
		> FIN,ACK seq=1 ack=1
		< PSH,ACK seq=1 ack=1 len=7 ; takes data
		> ACK seq=2 ack=8 ; acks data
		timer
		> FIN,ACK seq=1 ack=8 ; again
		= FIN_WAIT_1
		< ACK seq=8 ack=2 ; gets FIN
		= FIN_WAIT_2`},
	{name: "a FIN that nobody answers", prose: "The error says what was never acknowledged.", text: established + `
		write 3
		> PSH,ACK seq=1 ack=1 len=3
		close
		> FIN,ACK seq=4 ack=1
		timer
		> FIN,PSH,ACK seq=1 ack=1 len=3 ; again
		timer
		= CLOSED 3 bytes and FIN with seq`, cfg: MachineConfig{Tries: 1}},
	{name: "lost last ACK", prose: "TIME_WAIT is there for this: the peer's FIN comes again, is answered, and the time begins anew.", text: established + `
		close
		> FIN,ACK seq=1 ack=1
		< FIN,ACK seq=1 ack=2 ; gets FIN,takes FIN
		> ACK seq=2 ack=2 ; acks FIN
		wait 59s
		< FIN,ACK seq=1 ack=2 ; repeated
		> ACK seq=2 ack=2 ; repeats
		wait 59s
		< FIN,ACK seq=1 ack=2 ; repeated
		> ACK seq=2 ack=2 ; repeats
		= TIME_WAIT
		wait 60s
		= CLOSED`},
	{name: "the peer closes first", prose: "CLOSE_WAIT until we close, too; the peer has TIME_WAIT.", text: established + `
		< FIN,ACK seq=1 ack=1 ; takes FIN
		> ACK seq=1 ack=2 ; acks FIN
		= CLOSE_WAIT
		write 5
		> PSH,ACK seq=1 ack=2 len=5
		< ACK seq=2 ack=6 ; gets data
		close
		> FIN,ACK seq=6 ack=2
		= LAST_ACK
		timer
		> FIN,ACK seq=6 ack=2 ; again
		< ACK seq=2 ack=7 ; gets FIN
		= CLOSED`},
	{name: "simultaneous close", prose: "RFC 9293 figure 13: the FINs cross, each is acknowledged on its own.", text: established + `
		close
		> FIN,ACK seq=1 ack=1
		< FIN,ACK seq=1 ack=1 ; takes FIN
		> ACK seq=2 ack=2 ; acks FIN
		= CLOSING
		< ACK seq=2 ack=2 ; gets FIN
		= TIME_WAIT`},
	{name: "simultaneous close, our FIN lost", prose: "CLOSING retransmits.", text: established + `
		close
		> FIN,ACK seq=1 ack=1
		< FIN,ACK seq=1 ack=1 ; takes FIN
		> ACK seq=2 ack=2 ; acks FIN
		timer
		> FIN,ACK seq=1 ack=2 ; again
		< ACK seq=2 ack=2 ; gets FIN
		= TIME_WAIT`},
	{name: "simultaneous open", prose: "RFC 9293 figure 7: the SYNs cross, each is answered with a SYN-ACK, and neither of these is taken for old.", text: `
		open
		> SYN seq=0
		< SYN seq=0 mss=1400 ; takes SYN
		> SYN,ACK seq=0 ack=1 ; again
		= SYN_RECEIVED
		< SYN,ACK seq=0 ack=1 ; gets SYN,crossed SYN
		= ESTABLISHED`},
	{name: "simultaneous open, our SYN-ACK lost", prose: "The peer's SYN comes again: so does our answer.", text: `
		open
		> SYN seq=0
		< SYN seq=0 mss=1400 ; takes SYN
		> SYN,ACK seq=0 ack=1 ; again
		< SYN seq=0 mss=1400 ; repeated
		> SYN,ACK seq=0 ack=1 ; again
		timer
		> SYN,ACK seq=0 ack=1 ; again
		< ACK seq=1 ack=1 ; gets SYN
		= ESTABLISHED`},
	{name: "refused", prose: "A closed port: RST,ACK that acknowledges the SYN.", text: `
		open
		> SYN seq=0
		< RST,ACK seq=abs0 ack=1 ; resets
		= CLOSED RST,ACK in answer to the SYN`},
	{name: "a RST in the handshake that is not ours", prose: "Without an ACK of our SYN anybody could have sent it.", text: `
		open
		> SYN seq=0
		< RST seq=0 ; stray RST
		< RST,ACK seq=0 ack=2 ; bad ack
		< RST,ACK seq=0 ack=0 ; bad ack
		= SYN_SENT`},
	{name: "an old connection answers the SYN", prose: "RFC 9293 figure 9: an ACK of what was never sent is told so by a RST; the SYN that comes again finds the peer ready.", text: `
		open
		> SYN seq=0
		< ACK seq=300 ack=99 ; bad ack
		> RST seq=99 ; refuses
		= SYN_SENT
		timer
		> SYN seq=0 ; again
		< SYN,ACK seq=0 ack=1 ; gets SYN,takes SYN
		> ACK seq=1 ack=1 ; acks SYN
		= ESTABLISHED`},
	{name: "exact RST", prose: "Its number is RCV.NXT: it counts at once.", text: established + `
		< PSH,ACK seq=1 ack=1 len=3 ; takes data
		> ACK seq=1 ack=4 ; acks data
		< RST seq=4 ; resets
		= CLOSED RST from the peer`},
	{name: "RST in the window", prose: "RFC 5961 section 3: it may be forged, so the peer is asked. If it meant it, it answers with an exact one.", text: established + `
		< RST seq=2 ; stray RST
		> ACK seq=1 ack=1 ; challenge
		= ESTABLISHED
		< RST seq=1 ; resets
		= CLOSED RST from the peer`},
	{name: "RST out of the window", prose: "It is dropped in silence.", text: established + `
		< RST seq=0 ; stray RST
		< RST seq=70000 ; stray RST
		< RST seq=-100000 ; stray RST
		= ESTABLISHED`},
	{name: "SYN inside a connection", prose: "RFC 5961 section 4: a challenge ACK, whatever its number.", text: established + `
		< SYN seq=100 ; SYN inside
		> ACK seq=1 ack=1 ; challenge
		< SYN seq=500000 ; outside
		> ACK seq=1 ack=1 ; repeats
		= ESTABLISHED`},
	{name: "an ACK of what was never sent", prose: "It is answered with an ACK and dropped, its data with it.", text: established + `
		write 10
		> PSH,ACK seq=1 ack=1 len=10
		< PSH,ACK seq=1 ack=12 len=4 ; bad ack
		> ACK seq=11 ack=1 ; challenge
		< ACK seq=1 ack=-70000 ; bad ack
		> ACK seq=11 ack=1 ; challenge
		< ACK seq=1 ack=0 ; old ack
		< ACK seq=1 ack=11 ; gets data
		< PSH,ACK seq=1 ack=1 len=4 ; takes data,old ack
		> ACK seq=11 ack=5 ; acks data
		= ESTABLISHED`},
	{name: "an ACK of our FIN before it is sent", prose: "It does not end anything.", text: established + `
		< ACK seq=1 ack=2 ; bad ack
		> ACK seq=1 ack=1 ; challenge
		close
		> FIN,ACK seq=1 ack=1
		= FIN_WAIT_1
		< ACK seq=1 ack=3 ; bad ack
		> ACK seq=2 ack=1 ; challenge
		= FIN_WAIT_1`},
	{name: "a segment without ACK", prose: "It is dropped.", text: established + `
		< PSH seq=1 len=3 ; no ACK
		= ESTABLISHED`},
	{name: "duplicate and overlapping data", prose: "Only what is new is taken.", text: established + `
		< PSH,ACK seq=1 ack=1 len=10 ; takes data
		> ACK seq=1 ack=11 ; acks data
		< PSH,ACK seq=1 ack=1 len=10 ; repeated
		> ACK seq=1 ack=11 ; repeats
		< PSH,ACK seq=6 ack=1 len=10 ; takes data
		> ACK seq=1 ack=16 ; acks data
		read 15
		= ESTABLISHED`},
	{name: "data out of order", prose: "They are not kept: the ACK says what is missing, and all of it comes again. So does a FIN.", text: established + `
		< PSH,ACK seq=11 ack=1 len=10 ; out of order
		> ACK seq=1 ack=1 ; repeats
		< FIN,ACK seq=21 ack=1 ; out of order
		> ACK seq=1 ack=1 ; repeats
		< ACK seq=1 ack=1 len=10 ; takes data
		> ACK seq=1 ack=11 ; acks data
		< FIN,PSH,ACK seq=11 ack=1 len=10 ; takes data,takes FIN
		> ACK seq=1 ack=22 ; acks data,acks FIN
		read 20
		= CLOSE_WAIT`},
	{name: "half-close", prose: "We have finished; the peer still sends, and is acknowledged.", text: established + `
		close
		> FIN,ACK seq=1 ack=1
		< ACK seq=1 ack=2 ; gets FIN
		< PSH,ACK seq=1 ack=2 len=100 ; takes data
		> ACK seq=2 ack=101 ; acks data
		wait 1h
		= FIN_WAIT_2
		< PSH,ACK seq=101 ack=2 len=100 ; takes data
		> ACK seq=2 ack=201 ; acks data
		read 200
		< FIN,ACK seq=201 ack=2 ; takes FIN
		> ACK seq=2 ack=202 ; acks FIN
		= TIME_WAIT`},
	{name: "the peer's window", prose: "Not a byte goes beyond it, and the FIN waits as well. A small one is not filled at once (section 3.8.6.2.1), in case it grows.", text: established + `
		< ACK seq=1 ack=1 win=1000
		write 2500
		timer
		> ACK seq=1 ack=1 len=1000
		close
		< ACK seq=1 ack=1001 win=1400 ; gets data
		> ACK seq=1001 ack=1 len=1400
		< ACK seq=1 ack=2401 win=100 ; gets data
		> PSH,ACK seq=2401 ack=1 len=100
		= ESTABLISHED
		< ACK seq=1 ack=2501 win=1 ; gets data
		> FIN,ACK seq=2501 ack=1
		= FIN_WAIT_1`},
	{name: "zero window", prose: "It is probed with a byte, less and less often, and for ever as long as the probes are acknowledged; when it opens, the byte comes again with the rest.", text: established + `
		< ACK seq=1 ack=1 win=0
		write 3
		timer
		> ACK seq=1 ack=1 len=1 ; probe
		< ACK seq=1 ack=1 win=0
		timer
		> ACK seq=1 ack=1 len=1 ; again,probe
		< ACK seq=1 ack=1 win=0
		timer
		> ACK seq=1 ack=1 len=1 ; again,probe
		< ACK seq=1 ack=1 win=0
		timer
		> ACK seq=1 ack=1 len=1 ; again,probe
		< ACK seq=1 ack=1 win=500
		> PSH,ACK seq=1 ack=1 len=3 ; again
		< ACK seq=1 ack=4 win=500 ; gets data
		= ESTABLISHED`, cfg: MachineConfig{Tries: 2}},
	{name: "zero window, and nobody answers the probes", prose: "Then it is a dead peer.", text: established + `
		< ACK seq=1 ack=1 win=0
		write 3
		timer
		> ACK seq=1 ack=1 len=1 ; probe
		timer
		> ACK seq=1 ack=1 len=1 ; again,probe
		timer
		= CLOSED 1 bytes with seq`, cfg: MachineConfig{Tries: 2}},
	{name: "zero window before the FIN", prose: "The FIN is the probe.", text: established + `
		< ACK seq=1 ack=1 win=0
		close
		= ESTABLISHED
		timer
		> FIN,ACK seq=1 ack=1 ; probe
		= FIN_WAIT_1
		< ACK seq=1 ack=2 ; gets FIN
		= FIN_WAIT_2`},
	{name: "our own window", prose: "It is told, never taken back, and a peer that ignores it is not listened to. Reading opens it again and says so.", text: established + `
		< PSH,ACK seq=1 ack=1 len=3000 ; takes data
		> ACK seq=1 ack=3001 win=1000 ; acks data
		< PSH,ACK seq=3001 ack=1 len=1400 ; takes data
		> ACK seq=1 ack=4001 win=0 ; acks data
		< PSH,ACK seq=4001 ack=1 len=1 ; no room
		> ACK seq=1 ack=4001 win=0 ; answers probe
		< PSH,ACK seq=5000 ack=1 len=1 ; outside
		> ACK seq=1 ack=4001 win=0 ; repeats
		read 1000
		read 1000
		> ACK seq=1 ack=4001 win=2000 ; window update
		read 2000
		= ESTABLISHED`, cfg: MachineConfig{Window: 4000}},
	{name: "our window closed, and the ACK still counts", prose: "A full buffer does not keep our own data from being acknowledged.", text: established + `
		< PSH,ACK seq=1 ack=1 len=100 ; takes data
		> ACK seq=1 ack=101 win=0 ; acks data
		write 2
		> PSH,ACK seq=1 ack=101 len=2 win=0
		< PSH,ACK seq=101 ack=3 len=1 ; gets data,no room
		> ACK seq=3 ack=101 win=0 ; answers probe
		timer
		= ESTABLISHED`, cfg: MachineConfig{Window: 100}},
	{name: "what is not read any more", prose: "It is thrown away, and the window stays open, so that the peer can finish.", text: established + `
		< PSH,ACK seq=1 ack=1 len=100 ; takes data
		> ACK seq=1 ack=101 win=0 ; acks data
		discard
		> ACK seq=1 ack=101 win=100 ; window update
		close
		> FIN,ACK seq=1 ack=101
		< FIN,PSH,ACK seq=101 ack=2 len=99 ; gets FIN,takes data,takes FIN
		> ACK seq=2 ack=201 win=100 ; acks data,acks FIN
		= TIME_WAIT`, cfg: MachineConfig{Window: 100}},
	{name: "a write before the connection is there", prose: "It goes with the handshake's last ACK.", text: `
		open
		> SYN seq=0
		write 4
		< SYN,ACK seq=0 ack=1 ; gets SYN,takes SYN
		> PSH,ACK seq=1 ack=1 len=4 ; acks SYN
		= ESTABLISHED`},
	{name: "an ACK that rides", prose: "What opens the window is acknowledged by what goes through it.", text: established + `
		< ACK seq=1 ack=1 win=0
		write 5
		close
		< FIN,PSH,ACK seq=1 ack=1 len=2 win=9 ; takes data,takes FIN
		> FIN,PSH,ACK seq=1 ack=4 len=5 ; acks data,acks FIN
		= LAST_ACK`},
	{name: "closed before the connection is there", prose: "RFC 9293 section 3.10.4: the attempt is given up; a late answer changes nothing.", text: `
		open
		> SYN seq=0
		close
		= CLOSED
		< SYN,ACK seq=0 ack=1 ; late
		= CLOSED`},
	{name: "data on the SYN-ACK", prose: "They follow the peer's SYN.", text: `
		open
		> SYN seq=0
		< SYN,ACK seq=0 ack=1 len=5 ; gets SYN,takes SYN,takes data
		> ACK seq=1 ack=6 ; acks SYN,acks data
		read 5
		= ESTABLISHED`},
	{name: "abort", prose: "RST with what is next on both sides.", text: established + `
		write 5
		> PSH,ACK seq=1 ack=1 len=5
		abort
		> RST,ACK seq=6 ack=1 ; aborts
		= CLOSED aborted by us
		timer
		= CLOSED aborted by us`},
	{name: "crossing FINs by hand", prose: "Quiet, the machine hears the peer's FIN and does not answer; a FIN that does not acknowledge it makes the closes simultaneous.", text: established + `
		quiet
		< FIN,ACK seq=1 ack=1 ; takes FIN
		= CLOSE_WAIT
		send FIN,ACK seq=1 ack=1
		> FIN,ACK seq=1 ack=1 ; by hand
		= LAST_ACK
		< ACK seq=2 ack=2 ; gets FIN
		= CLOSED`},
	{name: "SYN and no last ACK by hand", prose: "The peer stays in SYN_RECEIVED; its SYN-ACK comes again and again.", text: `
		quiet
		send SYN seq=0
		> SYN seq=0 ; by hand
		= SYN_SENT
		< SYN,ACK seq=0 ack=1 ; gets SYN,takes SYN
		= ESTABLISHED
		< SYN,ACK seq=0 ack=1 ; repeated
		timer
		loud
		< SYN,ACK seq=0 ack=1 ; repeated
		> ACK seq=1 ack=1 ; repeats`},
	{name: "data on the SYN by hand", prose: "The peer does not take them without a cookie (RFC 7413): they come again after the handshake.", text: `
		send SYN seq=0 len=5
		> SYN seq=0 len=5 ; by hand
		= SYN_SENT
		< SYN,ACK seq=0 ack=1 ; gets SYN,takes SYN
		> ACK seq=6 ack=1 ; acks SYN
		timer
		> PSH,ACK seq=1 ack=1 len=5 ; again
		< ACK seq=1 ack=6 ; gets data
		= ESTABLISHED`},
	{name: "a RST by hand, out of the peer's window", prose: "It has nothing to do with our own state.", text: established + `
		send RST seq=100000
		> RST seq=100000 ; by hand
		write 1
		> PSH,ACK seq=1 ack=1 len=1
		= ESTABLISHED`},
	{name: "data by hand", prose: "They go on where the connection is, and are sent again like any others.", text: established + `
		send PSH,ACK seq=1 ack=1 len=5
		> PSH,ACK seq=1 ack=1 len=5 ; by hand
		timer
		> PSH,ACK seq=1 ack=1 len=5 ; again
		< ACK seq=1 ack=6 ; gets data
		close
		> FIN,ACK seq=6 ack=1`},
}

// established is the beginning of a story that is about something else.
const established = `
		open
		> SYN seq=0
		< SYN,ACK seq=0 ack=1 mss=1400 ; gets SYN,takes SYN
		> ACK seq=1 ack=1 ; acks SYN
		= ESTABLISHED`

func TestStories(t *testing.T) {
	// Numbers that wrap around 2^32 at once, in the data, and not at all.
	for _, iss := range [][2]uint32{{1000, 5000}, {0xffffffff, 0xffffffff}, {0xfffffffe, 0}, {0xfffffff0, 0xfffff000}, {0x7fffffff, 0x7ffffff0}} {
		for _, s := range stories {
			t.Run(fmt.Sprintf("%s/ISS %#x", s.name, iss[0]), func(t *testing.T) {
				tell(t, s, iss[0], iss[1])
			})
		}
	}
}

var (
	ourEnd   = netip.MustParseAddrPort("10.9.7.7:50000")
	theirEnd = netip.MustParseAddrPort("127.0.0.1:7")
)

// tell plays a story.
func tell(t *testing.T, s story, iss, irs uint32) {
	cfg := s.cfg
	cfg.Local, cfg.Remote, cfg.ISS = ourEnd, theirEnd, iss
	m := NewMachine(&cfg)
	now := time.Unix(1_000_000_000, 0)
	var sent []Step
	var heard Step
	read := 0 // of the peer's stream
	collect := func() {
		m.Steps(func(st *Step) {
			if st.Explain() == "" {
				t.Errorf("nothing is said of %s", show(st))
			}
			if st.Sent {
				sent = append(sent, *st)
			} else {
				heard = *st
			}
		})
	}
	advance := func(to time.Time) {
		for next := m.Next(); !next.IsZero() && !next.After(to); next = m.Next() {
			now = next
			m.Advance(now)
			collect()
		}
		now = to
	}
	for n, line := range strings.Split(strings.TrimSpace(s.text), "\n") {
		line = strings.TrimSpace(line)
		line, why, _ := strings.Cut(line, " ; ")
		word, rest, _ := strings.Cut(line, " ")
		if word != ">" && len(sent) > 0 {
			t.Fatalf("before line %d, %q: also sent %s", n+1, line, show(&sent[0]))
		}
		switch word {
		case "open":
			m.Open(now)
		case "write":
			if got := m.Write(now, make([]byte, atoi(t, rest))); got != atoi(t, rest) {
				t.Fatalf("%s: took %d", line, got)
			}
		case "read":
			b := make([]byte, atoi(t, rest))
			if got := m.Read(now, b); got != len(b) {
				t.Fatalf("%s: read %d", line, got)
			}
			for i := range b {
				if read++; b[i] != byte(read) {
					t.Fatalf("%s: byte %d of the stream is %d", line, read, b[i])
				}
			}
		case "close":
			m.CloseWrite(now)
		case "discard":
			m.Discard(now)
		case "abort":
			m.Abort(now)
		case "quiet", "loud":
			m.Quiet(now, word == "quiet")
		case "send":
			p := parse(t, rest, iss, irs)
			m.Send(now, Segment{
				Seq: p.Segment.Seq, Ack: p.Segment.Ack, Flags: p.Segment.Flags, Window: p.Segment.Window, Payload: p.Payload,
			})
		case "timer":
			if next := m.Next(); !next.IsZero() {
				advance(next)
			}
		case "wait":
			d, err := time.ParseDuration(rest)
			if err != nil {
				t.Fatal(err)
			}
			advance(now.Add(d))
		case "<":
			p := parse(t, rest, irs, iss)
			p.Src, p.Dst = decode.EndpointOf(theirEnd), decode.EndpointOf(ourEnd)
			if !m.Receive(now, &p) {
				t.Fatalf("%s: not taken", line)
			}
			collect()
			if heard.Why.String() != why {
				t.Fatalf("line %d, %s: the machine says %q, want %q", n+1, line, heard.Why, why)
			}
		case ">":
			if len(sent) == 0 {
				t.Fatalf("line %d, %s: nothing was sent", n+1, line)
			}
			got, want := sent[0], parse(t, rest, iss, irs)
			sent = sent[1:]
			same := got.Seq == want.Segment.Seq && got.Flags == want.Segment.Flags && len(got.Payload) == want.Len &&
				(!got.Flags.Has(decode.ACK) || got.Ack == want.Segment.Ack) && got.Why.String() == why &&
				(want.Segment.MSS == 0 || got.MSS == want.Segment.MSS) &&
				(!strings.Contains(rest, "win=") || got.Window == want.Segment.Window)
			if !same {
				t.Fatalf("line %d: sent %s, want %s", n+1, show(&got), line+" ; "+why)
			}
		case "=":
			state, text, _ := strings.Cut(rest, " ")
			st := m.Status()
			said := ""
			if st.Err != nil {
				said = st.Err.Error()
			}
			text = strings.ReplaceAll(text, "ISS", strconv.Itoa(int(iss)))
			if st.State.String() != state || !strings.HasPrefix(said, text) || (text == "") != (said == "") {
				t.Fatalf("line %d: %v %q, want %s", n+1, st.State, said, rest)
			}
		default:
			t.Fatalf("what is %q?", line)
		}
		collect()
	}
	if len(sent) > 0 {
		t.Errorf("at the end: also sent %s", show(&sent[0]))
	}
}

// show prints a sent segment as a story has it.
func show(s *Step) string {
	text := fmt.Sprintf("> %v seq=%d", s.Flags, int32(s.Seq-s.ISS))
	if s.Flags.Has(decode.ACK) {
		text += fmt.Sprintf(" ack=%d", int32(s.Ack-s.IRS))
	}
	return text + fmt.Sprintf(" len=%d win=%d ; %v", len(s.Payload), s.Window, s.Why)
}

// parse reads a segment whose numbers are relative to its sender's ISS and its
// receiver's; "abs" before a number means that it is none of these.
func parse(t *testing.T, text string, sender, receiver uint32) decode.Packet {
	t.Helper()
	fields := strings.Fields(text)
	p := decode.Packet{Proto: decode.ProtoTCP, Version: 4, Segment: decode.Segment{Window: 65535}}
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK"} {
		if strings.Contains(fields[0], name) {
			p.Segment.Flags |= 1 << i
		}
	}
	if p.Segment.Flags.String() != fields[0] {
		t.Fatalf("flags %q", fields[0])
	}
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		value, abs := strings.CutPrefix(value, "abs")
		n := uint32(atoi(t, value))
		switch key {
		case "seq":
			p.Segment.Seq = n
			if !abs {
				p.Segment.Seq += sender
			}
		case "ack":
			p.Segment.Ack = n + receiver
		case "len":
			p.Len, p.Payload = int(n), make([]byte, n)
			first := p.Segment.Seq - sender
			if p.Segment.Flags.Has(decode.SYN) {
				first++
			}
			for i := range p.Payload {
				p.Payload[i] = byte(first) + byte(i) // its number, counted from the ISS
			}
		case "win":
			p.Segment.Window = uint16(n)
		case "mss":
			p.Segment.MSS, p.Segment.Opts = uint16(n), decode.OptMSS
		default:
			t.Fatalf("what is %q?", f)
		}
	}
	return p
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
