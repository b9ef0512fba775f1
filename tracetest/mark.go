package tracetest

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"finack/capture"
	"finack/decode"
	"finack/internal/privnet"
	"finack/raw"
)

// etherMark is the type of the frames that mark a place in the capture: one for
// local experiments (IEEE 802), which no kernel listens to.
const etherMark = 0x88b5

// settle is how long a packet may take from an interface that is not marked to
// the trace: the kernel hands over what it has captured within a few milliseconds.
const settle = 20 * time.Millisecond

// again is after what time a mark is sent again: a capture that loses frames may
// lose one, too.
const again = 100 * time.Millisecond

// delivery is how long a packet may take from the wire to the trace, on a busy
// machine.
const delivery = 10 * time.Second

// marker sends frames by which a trace knows how far it has read. It marks
// loopback and what is in a private network, never a real link.
type marker struct {
	conn  *raw.Conn // nil: no marks here
	to    raw.Addr
	token [16]byte // of this trace: others read the same interface

	mu   sync.Mutex
	sent uint64
}

// lastMark is the mark at which the capture ends.
const lastMark = 1<<64 - 1

// openMarker returns the marker of an interface.
func openMarker(name string) *marker {
	m := &marker{}
	_, _ = rand.Read(m.token[:]) // never fails
	if name == "any" {
		name = "lo"
	}
	iface, err := net.InterfaceByName(name)
	if err != nil || name != "lo" && (!privnet.Inside() || len(iface.HardwareAddr) != 6) {
		return m
	}
	conn, err := raw.Open(raw.Socket{Domain: raw.AF_PACKET, Type: raw.SOCK_RAW}, nil)
	if err != nil {
		return m // opening the capture says why
	}
	m.conn, m.to = conn, raw.Addr{Interface: iface.Index, Protocol: etherMark}
	return m
}

// filter lets the marks pass as well.
func (m *marker) filter(expr string) string {
	if m.conn == nil || expr == "" {
		return expr
	}
	return "(" + expr + ") or ether proto 0x88b5"
}

// next sends a mark and returns its number.
func (m *marker) next() (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent++
	return m.sent, m.send(m.sent)
}

// last sends the mark at which the capture ends.
func (m *marker) last() error {
	if m.conn == nil {
		return io.EOF
	}
	return m.send(lastMark)
}

func (m *marker) send(n uint64) error {
	frame := make([]byte, 12, 38) // the addresses are zero, as loopback's are
	frame = binary.BigEndian.AppendUint16(frame, etherMark)
	frame = append(frame, m.token[:]...)
	frame = binary.BigEndian.AppendUint64(frame, n)
	_, err := m.conn.WriteTo(frame, &m.to)
	return err
}

// read returns the number of the mark that a frame is. Marks of other traces
// are marks, too, and number 0.
func (m *marker) read(f *decode.Frame) (n uint64, is bool) {
	// The type is where that of an Ethernet or a cooked frame is.
	data, at, head := f.Data, 12, 14
	if f.Link == decode.LinkSLL2 {
		at, head = 0, 20
	} else if f.Link != decode.LinkEthernet {
		return 0, false
	}
	if len(data) < head+24 || binary.BigEndian.Uint16(data[at:]) != etherMark {
		return 0, false
	}
	if data = data[head:]; bytes.Equal(data[:16], m.token[:]) {
		n = binary.BigEndian.Uint64(data[16:])
	}
	return n, true
}

func (m *marker) close() {
	if m.conn != nil {
		_ = m.conn.Close()
	}
}

// tap is the source of a trace: it takes out the marks, and has the frame at
// hand that the pipeline is about to tell of.
type tap struct {
	*capture.Live
	marker *marker
	read   func(mark uint64) // told of each mark when all frames before it are through
	frame  decode.Frame      // shares its bytes with the pipeline's
}

// ReadFrame implements capture.Source. The last mark is the end.
func (s *tap) ReadFrame(f *decode.Frame) error {
	for {
		if err := s.Live.ReadFrame(f); err != nil {
			return err
		}
		n, is := s.marker.read(f)
		switch {
		case !is:
			s.frame = *f
			return nil
		case n == lastMark:
			return io.EOF
		case n != 0:
			s.read(n)
		}
	}
}

// sync waits until the trace has every packet that is on the wire at the time
// of the call.
func (tr *Trace) sync(t testing.TB) error {
	t.Helper()
	if tr.marker.conn == nil {
		tr.ended(settle)
		return nil
	}
	n, err := tr.marker.next()
	if err != nil {
		return err
	}
	return tr.until(t, delivery, func() bool { return tr.marks >= n }, func() { _, _ = tr.marker.next() })
}
