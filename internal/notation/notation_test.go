package notation_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"finack/internal/craft"
	"finack/internal/notation"
)

// write returns the text of what lines say.
func write(tb testing.TB, lines []notation.Line) string {
	tb.Helper()
	var w notation.Writer
	var text []byte
	var err error
	for i := range lines {
		if lines[i].Advance {
			text, err = w.AppendAdvance(text, lines[i].Time)
		} else {
			text, err = w.AppendFrame(text, &lines[i].Frame)
		}
		if err != nil {
			tb.Fatalf("line %d, %q: %v", lines[i].N, lines[i].Text, err)
		}
	}
	return string(text)
}

func parse(tb testing.TB, text string) []notation.Line {
	tb.Helper()
	lines, err := notation.Parse(text)
	if err != nil {
		tb.Fatalf("%v\nof\n%s", err, text)
	}
	return lines
}

// headers returns what a line must keep of an IP packet: its fields by craft,
// but for those that FORMAT.md gives up. An IP ID that was there before in its
// direction is the number of the packet that it came with.
type headers struct {
	packets int
	ids     map[string]int
}

func (h *headers) of(packet []byte) string {
	h.packets++
	if h.ids == nil {
		h.ids = map[string]int{}
	}
	var b strings.Builder
	way := ""
	for _, f := range craft.Fields(packet) {
		switch f.Name {
		case "source address", "destination address":
			way += f.Value
		}
	}
	for _, f := range craft.Fields(packet) {
		value := f.Value
		switch f.Name {
		case "identification":
			if value == "0 (0x0000)" {
				break
			}
			n, again := h.ids[way+value]
			if !again {
				n = h.packets
				h.ids[way+value] = n
			}
			value = "of packet " + strconv.Itoa(n)
		case "flags, offset", "header checksum", "beyond the length":
			continue
		case "version, class, label":
			value, _, _ = strings.Cut(value, ", 0x")
		case "checksum":
			_, value, _ = strings.Cut(value, ", ")
			if f.Value == "0: none" {
				value = f.Value
			}
			value, _, _ = strings.Cut(value, ":")
		}
		b.WriteString(f.Name + ": " + value + "\n")
	}
	return b.String()
}

func storySections(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../trace/testdata/*.txtar")
	if err != nil || len(paths) < 80 {
		t.Fatalf("%d stories, %v", len(paths), err)
	}
	all := map[string]string{}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Files {
			if f.Name == "segments" {
				all[filepath.Base(path)] = string(f.Data)
			}
		}
	}
	return all
}

// sameLines demands that two texts say the same packets at the same times.
func sameLines(tb testing.TB, a, b []notation.Line) {
	tb.Helper()
	if len(a) != len(b) {
		tb.Fatalf("%d lines became %d", len(a), len(b))
	}
	var ha, hb headers
	for i := range a {
		if a[i].Advance != b[i].Advance || a[i].Time.Sub(a[0].Time) != b[i].Time.Sub(b[0].Time) {
			tb.Fatalf("%q became %q", a[i].Text, b[i].Text)
		}
		if a[i].Advance {
			continue
		}
		if diff := gocmp.Diff(ha.of(a[i].Frame.Data), hb.of(b[i].Frame.Data)); diff != "" {
			tb.Fatalf("%q became %q:\n%s", a[i].Text, b[i].Text, diff)
		}
	}
}

// Every story's segments, written again, are the same packets, and written
// once more the same text.
func TestStories(t *testing.T) {
	for name, text := range storySections(t) {
		t.Run(name, func(t *testing.T) {
			lines := parse(t, text)
			again := write(t, lines)
			relines := parse(t, again)
			sameLines(t, lines, relines)
			if diff := gocmp.Diff(again, write(t, relines)); diff != "" {
				t.Errorf("written again:\n%s", diff)
			}
		})
	}
}
