package lab

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"finack/decode"
	"finack/internal/craft"
	"finack/internal/kernel"
	"finack/internal/privnet"
	"finack/raw"
	"finack/trace"
)

// inject sends a segment from a host that its kernel knows nothing of: with the
// ports of a connection, as from p.client, and flags and numbers of our own.
func (s *stage) inject(h *privnet.Host, p pipe, flags decode.Flags, seq, ack uint32) error {
	packet, err := craft.AppendTCP(nil, &craft.IP{Src: p.client.Addr(), Dst: p.server.Addr()}, &craft.TCP{
		SrcPort: p.client.Port(), DstPort: p.server.Port(), Flags: flags, Seq: seq, Ack: ack, Window: 512,
	}, nil)
	if err != nil {
		return err
	}
	return h.Do(func() error {
		c, err := raw.Open(raw.Socket{Domain: raw.AF_INET, Type: raw.SOCK_RAW, Protocol: raw.IPPROTO_RAW}, nil)
		if err != nil {
			return err
		}
		_, err = c.WriteTo(packet, &net.IPAddr{IP: p.server.Addr().AsSlice()})
		return errors.Join(err, c.Close())
	})
}

// sndNxt returns what each end of a connection sends next, by what the capture
// shows: it is what the other expects, RCV.NXT, once that has arrived.
func (s *stage) sndNxt(p pipe) (next [2]uint32) {
	s.rec.mu.Lock()
	defer s.rec.mu.Unlock()
	known := [2]bool{}
	for _, e := range s.events(p) {
		end := e.Seq + e.SeqLen()
		if e.Kind == trace.SegmentSeen && !e.Flags.Has(decode.RST) && (!known[e.From] || int32(end-next[e.From]) > 0) {
			next[e.From], known[e.From] = end, true
		}
	}
	return next
}

// awaitSeen waits until the capture shows so many segments of a connection, or
// anomalies, that match.
func (s *stage) awaitSeen(p pipe, what string, n int, match func(*trace.Event) bool) error {
	return s.until(p, what, func(events []trace.Event) bool { return count(events, match) >= n })
}

// count counts the events that match.
func count(events []trace.Event, match func(*trace.Event) bool) (n int) {
	for i := range events {
		if match(&events[i]) {
			n++
		}
	}
	return n
}

// anomalous matches an anomaly.
func anomalous(a trace.Anomaly) func(*trace.Event) bool {
	return func(e *trace.Event) bool { return e.Kind == trace.AnomalySeen && e.Anomaly == a }
}

// grown waits until counters of a host have grown by as much since then.
func (s *stage) grown(h *privnet.Host, since kernel.Counters, want kernel.Counters) error {
	return await(s.ctx, stagePatience, func() error {
		got, err := s.counters(h)
		if err != nil {
			return err
		}
		for name, n := range want {
			if _, ok := got[name]; !ok {
				return fmt.Errorf("this kernel does not count %s", name)
			}
			if got := got[name] - since[name]; got != n {
				return checkf("%s has grown by %d, want %d", name, got, n)
			}
		}
		return nil
	})
}

// reset waits until a read says that the connection was reset.
func reset(c net.Conn) error {
	if err := c.SetReadDeadline(time.Now().Add(stagePatience)); err != nil {
		return err
	}
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		return checkf("read: %d bytes, %v; want ECONNRESET", n, err)
	}
	return nil
}

// data matches a segment with data of a side.
func data(from trace.Side) func(*trace.Event) bool {
	return func(e *trace.Event) bool { return e.Kind == trace.SegmentSeen && e.From == from && e.Len > 0 }
}

// sentAgain waits until the capture shows that a side repeats data, and returns
// how long it took to.
func (s *stage) sentAgain(p pipe, from trace.Side) (after time.Duration, err error) {
	err = s.until(p, "a retransmission", func(events []trace.Event) bool {
		for i := range events {
			again := &events[i]
			if !noted(trace.Retransmission)(again) || again.From != from || again.Len == 0 {
				continue
			}
			first := slices.IndexFunc(events, func(e trace.Event) bool { return data(from)(&e) && e.Seq == again.Seq })
			after = again.Time.Sub(events[first].Time)
			return true
		}
		return false
	})
	return after, err
}

// retransmits checks that a side has sent something again, and the other has not.
func retransmits(from trace.Side) func(*trace.Conn) error {
	return func(v *trace.Conn) error {
		if v.Retransmits[from] == 0 || v.Retransmits[from.Peer()] != 0 {
			return checkf("%v segments sent again, want some, all by the %v", v.Retransmits, from)
		}
		return nil
	}
}
