// Package byhand has TCP in user space: a handshake, data and a teardown done
// over a raw socket, against a peer that cannot tell it from any other. Each
// segment is explained, and any segment can be sent by hand, so that what a
// kernel does rarely (crossing FINs, a reset out of place, data on a SYN) can
// be made to happen.
//
// Machine is one connection as RFC 9293 has it: segments and time go in,
// segments and the time of the next timer come out. It knows no socket and no
// clock. Host is an address that lives in this program: it sends what its
// machines send through a raw socket, and gives them what a packet socket
// hears. It needs an address that is routed to this host and is none of the
// kernel's own, because for its own the kernel answers a SYN-ACK that it did
// not ask for with a reset.
//
// The imports: craft builds what is sent, decode reads what is heard, raw has
// the sockets, and trace the names of the states.
package byhand

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"finack/decode"
	"finack/trace"
)

// MachineConfig says how a Machine behaves. Local and Remote are needed; what
// else is zero has the default that is given.
type MachineConfig struct {
	Local, Remote netip.AddrPort

	ISS    uint32 // initial send sequence number, as it is
	MSS    uint16 // what we say that we receive at most in a segment; 1460
	Window int    // bytes that are kept until they are read, at most 65535, which is the default: we do not scale

	// RTO is the first and the least retransmission timeout; it doubles with
	// each try and grows with measured round trips (RFC 6298). 200 ms, Linux's
	// least: a kernel delays an ACK for up to 40 ms.
	RTO    time.Duration
	MaxRTO time.Duration // 5 s
	Tries  int           // how often a segment is sent again before the connection is given up; 8

	// TimeWait is 2MSL, how long TIME_WAIT lasts. 60 s, as on Linux: after a
	// few losses a peer waits for seconds before it sends its FIN again.
	TimeWait time.Duration

	// Quiet has the machine send nothing by itself: no ACK, no data, no
	// retransmission. It follows what is heard, and what Send sends.
	Quiet bool
}

const (
	defaultMSS    = 1460 // Ethernet's
	defaultWindow = 65535
	defaultRTO    = 200 * time.Millisecond
	defaultMaxRTO = 5 * time.Second
	defaultTries  = 8

	defaultTimeWait = 60 * time.Second // 2 MSL

	peerMSS       = 536     // where the peer names none (RFC 9293 section 3.7.1)
	leastMSS      = 64      // of a peer: a hostile one would have us send a segment for each byte
	initialWindow = 10      // segments (RFC 6928)
	maxOut        = 1 << 16 // bytes that wait to be sent or acknowledged
	maxSteps      = 1 << 12 // steps that wait to be taken away
)

func (c *MachineConfig) defaults() {
	setDefault(&c.MSS, defaultMSS)
	if c.Window <= 0 || c.Window > defaultWindow {
		c.Window = defaultWindow
	}
	setDefault(&c.RTO, defaultRTO)
	setDefault(&c.MaxRTO, max(defaultMaxRTO, c.RTO))
	setDefault(&c.Tries, defaultTries)
	setDefault(&c.TimeWait, defaultTimeWait)
}

func setDefault[T comparable](v *T, def T) {
	if *v == *new(T) {
		*v = def
	}
}

// The ends of a connection that are no teardown.
var (
	ErrRefused = fmt.Errorf("RST,ACK in answer to the SYN: nobody listens there: %w", syscall.ECONNREFUSED)
	ErrReset   = fmt.Errorf("RST from the peer: %w", syscall.ECONNRESET)
	ErrAborted = errors.New("aborted by us: we sent RST")
)

// TimeoutError says what was never acknowledged. It is a net.Error.
type TimeoutError struct {
	What  string // "SYN", "12 bytes", "FIN", "zero-window probe"
	Seq   uint32
	Tries int // how often it was sent
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("%s with seq %d was never acknowledged, sent %d times", e.What, e.Seq, e.Tries)
}

// Timeout returns true.
func (e *TimeoutError) Timeout() bool { return true }

// Temporary returns false.
func (e *TimeoutError) Temporary() bool { return false }

// Segment is what a TCP segment says, in either direction.
type Segment struct {
	Seq, Ack uint32
	Flags    decode.Flags
	Window   uint16
	MSS      uint16 // the option; zero: it is not there
	Payload  []byte
}

// Len is SEG.LEN: payload bytes, SYN and FIN counted (RFC 9293 section 3.4).
func (s *Segment) Len() uint32 {
	n := uint32(len(s.Payload))
	if s.Flags.Any(decode.SYN) {
		n++
	}
	if s.Flags.Any(decode.FIN) {
		n++
	}
	return n
}

// Status is a connection as its machine sees it. The names are RFC 9293's.
type Status struct {
	State    trace.State
	ISS, IRS uint32
	SndUna   uint32 // the first number that is not acknowledged
	SndNxt   uint32 // the next to be sent for the first time
	SndWnd   uint32
	RcvNxt   uint32 // the next that is expected
	RcvWnd   uint32

	Unsent      int  // bytes that wait to be sent
	Unread      int  // bytes that wait to be read
	FINReceived bool // the peer has finished
	FINAcked    bool // the peer has our FIN

	Retransmits int // segments that were sent again
	Ignored     int // heard segments that were not acceptable
	Err         error
}

