package craft

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/ip4defrag"
	"github.com/google/gopacket/layers"

	"finack/capture"
	"finack/decode"
)

// ask runs a program that reads packets as a capture from its standard input,
// and returns what it prints. A program that is not installed skips the test;
// where nothing may be skipped it fails it.
func ask(t *testing.T, packets [][]byte, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("FINACK_NEED_NETNS") == "1" {
			t.Fatalf("%s is not installed (FINACK_NEED_NETNS=1)", name)
		}
		t.Skipf("%s is not installed", name)
	}
	var file, stderr bytes.Buffer
	w, err := capture.NewWriter(&file, &capture.WriterConfig{Format: capture.FormatPcap, Link: decode.LinkRaw})
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range packets {
		if err := w.WriteFrame(&decode.Frame{Time: decode.Timestamp(i), Link: decode.LinkRaw, Data: b, Wire: len(b)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stderr = &file, &stderr
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v, %s", cmd.Args, err, stderr.String())
	}
	return string(out)
}

// tsharkFields asks tshark for fields of every packet; values of one field are
// joined by a comma.
func tsharkFields(t *testing.T, packets [][]byte, fields ...string) [][]string {
	t.Helper()
	args := []string{
		"-n", "-r", "-", "-T", "fields", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE",
		"-o", "udp.check_checksum:TRUE", "-o", "tcp.analyze_sequence_numbers:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE",
	}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var rows [][]string
	for line := range strings.Lines(ask(t, packets, "tshark", args...)) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	if len(rows) != len(packets) {
		t.Fatalf("tshark reads %d packets of %d", len(rows), len(packets))
	}
	return rows
}

func bytesOf(list []sample) [][]byte {
	packets := make([][]byte, len(list))
	for i, s := range list {
		packets[i] = s.packet
	}
	return packets
}

// tshark reads back every field, and thinks the same of every checksum.
func TestTsharkReadsItBack(t *testing.T) {
	list := samples(t)
	fields := []string{
		"ip.src", "ip.dst", "ip.ttl", "ip.dsfield", "ip.id", "ip.flags.df", "ip.proto", "ip.checksum.status",
		"ipv6.src", "ipv6.dst", "ipv6.hlim", "ipv6.tclass", "ipv6.flow", "ipv6.nxt",
		"tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.window_size_value", "tcp.urgent_pointer", "tcp.checksum.status", "tcp.options", "tcp.len",
		"udp.srcport", "udp.dstport", "udp.length", "udp.checksum.status",
		"icmp.type", "icmp.ident", "icmp.seq", "icmp.checksum.status",
		"icmpv6.type", "icmpv6.echo.identifier", "icmpv6.echo.sequence_number", "icmpv6.checksum.status",
	}
	// Of statuses, 0 is bad, 1 good, 3 not present, 4 against the rules.
	status := map[Sum]string{SumRight: "1", SumWrong: "0", SumZero: "0"}
	rows := tsharkFields(t, bytesOf(list), fields...)
	for i, s := range list {
		want := map[string]string{}
		put := func(name string, v any) { want[name] = fmt.Sprint(v) }
		protocol := int(s.Protocol)
		switch {
		case s.TCP != nil:
			protocol = 6
			put("tcp.srcport", s.TCP.SrcPort)
			put("tcp.dstport", s.TCP.DstPort)
			put("tcp.seq_raw", s.TCP.Seq)
			put("tcp.ack_raw", s.TCP.Ack)
			put("tcp.flags", fmt.Sprintf("0x%04x", uint16(s.TCP.Flags)))
			put("tcp.window_size_value", s.TCP.Window)
			put("tcp.urgent_pointer", s.TCP.Urgent)
			put("tcp.checksum.status", status[s.TCP.Sum])
			put("tcp.len", len(s.Payload))
			wire := s.TCP.Options.appendWire(nil)
			wire = append(wire, make([]byte, -len(wire)&3)...)
			put("tcp.options", hex.EncodeToString(wire))
		case s.UDP != nil:
			protocol = 17
			put("udp.srcport", s.UDP.SrcPort)
			put("udp.dstport", s.UDP.DstPort)
			put("udp.length", 8+len(s.Payload))
			put("udp.checksum.status", status[s.UDP.Sum])
			if s.UDP.Sum == SumZero {
				put("udp.checksum.status", map[bool]int{true: 3, false: 4}[s.IP.Src.Is4()])
			}
		case s.Echo != nil:
			names := []string{"icmp.type", "icmp.ident", "icmp.seq", "icmp.checksum.status"}
			types := [...]int{8, 0}
			protocol = 1
			if s.IP.Src.Is6() {
				names = []string{"icmpv6.type", "icmpv6.echo.identifier", "icmpv6.echo.sequence_number", "icmpv6.checksum.status"}
				types, protocol = [...]int{128, 129}, 58
			}
			put(names[0], types[0])
			if s.Echo.Reply {
				put(names[0], types[1])
			}
			// Of ICMP's identifier tshark shows both byte orders.
			put(names[1], s.Echo.ID)
			put(names[2], s.Echo.Seq)
			if s.IP.Src.Is6() {
				put(names[1], fmt.Sprintf("0x%04x", s.Echo.ID))
			}
			put(names[3], status[s.Echo.Sum])
		}
		if s.IP.Src.Is4() {
			put("ip.src", s.IP.Src)
			put("ip.dst", s.IP.Dst)
			put("ip.ttl", s.ttl())
			put("ip.dsfield", fmt.Sprintf("0x%02x", s.IP.TOS))
			put("ip.id", fmt.Sprintf("0x%04x", s.IP.ID))
			put("ip.flags.df", map[bool]int{true: 1}[s.IP.DF])
			put("ip.proto", protocol)
			put("ip.checksum.status", status[s.IP.Sum])
		} else {
			put("ipv6.src", s.IP.Src)
			put("ipv6.dst", s.IP.Dst)
			put("ipv6.hlim", s.ttl())
			put("ipv6.tclass", fmt.Sprintf("0x%08x", s.IP.TOS))
			put("ipv6.flow", fmt.Sprintf("0x%06x", s.IP.FlowLabel))
			put("ipv6.nxt", protocol)
		}
		for j, name := range fields {
			got := rows[i][j]
			switch name {
			case "icmp.ident", "icmp.seq":
				got, _, _ = strings.Cut(got, ",")
			case "tcp.flags", "ipv6.tclass", "ipv6.flow":
				got, want[name] = number(got), number(want[name])
			}
			if got != want[name] {
				t.Errorf("%+v: tshark's %s is %q, want %q", s, name, got, want[name])
			}
		}
	}
}

// number returns a hexadecimal number, of whatever width, as a decimal one.
func number(s string) string {
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		return s
	}
	return strconv.FormatUint(n, 10)
}

