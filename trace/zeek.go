package trace

import (
	"math/bits"
	"strings"

	"finack/decode"
)

// This file keeps what Zeek's conn.log says of a connection in conn_state and
// history, so that the two can be joined and compared. It follows Zeek's
// documentation of these fields (base/protocols/conn/main.zeek) and, where that
// leaves a choice, what Zeek does. It reads the tracker's sequence numbers and
// changes nothing else that the tracker knows. Zeek's originator is the client here; where the first packet
// was the server's, Zeek too has exchanged the ends, which a ^ tells.
//
// Two things differ on purpose: connections begin and end as everywhere here,
// by 4-tuple and ISNs, not by Zeek's timers; and a history ends after 84 letters.

// ConnState is Zeek's conn_state.
type ConnState uint8

// Zeek's states of a connection. "Established" is what Zeek calls so.
const (
	ConnOTH    ConnState = iota // no SYN seen, or nothing of the below
	ConnS0                      // a SYN, no reply
	ConnS1                      // established, not terminated
	ConnSF                      // established and terminated
	ConnREJ                     // the attempt was rejected
	ConnS2                      // the originator has closed, no reply from the responder
	ConnS3                      // the responder has closed, no reply from the originator
	ConnRSTO                    // the originator aborted
	ConnRSTR                    // the responder aborted
	ConnRSTOS0                  // a SYN followed by a RST, no SYN-ACK seen
	ConnRSTRH                   // a SYN-ACK followed by a RST, no SYN seen
	ConnSH                      // a SYN followed by a FIN, no SYN-ACK seen
	ConnSHR                     // a SYN-ACK followed by a FIN, no SYN seen
)

// String returns the name as Zeek writes it.
func (s ConnState) String() string {
	switch s {
	case ConnS0:
		return "S0"
	case ConnS1:
		return "S1"
	case ConnSF:
		return "SF"
	case ConnREJ:
		return "REJ"
	case ConnS2:
		return "S2"
	case ConnS3:
		return "S3"
	case ConnRSTO:
		return "RSTO"
	case ConnRSTR:
		return "RSTR"
	case ConnRSTOS0:
		return "RSTOS0"
	case ConnRSTRH:
		return "RSTRH"
	case ConnSH:
		return "SH"
	case ConnSHR:
		return "SHR"
	default:
		return "OTH"
	}
}

// zeekEnd is what Zeek keeps of one end: its state, the one before, and which
// letters of its history it has.
type zeekEnd struct {
	state, before zeekState
	seen          uint8 // zeekLetter bits, those up to zeekOdd
}

type zeekState uint8

const (
	zeekInactive    zeekState = iota // nothing was seen
	zeekSYNSent                      // a SYN
	zeekPartial                      // something without a SYN
	zeekEstablished                  // its SYN was answered, or answers
	zeekClosed                       // a FIN
	zeekReset                        // a RST
)

func (z *zeekEnd) move(next zeekState) {
	if z.state != next {
		z.before, z.state = z.state, next
	}
}

// idle reports whether the end has not taken part in a handshake.
func (z *zeekEnd) idle() bool { return z.state == zeekInactive || z.state == zeekPartial }

// clean reports whether the end was established and not reset since.
func (z *zeekEnd) clean() bool {
	return z.state == zeekEstablished || z.state == zeekClosed && z.before == zeekEstablished
}

// zeekCounts count what makes a letter the first, the tenth, the hundredth… time.
type zeekCounts struct{ rxmt, gap, zeroWindow, badSum uint32 }

