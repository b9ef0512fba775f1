package kernel

import (
	"net/netip"
	"strings"
	"testing"

	"finack/trace"
)

func TestParseSocket(t *testing.T) {
	const listen = "   0: 0100007F:1B5F 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 123 1 0 100 0 0 10 0"
	for _, tt := range []struct {
		line string
		want Socket
	}{
		{listen, Socket{netip.MustParseAddrPort("127.0.0.1:7007"), netip.MustParseAddrPort("0.0.0.0:0"), trace.Listen}},
		{"1: 0100007F:1B5F 0707090A:C000 09 x", Socket{netip.MustParseAddrPort("127.0.0.1:7007"), netip.MustParseAddrPort("10.9.7.7:49152"), trace.LastAck}},
		{"1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 06", Socket{netip.MustParseAddrPort("[::1]:80"), netip.MustParseAddrPort("[::]:0"), trace.TimeWait}},
		{"1: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000100007F:0051 0C", Socket{netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("127.0.0.1:81"), trace.SynReceived}},
		{"1: 0100007F:0001 0100007F:0002 7F", Socket{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2"), trace.Unknown}},
	} {
		got, err := parseSocket(tt.line)
		if err != nil || got != tt.want {
			t.Errorf("%s\ngot  %v, %v\nwant %v", tt.line, got, err, tt.want)
		}
	}
	for _, line := range []string{"", "1: 2 3", "1: 0100007F 00000000:0000 0A", "1: 01007F:0001 00000000:0000 0A", "1: 0100007F:10000 00000000:0000 0A", "1: 0100007F:0001 00000000:0000 xx", strings.Replace(listen, "0100007F", "g100007F", 1)} {
		if got, err := parseSocket(line); err == nil {
			t.Errorf("%q: %v", line, got)
		}
	}
}