// tcpdump says of every checksum what was asked for, and calls the options
// what String does.
func TestTcpdumpReadsItBack(t *testing.T) {
	list := samples(t)
	out := ask(t, bytesOf(list), "tcpdump", "-n", "-vv", "-S", "-t", "-r", "-")
	blocks := strings.Split("\n"+out, "\n")
	var texts []string
	for _, line := range blocks { // a packet's later lines are indented
		switch {
		case strings.TrimSpace(line) == "":
		case strings.HasPrefix(line, "\t"), strings.HasPrefix(line, "    "):
			texts[len(texts)-1] += line
		default:
			texts = append(texts, line)
		}
	}
	if len(texts) != len(list) {
		t.Fatalf("tcpdump reads %d packets of %d", len(texts), len(list))
	}
	compared := 0
	for i, s := range list {
		says := func(want string, yes bool) {
			t.Helper()
			if strings.Contains(texts[i], want) != yes {
				t.Errorf("%+v: tcpdump says %v to %q:\n%s", s, !yes, want, texts[i])
			}
		}
		if s.IP.Src.Is4() {
			says("bad cksum", s.IP.Sum != SumRight)
			says(fmt.Sprintf("tos 0x%x,", s.IP.TOS), true)
			says(fmt.Sprintf("ttl %d, id %d, offset 0, flags [%s]", s.ttl(), s.IP.ID, map[bool]string{true: "DF", false: "none"}[s.IP.DF]), true)
		} else {
			says(fmt.Sprintf("class 0x%02x", s.IP.TOS), s.IP.TOS != 0)
			says(fmt.Sprintf("flowlabel 0x%05x", s.IP.FlowLabel), s.IP.FlowLabel != 0)
			says(fmt.Sprintf("hlim %d,", s.ttl()), true)
		}
		switch {
		case s.TCP != nil:
			says("(correct)", s.TCP.Sum == SumRight)
			says("(incorrect -> 0x", s.TCP.Sum == SumWrong)
			_, letters, _ := strings.Cut(texts[i], "Flags [")
			letters, _, _ = strings.Cut(letters, "]")
			// Version 4 does not show AE.
			if f, err := ParseFlags(letters); err != nil || f|decode.AE != s.TCP.Flags|decode.AE {
				t.Errorf("tcpdump's flags [%s] of %v are %v, %v", letters, s.TCP.Flags, f, err)
			}
			says(fmt.Sprintf("win %d", s.TCP.Window), true)
			says(fmt.Sprintf("%s.%d > %s.%d: ", s.IP.Src, s.TCP.SrcPort, s.IP.Dst, s.TCP.DstPort), true)
			if known(s.TCP.Options) {
				compared++
				pad := "" // it shows the padding's first byte, too
				if o := s.TCP.Options; o.size()%4 != 0 && o[len(o)-1].Kind != EndOfOptions {
					pad = ",eol"
				}
				says("options ["+s.TCP.Options.String()+pad+"]", true)
			}
		case s.UDP != nil:
			says("[udp sum ok]", s.UDP.Sum == SumRight)
			none := s.UDP.Sum == SumZero && s.IP.Src.Is4()
			says("[bad udp cksum 0x", s.UDP.Sum != SumRight && !none)
			says("no cksum", none)
			says(fmt.Sprintf("UDP, length %d", len(s.Payload)), true)
		case s.Echo != nil:
			word := map[bool]string{true: "echo reply", false: "echo request"}[s.Echo.Reply]
			says(fmt.Sprintf("%s, id %d, seq %d", word, s.Echo.ID, s.Echo.Seq), true)
			if s.IP.Src.Is4() {
				says("(wrong icmp cksum", s.Echo.Sum != SumRight)
			} else {
				says("[icmp6 sum ok]", s.Echo.Sum == SumRight)
				says("[bad icmp6 cksum", s.Echo.Sum != SumRight)
			}
		}
	}
	if compared < 300 {
		t.Errorf("options of %d packets were compared only", compared)
	}
}