// Letters of a history, as their index in zeekLetters. Those up to zeekOdd have
// a bit in zeekEnd.seen.
const (
	zeekSYN = iota
	zeekFIN
	zeekRST
	zeekFINRST
	zeekData
	zeekACK
	zeekOdd
	zeekSYNACK // shares the bit of zeekSYN
	zeekRxmt
	zeekGap
	zeekZeroWindow
	zeekBadSum

	zeekLetters   = "SFRIDAQHTGWC"
	zeekServer    = 1 << 4 // a letter of the server
	zeekBits      = 5      // of a letter in a word, which is never zero
	zeekPerWord   = 64 / zeekBits
	maxZeekLetter = zeekPerWord * (1 + len(trouble{}.history))
)

// zeek takes a segment into the account that Zeek would give. It comes before
// the tracker has taken the segment's numbers.
func (t *Tracker) zeek(c *record, s Side, p *decode.Packet) {
	if p.BadSum {
		t.zeekCount(c, s, &t.troubleOf(c).zeek[s].badSum, zeekBadSum)
		return
	}
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	seg := &p.Segment
	f := seg.Flags
	const ctl = decode.SYN | decode.FIN | decode.RST
	if f.Has(decode.SYN) && !f.Has(decode.ACK) && !me.fits(p) {
		return // of another connection, maybe: judgeSYN keeps it
	}
	switch f & ctl {
	case 0:
		switch {
		case p.Len > 0:
			t.zeekOnce(c, s, zeekData)
		case f.Has(decode.ACK):
			t.zeekOnce(c, s, zeekACK)
		}
	case decode.SYN:
		letter := zeekSYN
		if f.Has(decode.ACK) {
			letter = zeekSYNACK
		}
		if seen := !t.zeekOnce(c, s, letter); seen && seg.Seq != me.base {
			if last := &t.troubleOf(c).zeekSYN[s]; *last != seg.Seq {
				*last = seg.Seq
				t.zeekLetter(c, s, letter)
			}
		}
	case decode.FIN:
		t.zeekChanged(c, s, zeekFIN, &t.closingOf(c).zeekFIN[s], seg.Seq+uint32(p.Len))
	case decode.RST:
		t.zeekChanged(c, s, zeekRST, &t.closingOf(c).zeekRST[s], seg.Seq)
	case decode.FIN | decode.RST, ctl:
		t.zeekOnce(c, s, zeekFINRST)
	default:
		t.zeekOnce(c, s, zeekOdd)
	}
	if seg.Window == 0 && !f.Has(decode.RST) && peer.zeek.state != zeekClosed && me.zeek.state != zeekReset {
		t.zeekCount(c, s, &t.troubleOf(c).zeek[s].zeroWindow, zeekZeroWindow)
	}
	if p.Len > 0 && me.zeek.state != zeekReset && !f.Has(decode.RST) {
		// Also a first SYN with data, of which Zeek has taken the number already.
		if again := me.has(endSeen) && seqLEQ(seg.Seq+p.SeqLen(), me.nxt); again || !me.has(endSeen) && f.Has(decode.SYN) {
			t.zeekCount(c, s, &t.troubleOf(c).zeek[s].rxmt, zeekRxmt)
		}
	}
	if f&ctl != 0 || me.zeek.state == zeekInactive {
		zeekMove(&me.zeek, &peer.zeek, s, p)
	}
	if f.Has(decode.ACK) && peer.has(endSeen) && me.zeek.clean() && peer.zeek.clean() {
		t.zeekMissing(c, s, seg.Ack)
	}
}

