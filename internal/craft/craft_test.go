package craft

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"finack/decode"
)

func TestAFirstSegment(t *testing.T) {
	ip := &IP{Src: netip.MustParseAddr("10.9.7.7"), Dst: netip.MustParseAddr("10.0.0.2")}
	opts, err := ParseOptions("mss 1460,sackOK,TS val 7 ecr 0,nop,wscale 7")
	if err != nil {
		t.Fatal(err)
	}
	b, err := AppendTCP(nil, ip, &TCP{SrcPort: 40000, DstPort: 80, Seq: 1, Flags: decode.SYN, Window: 64240, Options: opts}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default)
	tcp, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !ok || !tcp.SYN || tcp.SrcPort != 40000 || len(tcp.Options) != 5 {
		t.Errorf("%v", p)
	}
}
