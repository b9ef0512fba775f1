package notation_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"finack/capture"
	"finack/decode"
	"finack/internal/notation"
)

// captures are the captures of the CLI's tests and those of the directory
// FINACK_CORPUS.
func captures(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../cmd/finack/testdata/*.pcap")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d captures, %v", len(files), err)
	}
	if dir := os.Getenv("FINACK_CORPUS"); dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "*.pcap*"))
		if err != nil || len(more) == 0 {
			t.Fatalf("%s: %d captures, %v", dir, len(more), err)
		}
		files = append(files, more...)
	}
	return files
}

// Real captures, as far as lines can say them, come back with the same headers:
// decode sees the same packet, and gopacket the same bytes of a TCP header.
func TestCaptures(t *testing.T) {
	lines, refused := 0, map[string]int{}
	for _, file := range captures(t) {
		var frames []decode.Frame
		var w notation.Writer
		var text []byte
		for _, f := range readFile(t, file) {
			var err error
			text, err = w.AppendFrame(text, &f)
			var cannot *notation.Error
			switch {
			case err == nil:
				frames = append(frames, f)
			case errors.As(err, &cannot):
				refused[cannot.What]++
			default:
				t.Fatalf("%s: %v", file, err)
			}
		}
		back := parse(t, string(text))
		if len(back) != len(frames) {
			t.Fatalf("%s: %d packets became %d lines", file, len(frames), len(back))
		}
		lines += len(back)
		for i, l := range back {
			if diff := gocmp.Diff(decoded(t, &frames[i]), decoded(t, &l.Frame)); diff != "" {
				t.Errorf("%s: %s (-captured +read back):\n%s", file, l.Text, diff)
			}
			want, ok := tcpHeader(&frames[i])
			got, _ := tcpHeader(&l.Frame)
			if ok && !slices.Equal(got, want) {
				t.Errorf("%s: %s\n% x\nwas\n% x", file, l.Text, got, want)
			}
		}
		if again := write(t, back); again != string(text) {
			t.Errorf("%s: written again:\n%s", file, gocmp.Diff(string(text), again))
		}
	}
	t.Logf("%d lines; refused: %v", lines, refused)
	if lines < 10 {
		t.Errorf("only %d lines", lines)
	}
}

// readFile returns a capture's frames, those before a damage.
func readFile(t *testing.T, name string) (frames []decode.Frame) {
	t.Helper()
	f, err := capture.OpenFile(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		var frame decode.Frame
		err := f.ReadFrame(&frame)
		if err == io.EOF || errors.Is(err, capture.ErrFormat) {
			return frames
		}
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, frame)
	}
}

// decoded returns what decode sees of a frame and a line must keep.
func decoded(tb testing.TB, f *decode.Frame) decode.Packet {
	tb.Helper()
	var d decode.Decoder
	var p decode.Packet
	if err := d.Decode(f, &p); err != nil {
		tb.Fatal(err)
	}
	p.Time, p.Dir, p.Iface, p.IPID, p.Payload = 0, 0, 0, 0, nil
	return p
}

// tcpHeader returns what gopacket takes for a frame's TCP header, the checksum
// blanked; ok is false where there is none, or gopacket does not know the link.
func tcpHeader(f *decode.Frame) (header []byte, ok bool) {
	link := layers.LinkType(f.Link)
	switch f.Link {
	case decode.LinkSLL2, decode.LinkIPoIB, decode.LinkARCNET, decode.LinkIPv4, decode.LinkIPv6:
		return nil, false
	case decode.LinkRaw:
		link = layers.LinkTypeRaw
	}
	p := gopacket.NewPacket(f.Data, link, gopacket.DecodeOptions{Lazy: false, NoCopy: true})
	for _, l := range slices.Backward(p.Layers()) {
		if tcp, ok := l.(*layers.TCP); ok {
			h := slices.Clone(tcp.LayerContents())
			if len(h) < 20 {
				return nil, false
			}
			copy(h[16:], []byte{0, 0})
			return h, true
		}
	}
	return nil, false
}
