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

func storySections(t testing.TB) map[string]string {
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

// everyWord is a text that uses each word of the grammar.
const everyWord = `
# an end of each kind
client 10.0.0.1:40000 isn 1000
server isn 77
client2 [2001:db8::1]:40000
server2 [2001:db8::2]:443 isn 9
router 192.0.2.1
router6 2001:db8::9
0.5 client > server SEWe 0:0(0) win 65535 <mss 1460,sackOK,TS val 7 ecr 0,nop,wscale 7>
+0.000000001 server > client S.E 0:0(0) ack 1 urg 3 reserved 5 ipid 0 ttl 63 tos 184 <mss 1460,eol,raw 0102>
+0 client > server - 1:5(4) ack 9
0.25 client > server .P 1:1461(1460) ack 1 badsum <raw 0300>
-0.25 server > client R 1:1(0)
client isn 5000
+1.5 client > server udp (5)
+0.1 server > client udp (0) nosum ipid 9
+0.1 client2 > server2 udp (1) badsum tos 1
+0.1 client > server echo request id 7 seq 1 (56)
+0.1 client2 > server2 echo reply id 7 (0) ttl 0
advance 1m0s
+0.1 router > client icmp unreachable port, quoting udp client > server
+0.1 router > client icmp unreachable port ttl 9, quoting tcp client > server
+0.1 router6 > client2 icmp unreachable port, quoting echo client2 > server2
+0.1 router > client icmp 3/4 rest 1400 ipid 4 badsum, quoting client > server . 1:1461(1460) ack 1 win 9 ttl 60 <nop,nop,TS val 1 ecr 2> first 60
+0.1 router > client icmp 11/0, quoting client > server - 1:1461(1460) first 28
+0.1 router6 > client2 icmp 2/0 rest 1280, quoting client2 > server2 udp (900) tos 3
+0.1 router > client icmp 3/1, quoting client > server icmp 13/0 rest 9 (12) first 28
+0.1 router > client icmp 13/0 rest 65536 (12)
+0.1 router6 > client2 icmp 135/0 (24)
+0.1 router > client icmp 3/3 (0)
`

func TestEveryWord(t *testing.T) {
	lines := parse(t, everyWord)
	again := write(t, lines)
	relines := parse(t, again)
	if len(lines) != len(relines) {
		t.Fatalf("%d lines became %d", len(lines), len(relines))
	}
	for i := range lines {
		if a, b := lines[i].Frame.Data, relines[i].Frame.Data; !lines[i].Advance && string(kept(a)) != string(kept(b)) {
			t.Errorf("%q became %q:\n% x\n% x", lines[i].Text, relines[i].Text, a, b)
		}
	}
	if diff := gocmp.Diff(again, write(t, relines)); diff != "" {
		t.Errorf("written again:\n%s", diff)
	}
	t.Log("\n" + again)
}
