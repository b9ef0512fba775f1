package probe

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finack/decode"
	"finack/internal/craft"
)

// ask makes a request of a target and of fields that the user has said.
func ask(target string, said map[string]func(*Request)) *Request {
	r := &Request{
		Target: target, TTL: 64, IPSum: "right", Flags: "SYN", Window: 64240, Sum: "right",
		Count: 1, Interval: time.Second, Timeout: time.Second,
		Said: func(name string) bool { _, ok := said[name]; return ok },
	}
	for _, set := range said {
		set(r)
	}
	return r
}

type fields = map[string]func(*Request)

func equalAddr(a, b netip.Addr) bool { return a == b }

func TestRequest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "payload")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	lo4, lo6 := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	ip4 := craft.IP{Src: lo4, Dst: lo4, TTL: 64, ID: 9}
	ip6 := craft.IP{Src: lo6, Dst: lo6, TTL: 64}
	id := func(r *Request) { r.ID = 9 }
	seq := func(r *Request) { r.Seq = 7 }
	port := func(r *Request) { r.Source = ":40000" }
	for _, tt := range []struct {
		name   string
		target string
		said   fields
		want   Spec
	}{
		{
			"SYN", "tcp://127.0.0.1:80",
			fields{"id": id, "seq": seq, "source": port},
			Spec{IP: ip4, TCP: &craft.TCP{SrcPort: 40000, DstPort: 80, Seq: 7, Flags: decode.SYN, Window: 64240}, KeepPort: true},
		},
		{
			"everything of TCP", "tcp://[::1]:80",
			fields{
				"seq": seq, "source": func(r *Request) { r.Source = "[::1]:40000" }, "flags": func(r *Request) { r.Flags = "F." }, "ack": func(r *Request) { r.Ack = 8 },
				"window": func(r *Request) { r.Window = 1 }, "urgent": func(r *Request) { r.Urgent = 2 }, "options": func(r *Request) { r.Options = "mss 5" },
				"checksum": func(r *Request) { r.Sum = "wrong" }, "payload": func(r *Request) { r.Text = "hello" },
				"ttl": func(r *Request) { r.TTL = 3 }, "tos": func(r *Request) { r.TOS = 4 }, "flow-label": func(r *Request) { r.FlowLabel = 5 },
			},
			Spec{
				IP: craft.IP{Src: lo6, Dst: lo6, TTL: 3, TOS: 4, FlowLabel: 5},
				TCP: &craft.TCP{
					SrcPort: 40000, DstPort: 80, Seq: 7, Ack: 8, Flags: decode.FIN | decode.ACK, Window: 1, Urgent: 2,
					Options: craft.Options{craft.MSS(5)}, Sum: craft.SumWrong,
				},
				Payload: []byte("hello"), KeepPort: true,
			},
		},
		{
			"UDP, a file", "udp://127.0.0.1:9",
			fields{"id": id, "source": port, "payload-file": func(r *Request) { r.File = file }, "df": func(r *Request) { r.DF = true }},
			Spec{
				IP: craft.IP{Src: lo4, Dst: lo4, TTL: 64, ID: 9, DF: true}, UDP: &craft.UDP{SrcPort: 40000, DstPort: 9},
				Payload: []byte("from a file"), KeepPort: true,
			},
		},
		{
			"echo, a size", "icmp://127.0.0.1",
			fields{"id": id, "size": func(r *Request) { r.Size = 3 }},
			Spec{IP: ip4, Echo: &craft.Echo{Seq: 1}, Payload: []byte{0, 1, 2}},
		},
		{
			"echo over IPv6, hex", "icmp://[::1]",
			fields{"seq": seq, "payload-hex": func(r *Request) { r.Hex = "de ad BEEF" }},
			Spec{IP: ip6, Echo: &craft.Echo{Seq: 7}, Payload: []byte{0xde, 0xad, 0xbe, 0xef}},
		},
		{
			"another protocol", "ip://::ffff:127.0.0.1",
			fields{"id": id, "protocol": func(r *Request) { r.Protocol = 253 }, "source": func(r *Request) { r.Source = "127.0.0.9" }},
			Spec{IP: craft.IP{Src: netip.MustParseAddr("127.0.0.9"), Dst: lo4, TTL: 64, ID: 9}, Protocol: 253},
		},
	} {
		cfg, err := ask(tt.target, tt.said).Config()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got := cfg.Spec
		if got.Echo != nil { // its identifier is chosen
			got.Echo.ID = 0
		}
		if tt.want.IP.Dst.Is6() { // which has none
			got.IP.ID = 0
		}
		got.FragmentID = 0
		if tt.want.Payload == nil {
			tt.want.Payload = []byte{}
		}
		if diff := cmp.Diff(tt.want, got, cmp.Comparer(equalAddr)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// What is not said is chosen anew for each run.
func TestRequestChooses(t *testing.T) {
	var seqs, ports, ids []uint32
	for range 20 {
		cfg, err := ask("tcp://127.0.0.1:80", nil).Config()
		if err != nil {
			t.Fatal(err)
		}
		if cfg.KeepPort || cfg.TCP.SrcPort < firstPort || cfg.TCP.SrcPort > lastPort || cfg.IP.ID == 0 {
			t.Errorf("%+v, %+v", cfg.IP, cfg.TCP)
		}
		seqs, ports, ids = append(seqs, cfg.TCP.Seq), append(ports, uint32(cfg.TCP.SrcPort)), append(ids, uint32(cfg.IP.ID))
	}
	for _, list := range [][]uint32{seqs, ports, ids} {
		slices.Sort(list)
		if len(slices.Compact(list)) == 1 {
			t.Errorf("always %d", list[0])
		}
	}
}

func TestRequestRefusals(t *testing.T) {
	for _, tt := range []struct {
		target string
		said   fields
		want   string
	}{
		{"127.0.0.1:80", nil, `target "127.0.0.1:80": want tcp://ADDRESS:PORT, udp://`},
		{"tcp://localhost:80", nil, `target "tcp://localhost:80": want tcp://ADDRESS:PORT, an IPv6 address in brackets; names are not resolved`},
		{"tcp://127.0.0.1", nil, `want tcp://ADDRESS:PORT`},
		{"icmp://127.0.0.1:7", nil, `want icmp://ADDRESS`},
		{"udp://0.0.0.0:7", nil, `no host has this address`},
		{"ip://127.0.0.1", nil, `ip://127.0.0.1: needs --protocol`},
		{"udp://127.0.0.1:7", fields{"flags": func(*Request) {}}, `--flags: udp://127.0.0.1:7 has none: only tcp`},
		{"ip://127.0.0.1", fields{"protocol": func(*Request) {}, "checksum": func(*Request) {}}, `--checksum: ip://127.0.0.1 has none: only tcp, udp, icmp`},
		{"tcp://[::1]:7", fields{"df": func(*Request) {}}, `--df: tcp://[::1]:7 has none: only IPv4`},
		{"tcp://127.0.0.1:7", fields{"flow-label": func(*Request) {}}, `only IPv6`},
		{"tcp://[::1]:7", fields{"flow-label": func(r *Request) { r.FlowLabel = 1 << 20 }}, `--flow-label 1048576: it has 20 bits`},
		{"tcp://127.0.0.1:7", fields{"ttl": func(r *Request) { r.TTL = 0 }}, `--ttl 0`},
		{"tcp://127.0.0.1:7", fields{"id": func(*Request) {}}, `--id 0: the kernel would choose another one (raw(7)): --df keeps it`},
		{"tcp://127.0.0.1:7", fields{"flags": func(r *Request) { r.Flags = "XYZ" }}, `--flags: TCP flags "XYZ": want names`},
		{"tcp://127.0.0.1:7", fields{"options": func(r *Request) { r.Options = "mss" }}, `--options: TCP option "mss": want`},
		{"tcp://127.0.0.1:7", fields{"checksum": func(r *Request) { r.Sum = "bad" }}, `--checksum: "bad": must be right, wrong or zero`},
		{"tcp://127.0.0.1:7", fields{"ip-checksum": func(r *Request) { r.IPSum = "wrong" }}, `--ip-checksum: the kernel puts the right one into every packet (raw(7)): only --dry-run shows another`},
		{"tcp://127.0.0.1:7", fields{"source": func(r *Request) { r.Source = "::1" }}, `source ::1: source and destination must be addresses of the same IP version`},
		{"tcp://127.0.0.1:7", fields{"source": func(r *Request) { r.Source = "0.0.0.0" }}, `source 0.0.0.0: the kernel would choose another one: leave it out`},
		{"tcp://127.0.0.1:7", fields{"source": func(r *Request) { r.Source = "x" }}, `source "x": want ADDRESS, ADDRESS:PORT or :PORT`},
		{"icmp://127.0.0.1", fields{"seq": func(r *Request) { r.Seq = 65536 }}, `--seq 65536: ICMP's has 16 bits`},
		{"udp://127.0.0.1:7", fields{"size": func(r *Request) { r.Size = 65536 }}, `--size 65536: must be from 0 to 65535`},
		{"udp://127.0.0.1:7", fields{"size": func(r *Request) { r.Size = 65535 }}, `packet is longer than an IP length field can say: 65563 bytes`},
		{"udp://127.0.0.1:7", fields{"size": func(*Request) {}, "payload": func(*Request) {}}, `--payload, --size: one of them is enough`},
		{"udp://127.0.0.1:7", fields{"payload-hex": func(r *Request) { r.Hex = "abc" }}, `--payload-hex: want two hexadecimal digits a byte`},
		{"udp://127.0.0.1:7", fields{"payload-file": func(r *Request) { r.File = "/nosuch" }}, `open /nosuch: no such file`},
		{"udp://127.0.0.1:7", fields{"fragment": func(*Request) {}}, `--fragment 0: must be an MTU in bytes`},
		{"udp://127.0.0.1:7", fields{"size": func(r *Request) { r.Size = 99 }, "fragment": func(r *Request) { r.MTU = 60 }, "df": func(r *Request) { r.DF = true }}, `don't fragment is set`},
		{"udp://127.0.0.1:7", fields{"size": func(r *Request) { r.Size = 99 }, "fragment": func(r *Request) { r.MTU = 60 }, "id": func(r *Request) { r.DryRun = true }}, `fragments need an identification that is not 0`},
		{"tcp://127.0.0.1:7", fields{"count": func(r *Request) { r.Count = 0 }}, `--count 0: must be at least 1`},
		{"tcp://127.0.0.1:7", fields{"interval": func(r *Request) { r.Interval = -1 }}, `--interval -1ns: must not be negative`},
		{"tcp://127.0.0.1:7", fields{"timeout": func(r *Request) { r.Timeout = 0 }}, `--timeout 0s: must be more than 0`},
	} {
		cfg, err := ask(tt.target, tt.said).Config()
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %+v, %v, want %s", tt.target, cfg, err, tt.want)
		}
	}
}

// Of several packets, each has its own port and identification, in bounds.
func TestBuildCountsUp(t *testing.T) {
	lo := netip.MustParseAddr("127.0.0.1")
	for _, keep := range []bool{false, true} {
		s := Spec{
			IP:  craft.IP{Src: lo, Dst: lo, ID: 65534},
			UDP: &craft.UDP{SrcPort: lastPort - 1, DstPort: 9}, KeepPort: keep,
		}
		var dec decode.Decoder
		for n, want := range []struct {
			port uint16
			id   uint32
		}{{lastPort - 1, 65534}, {lastPort, 65535}, {firstPort, 1}, {firstPort + 1, 2}} {
			parts, err := s.Build(n)
			if err != nil {
				t.Fatal(err)
			}
			var p decode.Packet
			if err := dec.Decode(&decode.Frame{Link: decode.LinkRaw, Data: parts[0], Wire: len(parts[0])}, &p); err != nil {
				t.Fatal(err)
			}
			if keep {
				want.port = lastPort - 1
			}
			if p.Src.Port != want.port || p.IPID != want.id {
				t.Errorf("packet %d: port %d, identification %d, want %+v", n, p.Src.Port, p.IPID, want)
			}
		}
	}
}

func TestPolicy(t *testing.T) {
	here := func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.7") }
	for _, tt := range []struct {
		policy   Policy
		src, dst string
		count    int
		interval time.Duration
		mtu      int
		want     string // "" for none
		leaves   bool
	}{
		{Policy{}, "127.0.0.1", "127.0.0.2", 1, 0, 0, "", false},
		{Policy{}, "::1", "::1", 100, 10 * time.Millisecond, 0, "", false},
		{Policy{}, "192.0.2.7", "127.0.0.1", 1, 0, 0, "", false},
		{Policy{}, "192.0.2.7", "192.0.2.1", 1, 0, 0, "192.0.2.1 is not a loopback address: nothing leaves this host without --to-network", true},
		{Policy{}, "192.0.2.7", "192.0.2.7", 1, 0, 0, "is not a loopback address", true},
		{Policy{}, "127.0.0.1", "224.0.0.1", 1, 0, 0, "is not a loopback address", true},
		{Policy{}, "127.0.0.1", "255.255.255.255", 1, 0, 0, "is not a loopback address", true},
		{Policy{}, "fe80::1", "fe80::2%lo", 1, 0, 0, "is not a loopback address", true},
		{Policy{}, "::1", "ff02::1", 1, 0, 0, "is not a loopback address", true},
		{Policy{}, "192.0.2.8", "127.0.0.1", 1, 0, 0, "source 192.0.2.8 is not this host's: nothing is answered elsewhere without --to-network", true},
		{Policy{ToNetwork: true}, "192.0.2.8", "192.0.2.1", 1, 0, 0, "", true},
		{Policy{ToNetwork: true}, "192.0.2.8", "192.0.2.1", 2, 9 * time.Millisecond, 0, "--interval 9ms: must be at least 10ms: 100 packets a second are the most", true},
		{Policy{ToNetwork: true}, "192.0.2.8", "192.0.2.1", 10_001, time.Second, 0, "--count 10001: 10000 is the most", true},
		{Policy{}, "127.0.0.1", "127.0.0.1", 2, 10 * time.Millisecond, 68, "--interval 10ms: must be at least 220ms", false},
		{Policy{Private: true}, "192.0.2.8", "192.0.2.1", 10_000, 0, 68, "", false},
		{Policy{Private: true}, "192.0.2.8", "192.0.2.1", 10_001, 0, 0, "--count 10001: 10000 is the most", false},
	} {
		tt.policy.Local = here
		cfg := &Config{Count: tt.count, Interval: tt.interval, Spec: Spec{
			IP:  craft.IP{Src: netip.MustParseAddr(tt.src), Dst: netip.MustParseAddr(tt.dst), ID: 1},
			UDP: &craft.UDP{}, Payload: make([]byte, 1048), MTU: tt.mtu,
		}}
		err := tt.policy.Check(cfg)
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
		if leaves := tt.policy.Leaves(cfg); leaves != tt.leaves {
			t.Errorf("%+v: leaves %v", tt, leaves)
		}
	}
	for addr, want := range map[string]bool{"127.0.0.1": true, "::1": true, "203.0.113.77": false} {
		if got := (&Policy{}).here(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is this host's: %v", addr, got)
		}
	}
}
