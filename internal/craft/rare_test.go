package craft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"finack/decode"
)

// What lies where no option can say it, in the reserved bits, and in a time to
// live of zero, is sent as it is asked for, under a right checksum.
func TestRareHeaders(t *testing.T) {
	ip := ip4
	ip.ZeroTTL = true
	tcp := TCP{SrcPort: 1, DstPort: 2, Flags: decode.SYN, Reserved: 5, Options: Options{MSS(1460)}, Tail: "\x03\x00\xff"}
	b, err := AppendTCP(nil, &ip, &tcp, []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	if ttl, word, opts := b[8], binary.BigEndian.Uint16(b[32:]), b[40:48]; ttl != 0 || word != 7<<12|5<<9|2 || !bytes.Equal(opts, []byte{2, 4, 5, 180, 3, 0, 255, 0}) {
		t.Errorf("TTL %d, offset and flags %04x, options % x", ttl, word, opts)
	}
	for _, f := range Fields(b) {
		if strings.Contains(f.Value, "wrong") {
			t.Errorf("%s: %s", f.Name, f.Value)
		}
	}
	tcp.Tail = strings.Repeat("x", 37)
	if _, err := AppendTCP(nil, &ip, &tcp, nil); !errors.Is(err, ErrOptions) {
		t.Errorf("41 bytes of options: %v", err)
	}
}

// gopacket reads an error of either version, and what it quotes.
func TestAppendICMPQuotes(t *testing.T) {
	for _, c := range []struct {
		ip    IP
		m     ICMP
		first gopacket.LayerType
	}{
		{ip4, ICMP{Type: 3, Code: 4, Rest: 1400}, layers.LayerTypeIPv4},
		{ip6, ICMP{Type: 2, Rest: 1280}, layers.LayerTypeIPv6},
	} {
		quote, err := AppendUDP(nil, &c.ip, &UDP{SrcPort: 5, DstPort: 6}, make([]byte, 20))
		if err != nil {
			t.Fatal(err)
		}
		b, err := AppendICMP(nil, &c.ip, &c.m, quote)
		if err != nil {
			t.Fatal(err)
		}
		p := gopacket.NewPacket(b, c.first, gopacket.Default)
		layer := p.Layers()[1]
		head := layer.LayerContents()
		if layer.LayerType() == layers.LayerTypeICMPv6 {
			head = slices.Concat(head, layer.LayerPayload()[:4])
		}
		if head[0] != c.m.Type || head[1] != c.m.Code || binary.BigEndian.Uint32(head[4:]) != c.m.Rest {
			t.Errorf("%v: % x", c.m, head)
		}
		if got, right := binary.BigEndian.Uint16(head[2:]), sumByBytes(p.NetworkLayer(), layer); got != right {
			t.Errorf("%v: checksum %04x, not %04x", c.m, got, right)
		}
		if !bytes.HasSuffix(b, quote) {
			t.Errorf("%v: the quote is not its end", c.m)
		}
		f := decode.Frame{Link: decode.LinkRaw, Data: b, Wire: len(b)}
		var d decode.Decoder
		var got decode.Packet
		if err := d.Decode(&f, &got); err != nil || got.ICMP.QuotedProto != decode.ProtoUDP || got.ICMP.QuotedDst != decode.EndpointOf(netip.AddrPortFrom(c.ip.Dst, 6)) {
			t.Errorf("%v: %+v, %v", c.m, got.ICMP, err)
		}
	}
}

// Any bytes in the place of options are options and a tail, which are sent as
// those bytes again.
func TestReadOptions(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	tails := 0
	for range 20_000 {
		area := make([]byte, 4*r.IntN(11))
		for i := range area {
			area[i] = byte(r.IntN([]int{4, 12, 256}[i%3]))
		}
		opts, tail := ReadOptions(area)
		b, err := AppendTCP(nil, &ip4, &TCP{Options: opts, Tail: tail}, nil)
		if err != nil || !bytes.Equal(b[40:], area) {
			t.Fatalf("% x became %v, %x: % x, %v", area, opts, tail, b, err)
		}
		if tail != "" {
			tails++
		}
	}
	if tails < 1000 || tails > 19_000 {
		t.Errorf("%d of 20000 had a tail", tails)
	}
}