// known reports whether tcpdump calls the options what packetdrill does.
func known(opts Options) bool {
	ended := false
	for _, o := range opts {
		switch {
		case ended, o.Kind == SACK, o.Kind > Timestamps, o.String()[0] >= '0' && o.String()[0] <= '9':
			return false
		}
		ended = o.Kind == EndOfOptions
	}
	return len(opts) > 0
}

// fragmented are packets that must be cut for an MTU of 68, 576 or 1280.
func fragmented(t *testing.T) (list []sample, mtus []int) {
	for i, s := range samples(t) {
		for _, mtu := range []int{68, 576, 1280} {
			if len(s.packet) <= mtu || s.IP.DF || len(s.packet) > 2000 && mtu == 68 || s.IP.Sum != SumRight {
				continue
			}
			s.IP.ID = uint16(1 + i)
			var err error
			if s.packet, err = s.build(nil); err != nil {
				t.Fatal(err)
			}
			list, mtus = append(list, s), append(mtus, mtu)
		}
	}
	if len(list) < 100 {
		t.Fatalf("%d packets to cut only", len(list))
	}
	return list, mtus
}

// Cut for an MTU, put together by other hands, a packet is the same again.
func TestFragments(t *testing.T) {
	list, mtus := fragmented(t)
	var frames [][]byte
	var last []int // of each packet, the last fragment
	defrag := ip4defrag.NewIPv4Defragmenter()
	for i, s := range list {
		parts, err := Fragment(s.packet, mtus[i], uint32(i+1))
		if err != nil {
			t.Fatal(err)
		}
		if len(parts) < 2 {
			t.Errorf("%d bytes for an MTU of %d: one fragment", len(s.packet), mtus[i])
		}
		var whole []byte
		for n, part := range parts {
			if len(part) > mtus[i] || n < len(parts)-1 && len(part)+8 <= mtus[i] {
				t.Errorf("fragment %d of %d has %d bytes for an MTU of %d", n+1, len(parts), len(part), mtus[i])
			}
			wholeByFields(t, part)
			if s.IP.Src.Is6() {
				ip, h := part[:40], part[40:48]
				if ip[6] != 44 || h[0] != s.packet[6] || h[1] != 0 ||
					int(h[2])<<8|int(h[3]) != len(whole)|map[bool]int{true: 1}[n < len(parts)-1] || !bytes.Equal(h[4:], []byte{0, 0, byte((i + 1) >> 8), byte(i + 1)}) {
					t.Errorf("fragment header % x at %d", h, len(whole))
				}
				whole = append(whole, part[48:]...)
				continue
			}
			p := gopacket.NewPacket(part, layers.LayerTypeIPv4, gopacket.Default)
			ip := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
			if sum := again(t, ip, func(x *layers.IPv4) { x.Checksum = 0 }).Checksum; ip.Checksum != sum {
				t.Errorf("fragment's checksum %#x, want %#x", ip.Checksum, sum)
			}
			out, err := defrag.DefragIPv4(ip)
			if err != nil {
				t.Fatal(err)
			}
			if (out != nil) != (n == len(parts)-1) {
				t.Errorf("put together after %d fragments of %d", n+1, len(parts))
			}
			if out != nil {
				whole = out.Payload
			}
		}
		if header := 20 + map[bool]int{true: 20}[s.IP.Src.Is6()]; !bytes.Equal(whole, s.packet[header:]) {
			t.Errorf("%+v: the fragments are another packet", s)
		}
		frames = append(frames, parts...)
		last = append(last, len(frames)-1)
	}

	rows := tsharkFields(t, frames, "ip.reassembled.data", "ipv6.reassembled.data", "ip.checksum.status")
	for i, s := range list {
		row, header := rows[last[i]], 20
		if s.IP.Src.Is6() {
			row, header = row[1:], 40
		} else if row[2] != "1" {
			t.Errorf("%+v: tshark thinks %s of the last fragment's checksum", s, row[2])
		}
		if row[0] != hex.EncodeToString(s.packet[header:]) {
			t.Errorf("%+v: tshark puts together something else", s)
		}
	}
}