// zeekMove is Zeek's state machine: me is the end of side s, which has sent p.
func zeekMove(me, peer *zeekEnd, s Side, p *decode.Packet) {
	f := p.Segment.Flags
	syn, fin, rst := f.Has(decode.SYN), f.Has(decode.FIN), f.Has(decode.RST)
	switch me.state {
	case zeekInactive:
		if syn {
			if s == Client && peer.state != zeekEstablished {
				me.move(zeekSYNSent)
			} else { // also a SYN after its SYN-ACK, as captures of two taps have it
				if peer.state == zeekSYNSent {
					peer.move(zeekEstablished)
				}
				me.move(zeekEstablished)
			}
		}
		switch {
		case rst:
			me.move(zeekReset)
		case fin:
			me.move(zeekClosed)
		case syn:
		case s == Server && p.Len == 0 && peer.state == zeekSYNSent:
			// An acknowledgment before the SYN-ACK tells nothing yet.
		case f.Has(decode.ACK) && peer.state == zeekEstablished:
			me.move(zeekEstablished) // only its SYN is missing
		default:
			me.move(zeekPartial)
		}
	case zeekSYNSent:
		if fin {
			me.move(zeekClosed)
		}
		if rst {
			me.move(zeekReset)
		}
	case zeekPartial, zeekEstablished:
		if syn && !f.Has(decode.ACK) && me.state == zeekPartial && peer.state == zeekInactive {
			me.move(zeekSYNSent)
		}
		if fin && !rst {
			me.move(zeekClosed)
			if peer.state == zeekReset && peer.before == zeekClosed {
				peer.move(zeekClosed) // a FIN, then a RST, then the other's FIN
			}
		}
		if rst {
			me.move(zeekReset)
		}
	case zeekClosed:
		if rst && peer.state != zeekClosed {
			me.move(zeekReset)
		}
	}
}

// zeekMissing notes that side s acknowledges what its peer has sent and was
// not seen. The peer's FIN is none of it.
func (t *Tracker) zeekMissing(c *record, s Side, ack uint32) {
	from := s.Peer()
	e := &c.ends[from]
	seen := e.nxt
	if e.has(endProbed) {
		seen++ // the probe's octet
	}
	gap := t.gapOf(c, from)
	if gap == nil && seqLEQ(ack, seen) || t.cfg.Lifecycle {
		return
	}
	tr := t.troubleOf(c)
	if gap != nil && seqLT(tr.zeekLost[from], tr.gapHi[from]) {
		seen = tr.gapLo[from]
	}
	if e.has(endFIN) {
		if last := t.closing.at(c.closing - 1).fin[from] - 1; seqLT(last, ack) {
			ack = last
		}
	}
	if seqLT(seen, ack) && (tr.zeek[from].gap == 0 || seqLT(tr.zeekLost[from], ack)) {
		tr.zeekLost[from] = ack
		t.zeekCount(c, from, &tr.zeek[from].gap, zeekGap)
	}
}

// zeekOnce adds a letter unless side s has it, and reports whether it did.
func (t *Tracker) zeekOnce(c *record, s Side, letter int) bool {
	bit := uint8(1) << letter
	if letter == zeekSYNACK {
		bit = 1 << zeekSYN
	}
	if c.ends[s].zeek.seen&bit != 0 {
		return false
	}
	c.ends[s].zeek.seen |= bit
	t.zeekLetter(c, s, letter)
	return true
}

// zeekChanged adds a letter when it is side s's first, or number is another one
// than the last time.
func (t *Tracker) zeekChanged(c *record, s Side, letter int, last *uint32, number uint32) {
	if !t.zeekOnce(c, s, letter) && *last != number {
		t.zeekLetter(c, s, letter)
	}
	*last = number
}

// zeekCount counts, and adds a letter at 1, 10, 100….
func (t *Tracker) zeekCount(c *record, s Side, n *uint32, letter int) {
	*n++
	for i := uint64(1); i <= uint64(*n); i *= 10 {
		if i == uint64(*n) {
			t.zeekLetter(c, s, letter)
		}
	}
}

// zeekLetter adds a letter to the history.
func (t *Tracker) zeekLetter(c *record, s Side, letter int) {
	code := uint64(letter + 1)
	if s == Server {
		code |= zeekServer
	}
	w := &c.history
	n := zeekLen(*w)
	if n == zeekPerWord {
		tr := t.troubleOf(c)
		for i := range tr.history {
			w = &tr.history[i]
			if n = zeekLen(*w); n < zeekPerWord {
				break
			}
		}
		if n == zeekPerWord {
			return
		}
	}
	*w |= code << (n * zeekBits)
}

