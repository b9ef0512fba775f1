package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"finack/capture"
	"finack/decode"
	"finack/internal/render"
	"finack/trace"
)

// frames is a source of frames in memory; at its end comes err.
type frames struct {
	list []decode.Frame
	next int
	err  error
}

func (s *frames) ReadFrame(f *decode.Frame) error {
	if s.next == len(s.list) {
		return s.err
	}
	data := append(f.Data[:0], s.list[s.next].Data...)
	*f = s.list[s.next]
	f.Data = data
	s.next++
	return nil
}

func (s *frames) Buffered() bool                  { return s.next < len(s.list) }
func (s *frames) SetReadDeadline(time.Time) error { return nil }
func (s *frames) Stats() (capture.Stats, error) {
	return capture.Stats{Frames: uint64(s.next), Dropped: 2}, nil
}
func (s *frames) Close() error { return nil }

// tcp4 returns a raw IPv4 frame with a TCP segment between 10.0.0.1:port and 10.0.0.2:80.
func tcp4(at int, iface uint32, port uint16, toServer bool, f decode.Flags, seq, ack uint32, payload int) decode.Frame {
	be := binary.BigEndian
	b := make([]byte, 40+payload)
	b[0], b[8], b[9] = 0x45, 64, 6
	be.PutUint16(b[2:], uint16(len(b)))
	be.PutUint16(b[4:], uint16(at+1))
	src, dst, sport, dport := byte(1), byte(2), port, uint16(80)
	if !toServer {
		src, dst, sport, dport = dst, src, dport, sport
	}
	copy(b[12:], []byte{10, 0, 0, src, 10, 0, 0, dst})
	be.PutUint16(b[20:], sport)
	be.PutUint16(b[22:], dport)
	be.PutUint32(b[24:], seq)
	be.PutUint32(b[28:], ack)
	b[32], b[33] = 5<<4, byte(f)
	be.PutUint16(b[34:], 512)
	return decode.Frame{
		Time: decode.Timestamp(at) * 1e6, Link: decode.LinkRaw, Iface: iface, Wire: len(b), Data: b,
	}
}

func conversation(port uint16) []decode.Frame {
	return []decode.Frame{
		tcp4(1, 1, port, true, decode.SYN, 100, 0, 0),
		tcp4(2, 1, port, false, decode.SYN|decode.ACK, 300, 101, 0),
		tcp4(3, 1, port, true, decode.ACK, 101, 301, 0),
		tcp4(4, 1, port, true, decode.PSH|decode.ACK, 101, 301, 5),
		tcp4(5, 1, port, true, decode.FIN|decode.ACK, 106, 301, 0),
		tcp4(6, 1, port, false, decode.FIN|decode.ACK, 301, 107, 0),
		tcp4(7, 1, port, true, decode.ACK, 107, 302, 0),
	}
}

func TestRunTellsWhatWasReadBeforeAnError(t *testing.T) {
	damaged := fmt.Errorf("x.pcap: cut off: %w", capture.ErrFormat)
	var out bytes.Buffer
	totals, err := Run(context.Background(), Config{
		Source: &frames{list: conversation(4000), err: damaged}, Renderer: &render.Text{}, Out: &out,
	})
	if !errors.Is(err, capture.ErrFormat) {
		t.Errorf("error %v", err)
	}
	if totals.Frames != 7 || totals.Summary.Conns != 1 || totals.Summary.Teardowns[trace.ThreeStep] != 1 || totals.Dropped != 2 {
		t.Errorf("totals %+v", totals)
	}
	if n := strings.Count(out.String(), "closed by client, three-step"); n != 1 {
		t.Errorf("the verdict is there %d times in\n%s", n, out.String())
	}
}

func TestCountStops(t *testing.T) {
	totals, err := Run(context.Background(), Config{Source: &frames{list: conversation(4000), err: io.EOF}, Count: 3})
	if err != nil || totals.Frames != 3 || totals.Summary.Handshakes[trace.ThreeWay] != 1 {
		t.Errorf("%+v, %v", totals, err)
	}
}