func TestFragmentRefusals(t *testing.T) {
	df, frag := ip4, []byte(nil)
	df.DF = true
	notWhole, err := AppendUDP(nil, &ip4, &UDP{}, make([]byte, 100))
	if err != nil {
		t.Fatal(err)
	}
	if parts, err := Fragment(notWhole, 128, 1); err != nil || len(parts) != 1 || &parts[0][0] != &notWhole[0] {
		t.Errorf("a packet that fits: %d fragments, %v", len(parts), err)
	}
	parts, err := Fragment(notWhole, 68, 1)
	if err != nil {
		t.Fatal(err)
	}
	frag = parts[0]
	whole := slices.Clone(notWhole)
	notFragment, err := AppendUDP(nil, &df, &UDP{}, make([]byte, 100))
	if err != nil {
		t.Fatal(err)
	}
	extension, err := AppendIP(nil, &ip6, 0, make([]byte, 100))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		packet []byte
		mtu    int
		want   string
	}{
		{notFragment, 127, "fragment 128 bytes for an MTU of 127: don't fragment is set"},
		{frag, 44, "fragment 68 bytes: not a whole IP packet with a plain header"},
		{whole[:100], 68, "fragment 100 bytes: not a whole IP packet with a plain header"},
		{whole[:7], 3, "fragment 7 bytes: not a whole IP packet with a plain header"},
		{extension, 80, "fragment 140 bytes: not a whole IP packet with a plain header"},
		{nil, -1, "fragment 0 bytes: not a whole IP packet with a plain header"},
		{whole, 27, "fragment for an MTU of 27: 28 is the least that has room for 8 bytes"},
		{whole, -9, "fragment for an MTU of -9: 28 is the least that has room for 8 bytes"},
	} {
		if parts, err := Fragment(tt.packet, tt.mtu, 1); err == nil || err.Error() != tt.want || parts != nil {
			t.Errorf("%d fragments, %v, want %s", len(parts), err, tt.want)
		}
	}
}

