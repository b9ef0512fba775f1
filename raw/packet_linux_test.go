package raw_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"

	"finack/internal/craft"
	"finack/internal/privnet"
	"finack/raw"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// checksum returns the Internet checksum of b (RFC 1071): zero, if b holds a right one.
func checksum(b []byte) uint16 {
	var sum uint32
	for i, c := range b {
		sum += uint32(c) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// echoRequest returns an ICMP echo request (RFC 792).
func echoRequest(id, seq uint16, data string) []byte {
	b := []byte{8, 0, 0, 0}
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, seq)
	b = append(b, data...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// wantHeader checks what every IPv4 packet on lo must have.
func wantHeader(t *testing.T, pkt []byte, proto int) *ipv4.Header {
	t.Helper()
	h, err := ipv4.ParseHeader(pkt)
	if err != nil {
		t.Fatal(err)
	}
	if h.Version != 4 || h.TotalLen != len(pkt) || h.Protocol != proto ||
		!h.Src.Equal(lo4) || !h.Dst.Equal(lo4) || checksum(pkt[:h.Len]) != 0 {
		t.Fatalf("%d bytes with header %v", len(pkt), h)
	}
	return h
}

func TestRawTCPSeesEachSegmentOfAConnectionOnceWithItsIPHeader(t *testing.T) {
	privnet.Require(t)
	tap := open(t, raw.Socket{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_TCP}, nil)
	rc, err := tap.IPv4()
	if err != nil {
		t.Fatal(err)
	}
	soon(t, tap)

	// The client closes first, the server when it is told.
	client, server := connected(t, raw.Socket{raw.AF_INET, raw.SOCK_STREAM, raw.IPPROTO_TCP}, &net.TCPAddr{IP: lo4})
	client.Close()
	wantEOF(t, server)
	server.Close()

	const fin, syn, ack = 1, 2, 16
	port := uint16(client.LocalAddr().(*net.TCPAddr).Port)
	var flags []int
	b := make([]byte, 1500)
	for closed := 0; closed < 2 || flags[len(flags)-1] != ack; {
		h, p, _, err := rc.ReadFrom(b)
		if err != nil {
			t.Fatalf("%v after segments with flags %v", err, flags)
		}
		wantHeader(t, b[:h.Len+len(p)], 6)
		if binary.BigEndian.Uint16(p) != port && binary.BigEndian.Uint16(p[2:]) != port {
			t.Fatalf("a segment of another connection: % x", p)
		}
		if p[13]&fin != 0 {
			closed++
		}
		flags = append(flags, int(p[13]))
	}
	// The server's FIN may carry the ACK of the client's, or follow it.
	three := []int{syn, syn | ack, ack, fin | ack, fin | ack, ack}
	four := []int{syn, syn | ack, ack, fin | ack, ack, fin | ack, ack}
	if !cmp.Equal(flags, three) && !cmp.Equal(flags, four) {
		t.Errorf("flags %v, want %v or %v", flags, three, four)
	}

	// Nothing more of it comes before the next connection.
	_, _ = connected(t, raw.Socket{raw.AF_INET, raw.SOCK_STREAM, raw.IPPROTO_TCP}, &net.TCPAddr{IP: lo4})
	n, from, err := tap.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	wantAddr(t, from, &net.IPAddr{IP: lo4})
	h := wantHeader(t, b[:n], 6)
	if p := b[h.Len:n]; p[13] != syn || binary.BigEndian.Uint16(p) == port {
		t.Errorf("one segment more: % x", p)
	}
}

func TestRawICMPSendsAPacketAndHearsTheAnswer(t *testing.T) {
	privnet.Require(t)
	for _, tt := range []struct {
		name string
		send func(c *raw.Conn, rc *ipv4.RawConn, h *ipv4.Header, icmp []byte) error
	}{
		{"Conn.WriteTo", func(c *raw.Conn, _ *ipv4.RawConn, h *ipv4.Header, icmp []byte) error {
			b, err := h.Marshal()
			if err == nil {
				_, err = c.WriteTo(append(b, icmp...), &net.IPAddr{IP: h.Dst})
			}
			return err
		}},
		{"Conn.Write", func(c *raw.Conn, _ *ipv4.RawConn, h *ipv4.Header, icmp []byte) error {
			if err := c.Connect(&net.IPAddr{IP: h.Dst}); err != nil {
				return err
			}
			b, err := h.Marshal()
			if err == nil {
				_, err = c.Write(append(b, icmp...))
			}
			return err
		}},
		{"RawConn.WriteTo", func(_ *raw.Conn, rc *ipv4.RawConn, h *ipv4.Header, icmp []byte) error {
			return rc.WriteTo(h, icmp, nil)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := open(t, raw.Socket{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_ICMP}, nil)
			soon(t, c)
			rc, err := c.IPv4()
			if err != nil {
				t.Fatal(err)
			}
			icmp := echoRequest(7, 1, "hello")
			// The kernel fills in: total length, identification, source, checksum.
			h := &ipv4.Header{Version: 4, Len: 20, TTL: 33, Protocol: 1, Dst: lo4}
			if err := tt.send(c, rc, h, icmp); err != nil {
				t.Fatal(err)
			}

			b := make([]byte, 1500)
			n, from, err := c.ReadFrom(b) // lo brings back our own
			if err != nil {
				t.Fatal(err)
			}
			wantAddr(t, from, &net.IPAddr{IP: lo4})
			if h := wantHeader(t, b[:n], 1); h.TTL != 33 || h.ID == 0 {
				t.Errorf("request's header: %v", h)
			}
			if diff := cmp.Diff(icmp, b[20:n]); diff != "" {
				t.Errorf("request (-sent +received):\n%s", diff)
			}
			hdr, p, _, err := rc.ReadFrom(b)
			if err != nil {
				t.Fatal(err)
			}
			wantHeader(t, b[:hdr.Len+len(p)], 1)
			if p[0] != 0 || string(p[8:]) != "hello" || checksum(p) != 0 {
				t.Errorf("answer: % x", p)
			}
		})
	}
}

func TestRawConnAndConnAreOneSocket(t *testing.T) {
	privnet.Require(t)
	c := open(t, raw.Socket{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_EGP}, nil)
	rc, err := c.IPv4()
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("close after RawConn's: %v", err)
	}
	if _, err := open(t, raw.Socket{raw.AF_INET6, raw.SOCK_RAW, raw.IPPROTO_TCP}, nil).IPv4(); err == nil {
		t.Error("an IPv6 socket has a RawConn")
	}
}

func TestIPv6RawReceivesWhatFollowsTheHeaders(t *testing.T) {
	privnet.Require(t)
	tap := open(t, raw.Socket{raw.AF_INET6, raw.SOCK_RAW, raw.IPPROTO_UDP}, nil)
	udp := open(t, raw.Socket{raw.AF_INET6, raw.SOCK_DGRAM, raw.IPPROTO_UDP}, &raw.Config{Bind: &net.UDPAddr{IP: lo6}})
	soon(t, tap, udp)
	mustWriteTo(t, udp, "six", udp.LocalAddr())
	b := make([]byte, 1500)
	n, from, err := tap.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	wantAddr(t, from, &net.IPAddr{IP: lo6})
	if port := udp.LocalAddr().(*net.UDPAddr).Port; n != 11 || string(b[8:n]) != "six" || int(binary.BigEndian.Uint16(b)) != port {
		t.Errorf("received % x from port %d", b[:n], port)
	}
}

func TestPacketSocketSeesBothDirectionsOnLo(t *testing.T) {
	privnet.Require(t)
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		typ raw.Type
		ip  int // offset of the IP header
	}{
		{raw.SOCK_RAW, 14},
		{raw.SOCK_DGRAM, 0},
	} {
		s := raw.Socket{raw.AF_PACKET, tt.typ, raw.ETH_P_ALL}
		tap := open(t, s, &raw.Config{Bind: &raw.Addr{Interface: lo.Index}})
		udp := open(t, raw.Socket{raw.AF_INET, raw.SOCK_DGRAM, 0}, &raw.Config{Bind: &net.UDPAddr{IP: lo4}})
		soon(t, tap, udp)
		wantAddr(t, tap.LocalAddr(), &raw.Addr{Interface: lo.Index, Protocol: raw.ETH_P_ALL, Hardware: make(net.HardwareAddr, 6)})
		mustWriteTo(t, udp, "both", udp.LocalAddr())
		for _, want := range []raw.PacketType{raw.PACKET_OUTGOING, raw.PACKET_HOST} {
			b := make([]byte, 1500)
			n, from, err := tap.ReadFrom(b)
			if err != nil {
				t.Fatal(err)
			}
			wantAddr(t, from, &raw.Addr{Interface: lo.Index, Protocol: raw.ETH_P_IP, Hardware: make(net.HardwareAddr, 6), Type: want})
			wantHeader(t, b[tt.ip:n], 17)
			if string(b[tt.ip+28:n]) != "both" {
				t.Errorf("%v received % x", s, b[:n])
			}
		}
	}
}

func TestPacketSocketSendsAndBindsItsProtocolLater(t *testing.T) {
	privnet.Require(t)
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	const proto = raw.ETH_P_802_EX1
	tap := open(t, raw.Socket{raw.AF_PACKET, raw.SOCK_DGRAM, 0}, nil) // hears nothing yet
	out := open(t, raw.Socket{raw.AF_PACKET, raw.SOCK_DGRAM, 0}, nil)
	soon(t, tap, out)
	to := &raw.Addr{Interface: lo.Index, Protocol: proto, Hardware: make(net.HardwareAddr, 6)}
	mustWriteTo(t, out, "early", to)
	if err := tap.Bind(&raw.Addr{Interface: lo.Index, Protocol: proto}); err != nil {
		t.Fatal(err)
	}
	mustWriteTo(t, out, "late", to)
	wantReadFrom(t, tap, "late", &raw.Addr{
		Interface: lo.Index, Protocol: proto, Hardware: make(net.HardwareAddr, 6), Type: raw.PACKET_HOST,
	})
}

func TestFilterSeesFromOffsetZeroWhatItsDocumentationSays(t *testing.T) {
	privnet.Require(t)
	for _, tt := range []struct {
		socket raw.Socket
		port   uint32 // offset of UDP's destination port
		ip     net.IP
	}{
		{raw.Socket{raw.AF_PACKET, raw.SOCK_RAW, raw.ETH_P_IP}, 14 + 20 + 2, lo4},
		{raw.Socket{raw.AF_PACKET, raw.SOCK_DGRAM, raw.ETH_P_IP}, 20 + 2, lo4},
		{raw.Socket{raw.AF_PACKET, raw.SOCK_DGRAM, raw.ETH_P_IPV6}, 40 + 2, lo6},
		{raw.Socket{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_UDP}, 20 + 2, lo4},
		{raw.Socket{raw.AF_INET6, raw.SOCK_RAW, raw.IPPROTO_UDP}, 2, lo6},
	} {
		t.Run(tt.socket.String(), func(t *testing.T) {
			domain := raw.AF_INET
			if tt.ip.To4() == nil {
				domain = raw.AF_INET6
			}
			s := raw.Socket{domain, raw.SOCK_DGRAM, 0}
			other := open(t, s, &raw.Config{Bind: &net.UDPAddr{IP: tt.ip}})
			wanted := open(t, s, &raw.Config{Bind: &net.UDPAddr{IP: tt.ip}})
			port := wanted.LocalAddr().(*net.UDPAddr).Port
			filter := accept16(t, tt.port, uint32(port))

			both := func(text string) {
				mustWriteTo(t, wanted, "not "+text, other.LocalAddr())
				mustWriteTo(t, other, text, wanted.LocalAddr())
			}
			c := open(t, tt.socket, &raw.Config{Filter: filter})
			soon(t, c)
			read := func() string {
				b := make([]byte, 1500)
				n, err := c.Read(b)
				if err != nil {
					t.Fatal(err)
				}
				return string(b[tt.port+6 : n])
			}
			both("from Config")
			if got := read(); got != "from Config" {
				t.Errorf("read %q", got)
			}
			if err := c.SetBPF(filter); err != nil { // in place of the other
				t.Fatal(err)
			}
			both("from SetBPF")
			if got := read(); got != "from SetBPF" {
				t.Errorf("read %q", got)
			}
			if err := c.SetBPF(nil); err != nil {
				t.Fatal(err)
			}
			both("unfiltered")
			if got := read(); got != "not unfiltered" {
				t.Errorf("read %q", got)
			}
			if err := c.SetBPF(nil); errno(t, err) != unix.ENOENT {
				t.Errorf("no filter to detach: %v, want ENOENT", err)
			}
		})
	}
}

func TestNothingUnfilteredSlipsInWhileOpening(t *testing.T) {
	privnet.Require(t)
	udp := raw.Socket{raw.AF_INET, raw.SOCK_DGRAM, 0}
	noise := open(t, udp, &raw.Config{Bind: &net.UDPAddr{IP: lo4}})
	wanted := open(t, udp, &raw.Config{Bind: &net.UDPAddr{IP: lo4}})
	soon(t, noise, wanted)
	stop := make(chan struct{})
	var flood sync.WaitGroup
	flood.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := noise.WriteTo([]byte("noise"), noise.LocalAddr()); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	defer flood.Wait()
	defer close(stop)
	for _, tt := range []struct {
		socket raw.Socket
		ip     uint32 // offset of the IP header
	}{
		{raw.Socket{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_UDP}, 0},
		{raw.Socket{raw.AF_PACKET, raw.SOCK_RAW, raw.ETH_P_ALL}, 14},
	} {
		port := wanted.LocalAddr().(*net.UDPAddr).Port
		cfg := &raw.Config{Filter: accept16(t, tt.ip+22, uint32(port))}
		for range 100 {
			c := open(t, tt.socket, cfg)
			soon(t, c)
			mustWriteTo(t, wanted, "wanted", wanted.LocalAddr())
			b := make([]byte, 1500)
			n, err := c.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(b[tt.ip+28 : n]); got != "wanted" {
				t.Fatalf("%v received %q", tt.socket, got)
			}
			c.Close()
		}
	}
}

// With IPPROTO_RAW, whole IPv6 packets are on the wire as they were written,
// header, extension headers and checksums: what the kernel does not know, too.
func TestRawIPv6SendsWholePackets(t *testing.T) {
	privnet.Require(t)
	lo6 := netip.IPv6Loopback()
	ip := craft.IP{Src: lo6, Dst: lo6, TTL: 7, TOS: 0x2e, FlowLabel: 0x12345}
	wrong, err := craft.AppendUDP(nil, &ip, &craft.UDP{SrcPort: 1, DstPort: 9, Sum: craft.SumWrong}, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := craft.AppendIP(nil, &ip, 253, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	long, err := craft.AppendUDP(nil, &ip, &craft.UDP{SrcPort: 1, DstPort: 9}, make([]byte, 2000))
	if err != nil {
		t.Fatal(err)
	}
	packets, err := craft.Fragment(long, 1280, 7)
	if err != nil {
		t.Fatal(err)
	}
	packets = append(packets, wrong, other)

	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	tap := open(t, raw.Socket{raw.AF_PACKET, raw.SOCK_DGRAM, raw.ETH_P_IPV6}, &raw.Config{Bind: &raw.Addr{Interface: lo.Index}})
	soon(t, tap)
	c := open(t, raw.Socket{raw.AF_INET6, raw.SOCK_RAW, raw.IPPROTO_RAW}, nil)
	b := make([]byte, 4096)
	for _, want := range packets {
		if n, err := c.WriteTo(want, &net.IPAddr{IP: net.IPv6loopback}); err != nil || n != len(want) {
			t.Fatalf("wrote %d bytes of %d: %v", n, len(want), err)
		}
		for { // what the kernel answers is not ours
			n, _, err := tap.ReadFrom(b)
			if err != nil {
				t.Fatalf("% x: %v", want, err)
			}
			if b[7] == ip.TTL {
				if !bytes.Equal(b[:n], want) {
					t.Errorf("on the wire is % x, want % x", b[:n], want)
				}
				break
			}
		}
	}
}
