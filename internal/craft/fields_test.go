package craft

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"finack/decode"
)

// wholeByFields checks that every byte of b belongs to one field, in order,
// and that a dump has lines of at most 80 columns.
func wholeByFields(t *testing.T, b []byte) {
	t.Helper()
	at := 0
	for _, f := range Fields(b) {
		if f.Offset != at || f.Len <= 0 || f.Name == "" || f.Value == "" {
			t.Fatalf("% x: field %+v at %d", b, f, at)
		}
		at += f.Len
	}
	if at != len(b) {
		t.Fatalf("% x: fields of %d bytes of %d", b, at, len(b))
	}
	dump := string(AppendDump(nil, b))
	for line := range strings.Lines(dump) {
		if n := utf8.RuneCountInString(line) - 1; n > 80 || strings.HasSuffix(line, " \n") && !strings.Contains(line, "  ") {
			t.Fatalf("a line of %d columns: %q", n, line)
		}
	}
}

func FuzzFields(f *testing.F) {
	for i, s := range samples(f) {
		if i%37 == 0 && len(s.packet) < 2000 {
			f.Add(s.packet)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { wholeByFields(t, b) })
}

// Every prefix of a packet is taken apart, too.
func TestFieldsOfCutPackets(t *testing.T) {
	for i, s := range samples(t) {
		if i%37 == 0 {
			for n := range min(len(s.packet), 200) {
				wholeByFields(t, s.packet[:n])
			}
		}
	}
}

// A checksum is called right exactly when it is.
func TestFieldsJudgeChecksums(t *testing.T) {
	for _, s := range samples(t) {
		want := map[Sum]string{SumRight: ", right", SumWrong: ", wrong: 0x", SumZero: "0x0000, wrong: 0x"}
		var transport Sum
		switch {
		case s.TCP != nil:
			transport = s.TCP.Sum
		case s.UDP != nil:
			transport = s.UDP.Sum
			want[SumZero] = "0: none"
		case s.Echo != nil:
			transport = s.Echo.Sum
		}
		for _, f := range Fields(s.packet) {
			if f.Name == "header checksum" && !strings.Contains(f.Value, map[Sum]string{SumRight: ", right", SumWrong: ", wrong: 0x", SumZero: "0x0000, wrong: 0x"}[s.IP.Sum]) ||
				f.Name == "checksum" && !strings.Contains(f.Value, want[transport]) {
				t.Errorf("%+v: %+v", s, f)
			}
		}
	}
}

func TestDump(t *testing.T) {
	options, err := ParseOptions("mss 1460,sackOK,TS val 7 ecr 0,nop,wscale 7")
	if err != nil {
		t.Fatal(err)
	}
	syn, err := AppendTCP(nil, &ip4, &TCP{SrcPort: 40000, DstPort: 80, Seq: 1, Flags: decode.SYN, Window: 64240, Options: options}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ping, err := AppendEcho(nil, &ip6, &Echo{ID: 7, Seq: 1, Sum: SumWrong}, []byte("sixteen and more"+"\x00\xff"))
	if err != nil {
		t.Fatal(err)
	}
	parts, err := Fragment(ping, 56, 9)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		packet []byte
		want   string
	}{
		{syn, `
0000  45           version, IHL          4, 20 bytes
0001  00           type of service       0x00: DSCP 0, not ECT
0002  00 3c        total length          60
0004  00 00        identification        0 (0x0000)
0006  00 00        flags, offset         none, 0 bytes
0008  40           time to live          64
0009  06           protocol              6, TCP
000a  66 ba        header checksum       0x66ba, right
000c  0a 00 00 01  source address        10.0.0.1
0010  0a 00 00 02  destination address   10.0.0.2
0014  9c 40        source port           40000
0016  00 50        destination port      80
0018  00 00 00 01  sequence number       1
001c  00 00 00 00  acknowledgment number 0
0020  a0 02        data offset, flags    40 bytes, SYN
0022  fa f0        window                64240
0024  9c 74        checksum              0x9c74, right
0026  00 00        urgent pointer        0
0028  02 04 05 b4  option                mss 1460
002c  04 02        option                sackOK
002e  08 0a 00 00  option                TS val 7 ecr 0
0032  00 07 00 00
0036  00 00
0038  01           option                nop
0039  03 03 07     option                wscale 7
`},
		{ping, `
0000  60 00 00 00  version, class, label 6, 0x00: DSCP 0, not ECT, 0x00000
0004  00 1a        payload length        26
0006  3a           next header           58, ICMPv6
0007  40           hop limit             64
0008  20 01 0d b8  source address        2001:db8::1
000c  00 00 00 00
0010  00 00 00 00
0014  00 00 00 01
0018  20 01 0d b8  destination address   2001:db8::ffff:2
001c  00 00 00 00
0020  00 00 00 00
0024  ff ff 00 02
0028  80           type                  128, echo request
0029  00           code                  0
002a  be 66        checksum              0xbe66, wrong: 0xbe67 would be right
002c  00 07        identifier            7
002e  00 01        sequence number       1
                   payload               18 bytes
0030  73 69 78 74 65 65 6e 20 61 6e 64 20 6d 6f 72 65  sixteen and more
0040  00 ff                                            ..
`},
		{parts[1][:44], `
0000  60 00 00 00  version, class, label 6, 0x00: DSCP 0, not ECT, 0x00000
0004  00 10        payload length        16, but 4 are here
0006  2c           next header           44, fragment header
0007  40           hop limit             64
0008  20 01 0d b8  source address        2001:db8::1
000c  00 00 00 00
0010  00 00 00 00
0014  00 00 00 01
0018  20 01 0d b8  destination address   2001:db8::ffff:2
001c  00 00 00 00
0020  00 00 00 00
0024  ff ff 00 02
                   payload               4 bytes
0028  3a 00 00 09                                      :...
`},
		{parts[1][40:], `
                   bytes                 16 bytes
0000  3a 00 00 09 00 00 00 09 73 69 78 74 65 65 6e 20  :.......sixteen 
`},
		{[]byte{0x45}, `
                   bytes                 1 byte
0000  45                                               E
`},
		{nil, "\n"},
	} {
		if got := AppendDump([]byte("\n"), tt.packet); !bytes.Equal(got, []byte(tt.want)) {
			t.Errorf("dump\n%s\nwant\n%s", got, tt.want)
		}
	}
}
