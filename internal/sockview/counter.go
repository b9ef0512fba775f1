package sockview

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"finack/capture"
	"finack/decode"
	"finack/raw"
)

// Counter counts what one socket sees of each connection.
type Counter struct {
	Socket raw.Socket

	src     *capture.Socket
	frame   decode.Frame
	packet  decode.Packet
	decoder decode.Decoder
	seen    map[[2]decode.Endpoint]*Tally // by source and destination
	others  int                           // packets that are not counted in seen
	start   decode.Timestamp              // earlier packets are not counted
	stop    atomic.Int64                  // a Timestamp: later packets are not counted; 0: all are
}

// Tally is what was seen in one direction of a connection.
type Tally struct {
	Packets  int
	Outgoing int // of them, those that AF_PACKET saw leaving
	Bytes    int // IP headers included, link headers not
	First    decode.Timestamp
	Iface    uint32 // where the first was seen
	Several  bool   // others were seen elsewhere
}

// maxPairs is how many directions a counter keeps apart; the packets of further
// ones are only counted in all.
const maxPairs = 10_000

// NewCounter opens a socket to count with; cfg's Sockets and LoCopies are not used.
func NewCounter(s raw.Socket, cfg capture.SocketConfig) (*Counter, error) {
	cfg.Sockets, cfg.LoCopies = []raw.Socket{s}, true
	src, err := capture.OpenSocket(&cfg)
	if err != nil {
		return nil, err
	}
	return &Counter{Socket: s, src: src, seen: make(map[[2]decode.Endpoint]*Tally)}, nil
}

// Close closes the socket; what was counted stays.
func (c *Counter) Close() error { return c.src.Close() }

// read counts the next packet.
func (c *Counter) read() error {
	if err := c.src.ReadFrame(&c.frame); err != nil {
		return err
	}
	if c.frame.Time >= c.start && !c.late() {
		c.count()
	}
	return nil
}

func (c *Counter) count() {
	f, p := &c.frame, &c.packet
	if c.decoder.Decode(f, p) != nil || p.Proto == decode.ProtoNone {
		c.others++
		return
	}
	key := [2]decode.Endpoint{p.Src, p.Dst}
	t := c.seen[key]
	if t == nil {
		if len(c.seen) == maxPairs {
			c.others++
			return
		}
		t = &Tally{First: f.Time, Iface: f.Iface}
		c.seen[key] = t
	}
	t.Packets++
	t.Bytes += f.Wire - linkHeader(f.Link)
	if f.Dir == decode.DirOutbound {
		t.Outgoing++
	}
	t.Several = t.Several || f.Iface != t.Iface
}

// linkHeader is the length of a link type's header.
func linkHeader(l decode.LinkType) int {
	switch l {
	case decode.LinkEthernet:
		return 14
	case decode.LinkSLL2:
		return 20
	default:
		return 0
	}
}

// settleTime is how long a counter still waits for what was captured: what was
// sent on loopback has arrived, and no ring holds anything back.
const settleTime = 20 * time.Millisecond

// Drain counts what the kernel holds for the socket.
func (c *Counter) Drain() error {
	for {
		if err := c.src.SetReadDeadline(time.Now().Add(settleTime)); err != nil {
			return err
		}
		if err := c.read(); errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// run counts until end is called, or the source ends. each, unless it is nil, is
// called after each packet.
func (c *Counter) run(each func(decode.Timestamp)) error {
	for {
		switch err := c.read(); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, capture.ErrInterfaceDown):
			continue
		case err != nil:
			return err
		case c.late():
			return nil
		case each != nil:
			each(c.frame.Time)
		}
	}
}

// end makes run return when it has counted what was captured until stop. Any
// goroutine may call it.
func (c *Counter) end(stop decode.Timestamp) {
	c.stop.Store(int64(stop))
	_ = c.src.SetReadDeadline(time.Now().Add(settleTime)) // closed: run has ended
}

// late reports whether the frame was captured after the end.
func (c *Counter) late() bool {
	stop := decode.Timestamp(c.stop.Load())
	return stop != 0 && c.frame.Time > stop
}

// Of returns what was seen of a connection: from a to b, and back. One of a
// socket with itself has one direction only.
func (c *Counter) Of(a, b decode.Endpoint) (there, back Tally) {
	if t := c.seen[[2]decode.Endpoint{a, b}]; t != nil {
		there = *t
	}
	if t := c.seen[[2]decode.Endpoint{b, a}]; t != nil && a != b {
		back = *t
	}
	return there, back
}

// Total is how many packets were seen in all.
func (c *Counter) Total() int {
	n := c.others
	for _, t := range c.seen {
		n += t.Packets
	}
	return n
}
