package notation_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"finack/decode"
	"finack/internal/notation"
)

// FuzzParse reads any text. What it says, written again, says the same, and is
// the same text from then on.
func FuzzParse(f *testing.F) {
	for _, text := range storySections(f) {
		f.Add(text)
	}
	f.Add(everyWord)
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := notation.Parse(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") || strings.Contains(err.Error(), "\n") || len(err.Error()) > 1000 {
				t.Fatalf("an error should be a line's, and one line: %q", err)
			}
			return
		}
		if len(lines) == 0 || spread(lines) {
			return
		}
		again := write(t, lines)
		relines := parse(t, again)
		if len(lines) != len(relines) {
			t.Fatalf("%d lines became %d", len(lines), len(relines))
		}
		for i := range lines {
			if lines[i].Advance != relines[i].Advance {
				t.Fatalf("%q became %q", lines[i].Text, relines[i].Text)
			}
			if !lines[i].Advance && string(kept(lines[i].Frame.Data)) != string(kept(relines[i].Frame.Data)) {
				t.Fatalf("%q became %q:\n% x\n% x", lines[i].Text, relines[i].Text, lines[i].Frame.Data, relines[i].Frame.Data)
			}
		}
		if third := write(t, relines); third != again {
			t.Fatalf("written again:\n%s", cmp.Diff(again, third))
		}
	})
}

// spread reports whether lines are further apart than a text can tell from its
// first line's time.
func spread(lines []notation.Line) bool {
	for i := range lines {
		if d := int64(lines[i].Time.Sub(lines[0].Time)); d > 4e18 || d < -4e18 {
			return true
		}
	}
	return false
}

// FuzzWriter writes any frames. Those that a line can say are the same packets
// when they are read back, and become the same lines again.
func FuzzWriter(f *testing.F) {
	for seed := range uint64(20) {
		g := &generator{rand.New(rand.NewPCG(seed, 2)), f}
		var data []byte
		for range 5 {
			packet := g.packet()
			for len(packet) > 200 {
				packet = g.packet()
			}
			fr := g.frame(packet)
			data = binary.BigEndian.AppendUint16(data, uint16(fr.Link))
			data = append(data, 1, byte(len(fr.Data)))
			data = append(data, fr.Data...)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var w notation.Writer
		var text []byte
		var frames []decode.Frame
		for len(data) >= 4 {
			fr := decode.Frame{Link: decode.LinkType(binary.BigEndian.Uint16(data)), Checksums: decode.ChecksumsComplete}
			fr.Time = decode.Timestamp(len(data)) * 1e6
			n := min(int(data[3]), len(data)-4)
			fr.Data, fr.Wire = data[4:4+n:4+n], n+int(data[2]>>1)
			if data[2]&1 != 0 {
				fr.Wire = n
			}
			data = data[4+n:]
			before := len(text)
			var err error
			if text, err = w.AppendFrame(text, &fr); err == nil {
				frames = append(frames, fr)
				continue
			}
			if cannot := (*notation.Error)(nil); !errors.As(err, &cannot) || len(text) != before {
				t.Fatalf("refused with %v after %d bytes", err, len(text)-before)
			}
		}
		lines := parse(t, string(text))
		if len(lines) != len(frames) {
			t.Fatalf("%d packets became %d lines", len(frames), len(lines))
		}
		for i, l := range lines {
			want, got := decoded(t, &frames[i]), decoded(t, &l.Frame)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s (-frame +read back):\n%s", l.Text, diff)
			}
		}
		if again := write(t, lines); again != string(text) {
			t.Fatalf("written again:\n%s", cmp.Diff(string(text), again))
		}
	})
}