// Machine is one connection, RFC 9293's transmission control block. It is not
// safe for concurrent use. Its calls take the time, which must not step back.
//
// What it keeps is bounded, whatever the peer sends: Window bytes to be read,
// 64 KiB to be sent, and the steps since Steps was called, which after 4096
// are left out.
type Machine struct {
	cfg   MachineConfig
	state trace.State
	err   error

	iss, irs uint32
	synced   bool // irs is known

	sndUna  uint32
	sndNxt  uint32 // the next to be sent; behind sndMax while what was lost is sent again
	sndMax  uint32 // RFC 9293's SND.NXT: the next to be sent for the first time
	sndWnd  uint32
	sndWl1  uint32 // SEG.SEQ and SEG.ACK of the last window update
	sndWl2  uint32
	maxWnd  uint32 // the widest that the peer's window has been
	mss     uint32 // payload of a segment, at most
	cwnd    uint32 // congestion window: slow start, no more (RFC 5681 section 3.1)
	out     []byte // from outSeq on: what is not acknowledged or not sent
	outSeq  uint32
	closing bool // nothing more comes from Write: a FIN follows what is in out
	finSent bool // it is at sndMax-1

	rcvNxt  uint32
	rcvEdge uint32 // RCV.NXT+RCV.WND as last told: it never moves left
	in      []byte // what is not read yet
	discard bool   // nobody reads any more
	fin     bool   // the peer's FIN has come

	answer Why      // an ACK must be sent, for this reason; zero: none
	reset  *Segment // a RST must be sent

	timer   time.Time // of retransmission or zero-window probes; zero: off
	linger  time.Time // when TIME_WAIT ends
	rto     time.Duration
	srtt    time.Duration // zero: nothing was measured
	rttvar  time.Duration
	timing  bool   // timedSeq is being measured
	timed   uint32 // the number whose acknowledgment is waited for
	timedAt time.Time
	tries   int // retransmissions since something was acknowledged

	retransmits, ignored int
	steps                []Step
}

// NewMachine returns a connection that is CLOSED: nothing has been sent.
func NewMachine(cfg *MachineConfig) *Machine {
	m := &Machine{cfg: *cfg, state: trace.Closed}
	m.cfg.defaults()
	m.iss = m.cfg.ISS
	m.sndUna, m.sndNxt, m.sndMax, m.outSeq = m.iss, m.iss, m.iss, m.iss+1
	m.mss = min(peerMSS, uint32(m.cfg.MSS))
	m.rto = m.cfg.RTO
	return m
}

// Open is RFC 9293's active OPEN: it sends a SYN.
func (m *Machine) Open(now time.Time) {
	if m.state != trace.Closed || m.sndMax != m.iss {
		return
	}
	m.state = trace.SynSent
	m.output(now)
}

// Write takes as much of b as there is room for, and sends what the peer's
// window lets through. It takes nothing after CloseWrite and after the end.
func (m *Machine) Write(now time.Time, b []byte) int {
	if m.closing || m.state == trace.Closed {
		return 0
	}
	n := min(len(b), maxOut-len(m.out))
	m.out = append(m.out, b[:n]...)
	m.output(now)
	return n
}

// Read moves what has come into b. It tells the peer when the window is wide
// again.
func (m *Machine) Read(now time.Time, b []byte) int {
	n := copy(b, m.in)
	m.in = m.in[n:]
	if len(m.in) == 0 {
		m.in = nil
	}
	// RFC 9293 section 3.8.6.2.2: not for a few bytes, nor where the window
	// that the peer knows of is wide.
	half := uint32(m.cfg.Window) / 2
	told, more := m.rcvEdge-m.rcvNxt, m.rcvNxt+m.window()-m.rcvEdge
	if m.synchronized() && !m.fin && told < half && more >= min(half, uint32(m.cfg.MSS)) {
		m.answer |= WindowUpdate
		m.output(now)
	}
	return n
}

// CloseWrite ends our direction: a FIN follows what is still to be sent. Before
// the connection is there, it ends the attempt.
func (m *Machine) CloseWrite(now time.Time) {
	if m.state == trace.Closed || m.closing {
		return
	}
	m.closing = true
	if m.state == trace.SynSent {
		m.end(nil) // RFC 9293 section 3.10.4
		return
	}
	m.output(now)
}

// Discard has what comes from now on, and what has not been read, thrown away,
// so that a peer that still sends finds the window open.
func (m *Machine) Discard(now time.Time) {
	m.discard = true
	if len(m.in) > 0 {
		m.Read(now, make([]byte, len(m.in)))
	}
}

// Abort sends a RST, RFC 9293's ABORT, and is CLOSED.
func (m *Machine) Abort(now time.Time) {
	switch m.state {
	case trace.Closed:
		return
	case trace.SynReceived, trace.Established, trace.FinWait1, trace.FinWait2, trace.CloseWait:
		m.emit(now, Segment{Seq: m.sndMax, Ack: m.rcvNxt, Flags: decode.RST | decode.ACK}, Aborts)
	}
	m.end(ErrAborted)
}