// A packet that crosses a bridge is seen on two interfaces and counts once;
// the same segment sent again later is a retransmission, and counts.
func TestCopiesOnSeveralInterfacesCountOnce(t *testing.T) {
	var list []decode.Frame
	for _, f := range conversation(4000) {
		g := f
		g.Iface, g.Time = 2, f.Time+1000
		list = append(list, f, g)
	}
	again := tcp4(30, 2, 4000, true, decode.PSH|decode.ACK, 101, 301, 5)
	list = append(list, again)
	var conn *trace.Conn
	totals, err := Run(context.Background(), Config{
		Source: &frames{list: list, err: io.EOF}, AllIfs: true,
		Events: func(events []trace.Event) {
			for i := range events {
				if events[i].Kind == trace.ConnReleased {
					conn = events[i].Verdict
				}
			}
		},
	})
	if err != nil || totals.Copies != 7 {
		t.Fatalf("%d copies, %v; want 7", totals.Copies, err)
	}
	if conn.Packets != [2]uint64{6, 2} || conn.Retransmits[trace.Client] != 1 {
		t.Errorf("packets %v, retransmits %v", conn.Packets, conn.Retransmits)
	}
}

func TestMalformedFramesAreCounted(t *testing.T) {
	list := conversation(4000)
	bad := tcp4(8, 1, 4000, true, decode.ACK, 107, 302, 0)
	bad.Data[32] = 1 << 4 // a TCP header of four bytes
	short := tcp4(9, 1, 4000, true, decode.ACK, 107, 302, 0)
	short.Data = short.Data[:22]
	odd := tcp4(10, 1, 4000, true, decode.ACK, 107, 302, 0)
	odd.Link = 9999
	totals, err := Run(context.Background(), Config{Source: &frames{list: append(list, bad, short, odd), err: io.EOF}})
	if err != nil || totals.Malformed != 1 || totals.Truncated != 1 || totals.Unknown != 1 {
		t.Errorf("%+v, %v", totals, err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestOutputErrorEndsTheRun(t *testing.T) {
	_, err := Run(context.Background(), Config{
		Source: &frames{list: conversation(4000), err: io.EOF}, Renderer: &render.Text{}, Out: failing{},
	})
	if !errors.Is(err, ErrOutput) {
		t.Errorf("error %v, want ErrOutput", err)
	}
}

// A write error of the copy does not end the tracing, but the run fails.
func TestWriterErrorKeepsTracing(t *testing.T) {
	w, err := capture.NewWriter(failing{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	warned := 0
	src := &frames{list: conversation(4000), err: io.EOF}
	totals, err := Run(context.Background(), Config{Source: src, Writer: w, Live: true, Warn: func(error) { warned++ }})
	if !errors.Is(err, ErrOutput) || warned == 0 || totals.Summary.Teardowns[trace.ThreeStep] != 1 {
		t.Errorf("error %v, %d warnings, %+v", err, warned, totals.Summary)
	}
}

// The whole way of a frame allocates nothing, data segments and whole
// connections alike (but for the blocks of verdicts).
func TestChainAllocatesNothing(t *testing.T) {
	list := conversation(4000)
	var (
		dec     decode.Decoder
		p       decode.Packet
		f       decode.Frame
		events  []trace.Event
		buf     []byte
		tracker = trace.New(&trace.Config{All: true})
		text    render.Text
		summary trace.Summary
		now     decode.Timestamp
	)
	n := testing.AllocsPerRun(1000, func() {
		src := frames{list: list}
		for src.next < len(src.list) {
			if err := src.ReadFrame(&f); err != nil {
				t.Fatal(err)
			}
			now += 1e6
			f.Time = now
			if err := dec.Decode(&f, &p); err != nil {
				t.Fatal(err)
			}
			p.Segment.Seq += uint32(now) // another ISN: a new connection each time
			p.Segment.Ack += uint32(now)
			events = tracker.Observe(&p, events[:0])
			buf = buf[:0]
			for i := range events {
				if events[i].Kind == trace.ConnReleased {
					summary.Add(events[i].Verdict)
				}
				buf = text.AppendEvent(buf, &events[i])
			}
		}
	})
	if n != 0 || summary.Conns == 0 {
		t.Errorf("%v allocations for a connection of %d packets, %d connections", n, len(list), summary.Conns)
	}
}

func BenchmarkChain(b *testing.B) {
	list := conversation(4000)
	src := &frames{list: list, err: io.EOF}
	var (
		dec     decode.Decoder
		p       decode.Packet
		f       decode.Frame
		events  []trace.Event
		tracker = trace.New(nil)
		now     decode.Timestamp
	)
	b.ReportAllocs()
	for b.Loop() {
		if src.next == len(list) {
			src.next = 0
		}
		_ = src.ReadFrame(&f)
		now += 1e6
		f.Time = now
		_ = dec.Decode(&f, &p)
		events = tracker.Observe(&p, events[:0])
	}
}