// A header checksum that was wrong, or zero, stays so in every fragment.
func TestFragmentsKeepAWrongChecksum(t *testing.T) {
	for _, sum := range []Sum{SumRight, SumWrong, SumZero} {
		ip := ip4
		ip.Sum, ip.ID = sum, 7
		b, err := AppendUDP(nil, &ip, &UDP{}, make([]byte, 100))
		if err != nil {
			t.Fatal(err)
		}
		parts, err := Fragment(b, 68, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			have := uint16(part[10])<<8 | uint16(part[11])
			h := slices.Clone(part[:20])
			h[10], h[11] = 0, 0
			s := wordSum(h)
			for s > 0xffff {
				s = s&0xffff + s>>16
			}
			if got := sumOf(have, ^uint16(s)); got != sum {
				t.Errorf("checksum %d of the packet is %d of a fragment: % x", sum, got, part[:20])
			}
		}
	}
}

// tshark finds every field where Fields does.
func TestFieldsLieWhereTsharkFindsThem(t *testing.T) {
	names := map[string]map[string]string{
		"ip": {
			"ip.version": "version, IHL", "ip.dsfield": "type of service", "ip.len": "total length", "ip.id": "identification",
			"ip.ttl": "time to live", "ip.proto": "protocol", "ip.checksum": "header checksum", "ip.src": "source address", "ip.dst": "destination address",
		},
		"ipv6": {
			"ipv6.plen": "payload length", "ipv6.nxt": "next header", "ipv6.hlim": "hop limit", "ipv6.src": "source address", "ipv6.dst": "destination address",
		},
		"tcp": {
			"tcp.srcport": "source port", "tcp.dstport": "destination port", "tcp.seq_raw": "sequence number", "tcp.ack_raw": "acknowledgment number",
			"tcp.flags": "data offset, flags", "tcp.window_size_value": "window", "tcp.checksum": "checksum", "tcp.urgent_pointer": "urgent pointer",
			"tcp.options.mss": "option", "tcp.options.wscale": "option", "tcp.options.sack_perm": "option", "tcp.options.timestamp": "option",
			"tcp.options.nop": "option", "tcp.options.sack": "option", "tcp.options.tfo": "option", "tcp.payload": "payload",
		},
		"udp": {"udp.srcport": "source port", "udp.dstport": "destination port", "udp.length": "length", "udp.checksum": "checksum", "udp.payload": "payload"},
		"icmp": {
			"icmp.type": "type", "icmp.code": "code", "icmp.checksum": "checksum", "icmp.ident": "identifier", "icmp.seq": "sequence number",
		},
		"icmpv6": {
			"icmpv6.type": "type", "icmpv6.code": "code", "icmpv6.checksum": "checksum", "icmpv6.echo.identifier": "identifier", "icmpv6.echo.sequence_number": "sequence number",
		},
	}
	var packets [][]byte
	for i, s := range samples(t) {
		if i%11 == 0 && len(s.packet) < 2000 {
			packets = append(packets, s.packet)
		}
	}
	pdml := ask(t, packets, "tshark", "-n", "-r", "-", "-T", "pdml", "-o", "tcp.desegment_tcp_streams:FALSE")
	docs := strings.Split(pdml, "<packet>")[1:]
	if len(docs) != len(packets) {
		t.Fatalf("tshark reads %d packets of %d", len(docs), len(packets))
	}
	found := map[string]int{}
	for i, doc := range docs {
		at := map[[2]int]string{}
		for _, f := range Fields(packets[i]) {
			at[[2]int{f.Offset, f.Len}] = f.Name
		}
		for line := range strings.Lines(doc) {
			name := attribute(line, "name")
			layer, _, _ := strings.Cut(name, ".")
			want, ok := names[layer][name]
			if !ok {
				continue
			}
			pos, _ := strconv.Atoi(attribute(line, "pos"))
			size, _ := strconv.Atoi(attribute(line, "size"))
			if name == "ip.version" && packets[i][0]>>4 == 6 {
				continue // it is shown of both versions
			}
			if got := at[[2]int{pos, size}]; got != want {
				t.Errorf("packet % x: tshark's %s at %d, %d bytes; there is %q", packets[i], name, pos, size, got)
			}
			found[name]++
		}
	}
	for _, layer := range names {
		for name := range layer {
			if found[name] == 0 {
				t.Errorf("tshark never shows %s", name)
			}
		}
	}
}

// attribute returns an attribute's value in a line of PDML.
func attribute(line, name string) string {
	_, rest, ok := strings.Cut(line, " "+name+`="`)
	if !ok {
		return ""
	}
	v, _, _ := strings.Cut(rest, `"`)
	return v
}