// Fail ends the connection because of an error that is none of TCP's: what it
// sends does not leave.
func (m *Machine) Fail(err error) {
	if m.state != trace.Closed {
		m.end(err)
	}
}

// Segment returns what the machine would send now with these flags: seq is
// SND.NXT, and with ACK ack is RCV.NXT.
func (m *Machine) Segment(flags decode.Flags, payload []byte) Segment {
	s := Segment{Seq: m.sndMax, Flags: flags, Window: uint16(m.window()), Payload: payload}
	if flags.Has(decode.ACK) {
		s.Ack = m.rcvNxt
	}
	if flags.Has(decode.SYN) {
		s.MSS = m.cfg.MSS
	}
	return s
}

// Send sends s as it is, whatever the state says. Where it goes on at SND.NXT
// the machine takes it as its own: SND.NXT and the state move, and unless the
// machine is quiet it is sent again until it is acknowledged. A segment of any
// other number leaves the state alone; so does a RST, which has the peer forget
// us and not us the peer.
func (m *Machine) Send(now time.Time, s Segment) {
	from := m.state
	if m.goesOn(&s) {
		if s.Flags.Has(decode.SYN) {
			m.state = trace.SynSent
			if s.Flags.Has(decode.ACK) {
				m.state = trace.SynReceived
			}
		}
		m.out = append(m.out, s.Payload...)
		m.sndMax += s.Len()
		m.sndNxt = m.sndMax
		if s.Flags.Has(decode.FIN) {
			m.closing = true
			m.sentFIN()
		}
	}
	m.emitFrom(now, s, ByHand, from)
	m.arm(now)
}

// goesOn reports whether s, sent by hand, is what would be sent next.
func (m *Machine) goesOn(s *Segment) bool {
	if s.Flags.Has(decode.RST) || s.Len() == 0 || s.Seq != m.sndMax || len(m.out)+len(s.Payload) > maxOut {
		return false
	}
	if s.Flags.Has(decode.SYN) {
		return m.state == trace.Closed && s.Seq == m.iss
	}
	// Nothing waits to be sent first, and no FIN has been sent.
	return m.state != trace.Closed && m.sndNxt == m.sndMax && int(m.sndMax-m.outSeq) == len(m.out)
}

// Quiet has the machine send nothing by itself, or do so again.
func (m *Machine) Quiet(now time.Time, quiet bool) {
	m.cfg.Quiet = quiet
	m.output(now)
}

// Next returns when Advance is to be called; zero: not before something else
// happens.
func (m *Machine) Next() time.Time {
	switch {
	case m.linger.IsZero():
		return m.timer
	case m.timer.IsZero() || m.linger.Before(m.timer):
		return m.linger
	}
	return m.timer
}

// Over reports whether the connection is CLOSED and was not always.
func (m *Machine) Over() bool {
	return m.state == trace.Closed && (m.sndMax != m.iss || m.err != nil || m.closing)
}

// Status returns the connection as it is.
func (m *Machine) Status() Status {
	return Status{
		State: m.state, ISS: m.iss, IRS: m.irs,
		SndUna: m.sndUna, SndNxt: m.sndMax, SndWnd: m.sndWnd,
		RcvNxt: m.rcvNxt, RcvWnd: m.window(),
		Unsent: m.unsent(), Unread: len(m.in),
		FINReceived: m.fin, FINAcked: m.finSent && m.sndUna == m.sndMax,
		Retransmits: m.retransmits, Ignored: m.ignored, Err: m.err,
	}
}

// Steps calls f with each step since it was called last, in order. What a step
// refers to is f's only during the call.
func (m *Machine) Steps(f func(*Step)) {
	for i := range m.steps {
		f(&m.steps[i])
	}
	clear(m.steps)
	m.steps = m.steps[:0]
}

// synchronized reports whether both ends know each other's numbers.
func (m *Machine) synchronized() bool { return m.state >= trace.Established }

// window is what may be received, RCV.WND.
func (m *Machine) window() uint32 {
	if m.discard {
		return uint32(m.cfg.Window)
	}
	return uint32(m.cfg.Window - len(m.in))
}

// unsent is how many bytes of out have not been sent.
func (m *Machine) unsent() int { return max(0, len(m.out)-int(m.sndMax-m.outSeq)) }

// end makes the connection CLOSED.
func (m *Machine) end(err error) {
	m.state, m.err = trace.Closed, err
	m.timer, m.linger = time.Time{}, time.Time{}
	m.answer, m.out = 0, nil
}

// wait begins TIME_WAIT, or begins it again.
func (m *Machine) wait(now time.Time) {
	m.state = trace.TimeWait
	m.timer, m.linger = time.Time{}, now.Add(m.cfg.TimeWait)
}

// before reports whether a comes before b, modulo 2^32 (RFC 9293 section 3.4).
func before(a, b uint32) bool { return int32(a-b) < 0 }