// zeekLen is the number of letters in a word.
func zeekLen(w uint64) int { return (bits.Len64(w) + zeekBits - 1) / zeekBits }

// swapCase makes the client's letters the server's and the other way round.
func swapCase(w *uint64) {
	for i := range zeekLen(*w) {
		*w ^= zeekServer << (i * zeekBits)
	}
}

// History is Zeek's history of a connection: a letter for each kind of packet
// in order of first occurrence, the client's in upper case.
type History struct {
	letters [1 + maxZeekLetter]byte
	n       uint8
}

// AppendTo appends the letters to dst.
func (h *History) AppendTo(dst []byte) []byte { return append(dst, h.letters[:h.n]...) }

// String returns the letters.
func (h *History) String() string { return string(h.letters[:h.n]) }

func (h *History) add(letter byte) {
	h.letters[h.n] = letter
	h.n++
}

func (h *History) addWord(w uint64) {
	for ; w != 0; w >>= zeekBits {
		letter := zeekLetters[w&(zeekServer-1)-1]
		if w&zeekServer != 0 {
			letter |= 'a' - 'A'
		}
		h.add(letter)
	}
}

// zeekVerdict fills in what Zeek would say.
func (t *Tracker) zeekVerdict(c *record, v *Conn) {
	if c.bits&bitFlipped != 0 {
		v.History.add('^')
	}
	v.History.addWord(c.history)
	if c.trouble != 0 {
		for _, w := range t.trouble.at(c.trouble - 1).history {
			v.History.addWord(w)
		}
	}
	orig, resp := &c.ends[Client].zeek, &c.ends[Server].zeek
	switch {
	case resp.state == zeekReset:
		switch {
		case orig.state == zeekSYNSent, orig.state == zeekReset && !c.carried(Client) && !c.carried(Server):
			v.ConnState = ConnREJ
		case orig.idle():
			v.ConnState = ConnRSTRH
		default:
			v.ConnState = ConnRSTR
		}
	case orig.state == zeekReset && !resp.idle():
		v.ConnState = ConnRSTO
	case orig.state == zeekReset:
		if v.History.startsWithReset() {
			v.ConnState = ConnRSTOS0
		}
	case orig.state == zeekClosed && resp.state == zeekClosed:
		v.ConnState = ConnSF
	case orig.state == zeekClosed:
		v.ConnState = ConnS2
		if resp.idle() {
			v.ConnState = ConnSH
		}
	case resp.state == zeekClosed:
		v.ConnState = ConnS3
		if orig.idle() {
			v.ConnState = ConnSHR
		}
	case orig.state == zeekSYNSent && resp.state == zeekInactive:
		v.ConnState = ConnS0
	case orig.state == zeekEstablished && resp.state == zeekEstablished:
		v.ConnState = ConnS1
	}
}

// carried reports whether an end has sent anything but SYN and FIN, by its
// numbers or by what was acknowledged of it.
func (c *record) carried(s Side) bool {
	me, peer := &c.ends[s], &c.ends[s.Peer()]
	own := uint32(0)
	if me.has(endSYN) {
		own++
	}
	if me.has(endFIN) {
		own++
	}
	return me.bytes > 0 || me.has(endBase) && (me.has(endSeen) && seqLT(me.base+own, me.nxt) || peer.has(endAck) && seqLT(me.base+own, peer.acked))
}

// startsWithReset reports whether the originator has sent a SYN and then a RST
// with none of the letters between that would make it more than an attempt.
func (h *History) startsWithReset() bool {
	rest, syn := strings.CutPrefix(strings.TrimPrefix(h.String(), "^"), "S")
	rst := strings.IndexByte(rest, 'R')
	return syn && rst >= 0 && !strings.ContainsAny(rest[:rst], "HAFGIQ")
}
