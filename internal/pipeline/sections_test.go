package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"finack/capture"
	"finack/decode"
	"finack/internal/render"
	"finack/trace"
)

// jsonOf is what read --json says of a capture file.
func jsonOf(t *testing.T, file []byte) string {
	t.Helper()
	src, err := capture.NewReader(bytes.NewReader(file), "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_, err = Run(context.Background(), Config{
		Source: src, Tracker: &trace.Config{All: true}, Renderer: &render.JSON{}, Out: &out,
		Warn: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// writeSection appends frames as a pcapng section of its own, in a byte order
// and with 10^-digits seconds as the unit of time, one interface a frame's Iface.
func writeSection(file []byte, o binary.AppendByteOrder, digits byte, frames []decode.Frame) []byte {
	block := func(kind uint32, body []byte) {
		for len(body)%4 != 0 {
			body = append(body, 0)
		}
		size := uint32(12 + len(body))
		file = o.AppendUint32(o.AppendUint32(file, kind), size)
		file = o.AppendUint32(append(file, body...), size)
	}
	head := o.AppendUint32(nil, 0x1a2b3c4d)
	head = o.AppendUint16(o.AppendUint16(head, 1), 0)
	block(0x0a0d0d0a, o.AppendUint64(head, ^uint64(0)))
	for range 3 {
		b := o.AppendUint16(o.AppendUint16(nil, uint16(frames[0].Link)), 0)
		b = o.AppendUint16(o.AppendUint16(o.AppendUint32(b, 0), 9), 1) // no snaplen; if_tsresol
		b = o.AppendUint32(append(b, digits, 0, 0, 0), 0)
		block(1, b)
	}
	unit := uint64(1)
	for range 9 - digits {
		unit *= 10
	}
	for i := range frames {
		f := &frames[i]
		ticks := uint64(f.Time) / unit
		b := o.AppendUint32(nil, f.Iface)
		b = o.AppendUint32(o.AppendUint32(b, uint32(ticks>>32)), uint32(ticks))
		b = o.AppendUint32(o.AppendUint32(b, uint32(len(f.Data))), uint32(f.Wire))
		block(6, append(b, f.Data...))
	}
	return file
}

// A pcapng file may have many sections, each with its own interfaces, byte order
// and unit of time: connections go through all of them as through one.
func TestSectionsChangeNothing(t *testing.T) {
	var frames []decode.Frame
	for i, port := range []uint16{4000, 4001, 4002} {
		for _, f := range conversation(port) {
			f.Time += decode.Timestamp(1_700_000_000e9 + i*1e6)
			frames = append(frames, f)
		}
	}
	real, err := capture.OpenFile("../../cmd/finack/testdata/whois.pcap", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer real.Close()
	var captured []decode.Frame
	for {
		var f decode.Frame
		if err := real.ReadFrame(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		captured = append(captured, f)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, frames := range [][]decode.Frame{frames, captured} {
		written := func(frames []decode.Frame) []byte {
			var file bytes.Buffer
			w, err := capture.NewWriter(&file, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range frames {
				if err := w.WriteFrame(&frames[i]); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return file.Bytes()
		}
		want := jsonOf(t, written(frames))
		if n := strings.Count(want, `{"type":"connection"`); n == 0 {
			t.Fatalf("no connection in\n%s", want)
		}
		for range 50 {
			var file []byte
			for rest := frames; len(rest) > 0; {
				n := 1 + rnd.IntN(len(rest))
				switch rnd.IntN(4) {
				case 0:
					file = append(file, written(rest[:n])...)
				case 1:
					file = writeSection(file, binary.BigEndian, 6, rest[:n])
				case 2:
					file = writeSection(file, binary.LittleEndian, 6, rest[:n])
				default:
					file = writeSection(file, binary.BigEndian, 9, rest[:n])
				}
				rest = rest[n:]
			}
			if got := jsonOf(t, file); got != want {
				t.Fatalf("in sections\n%s\nnot\n%s", got, want)
			}
		}
	}
}
