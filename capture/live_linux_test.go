package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"finack/capture"
	"finack/decode"
	"finack/internal/pcapfilter"
	"finack/internal/privnet"
	"finack/raw"
)

var _ capture.Source = (*capture.Live)(nil)

// patience is how long a frame that must come is waited for.
const patience = 5 * time.Second

// openLive opens a capture that ends with the test.
func openLive(t testing.TB, cfg *capture.LiveConfig) *capture.Live {
	t.Helper()
	privnet.Require(t)
	l, err := capture.OpenLive(cfg)
	return opened(t, l, err)
}

// opened returns a source that was opened, and closes it with the test.
func opened[S capture.Source](t testing.TB, s S, err error) S {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// source is a Source that knows whether it must wait.
type source interface {
	capture.Source
	Buffered() bool
}

// opener opens a source for what matches filter on loopback.
type opener func(t testing.TB, filter string) source

// eachSource tests what every live source must do.
func eachSource(t *testing.T, test func(t *testing.T, open opener)) {
	ring := func(iface string) opener {
		return func(t testing.TB, filter string) source {
			return openLive(t, &capture.LiveConfig{Interface: iface, Filter: filter, Buffer: 1 << 20})
		}
	}
	socket := func(iface string, sockets ...raw.Socket) opener {
		return func(t testing.TB, filter string) source {
			return openSocket(t, &capture.SocketConfig{Interface: iface, Sockets: sockets, Filter: filter})
		}
	}
	for name, open := range map[string]opener{
		"ring on lo":          ring("lo"),
		"ring on any":         ring("any"),
		"raw socket":          socket("", rawUDP),
		"raw sockets of both": socket("lo", rawUDP, rawUDP6),
		"packet socket":       socket("lo", raw.Socket{Domain: raw.AF_PACKET, Type: raw.SOCK_RAW, Protocol: raw.ETH_P_ALL}),
		"cooked socket":       socket("", raw.Socket{Domain: raw.AF_PACKET, Type: raw.SOCK_DGRAM, Protocol: raw.ETH_P_IP}),
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// setDeadline sets l's read deadline to d from now.
func setDeadline(t testing.TB, l capture.Source, d time.Duration) {
	t.Helper()
	if err := l.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
}

// readFrames reads n frames that want accepts; nil accepts all.
func readFrames(t testing.TB, l capture.Source, n int, want func(*decode.Frame) bool) []decode.Frame {
	t.Helper()
	setDeadline(t, l, patience)
	var frames []decode.Frame
	for len(frames) < n {
		var f decode.Frame
		if err := l.ReadFrame(&f); err != nil {
			t.Fatalf("after %d of %d frames: %v", len(frames), n, err)
		}
		if want == nil || want(&f) {
			frames = append(frames, f)
		}
	}
	return frames
}

// quiet fails the test when l has another frame that want accepts.
func quiet(t testing.TB, l capture.Source, want func(*decode.Frame) bool) {
	t.Helper()
	setDeadline(t, l, 50*time.Millisecond)
	for {
		var f decode.Frame
		err := l.ReadFrame(&f)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if want == nil || want(&f) {
			t.Fatalf("one frame too many: %+v", f)
		}
	}
}

// carrying accepts frames that hold text.
func carrying(text string) func(*decode.Frame) bool {
	return func(f *decode.Frame) bool { return bytes.Contains(f.Data, []byte(text)) }
}

// packetOf decodes f.
func packetOf(t testing.TB, f *decode.Frame) decode.Packet {
	t.Helper()
	var (
		d decode.Decoder
		p decode.Packet
	)
	if err := d.Decode(f, &p); err != nil {
		t.Fatalf("%v in % x", err, f.Data)
	}
	return p
}

// udpPair is a socket on loopback and one that is connected to it.
type udpPair struct {
	server, client *net.UDPConn
	buf            [2048]byte
}

func newUDPPair(t testing.TB) *udpPair { return newUDPPairOn(t, net.IPv4(127, 0, 0, 1)) }

// newUDP6Pair is newUDPPair of IPv6.
func newUDP6Pair(t testing.TB) *udpPair { return newUDPPairOn(t, net.IPv6loopback) }

func newUDPPairOn(t testing.TB, ip net.IP) *udpPair {
	t.Helper()
	privnet.Require(t)
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	client, err := net.DialUDP("udp", nil, server.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return &udpPair{server: server, client: client}
}

// filter matches the pair's datagrams.
func (u *udpPair) filter() string {
	return fmt.Sprintf("udp port %d", u.server.LocalAddr().(*net.UDPAddr).Port)
}

func (u *udpPair) send(t testing.TB, b []byte) {
	t.Helper()
	if _, err := u.client.Write(b); err != nil {
		t.Fatal(err)
	}
}

// echo sends b and waits until it has come back.
func (u *udpPair) echo(t testing.TB, b []byte) {
	t.Helper()
	u.send(t, b)
	n, from, err := u.server.ReadFromUDPAddrPort(u.buf[:])
	if err == nil {
		_, err = u.server.WriteToUDPAddrPort(u.buf[:n], from)
	}
	if err == nil {
		_, err = u.client.Read(u.buf[:])
	}
	if err != nil {
		t.Fatal(err)
	}
}

func index(t testing.TB, name string) uint32 {
	t.Helper()
	iface, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(iface.Index)
}

func TestOnLoopbackEveryPacketIsSeenOnceAndInOrder(t *testing.T) {
	for _, name := range []string{"lo", "any"} {
		t.Run(name, func(t *testing.T) {
			udp := newUDPPair(t)
			l := openLive(t, &capture.LiveConfig{Interface: name, Filter: udp.filter()})
			const n = 50
			begin := decode.TimestampOf(time.Now())
			for i := range n {
				udp.echo(t, []byte{byte(i)})
			}
			frames := readFrames(t, l, 2*n, nil)
			end := decode.TimestampOf(time.Now())
			quiet(t, l, nil)

			link, header := decode.LinkEthernet, 14
			if name == "any" {
				link, header = decode.LinkSLL2, 20
			}
			last := begin
			for i, f := range frames {
				wantFrame := decode.Frame{
					Time: f.Time, Link: link, Dir: decode.DirInbound, Checksums: decode.ChecksumsPartial,
					Iface: index(t, "lo"), Wire: header + 20 + 8 + 1, Data: f.Data,
				}
				if diff := cmp.Diff(wantFrame, f); diff != "" || len(f.Data) != f.Wire {
					t.Fatalf("frame %d, %d bytes (-want +got):\n%s", i, len(f.Data), diff)
				}
				p := packetOf(t, &f)
				if p.Proto != decode.ProtoUDP || !bytes.Equal(p.Payload, []byte{byte(i / 2)}) {
					t.Fatalf("frame %d is %+v", i, p)
				}
				reply := p.Src == decode.EndpointOf(udp.server.LocalAddr().(*net.UDPAddr).AddrPort())
				if reply != (i%2 == 1) {
					t.Fatalf("frame %d is from %v", i, p.Src)
				}
				if f.Time < last {
					t.Fatalf("frame %d is stamped %v, %v before its predecessor", i, f.Time.Time(), last.Sub(f.Time))
				}
				last = f.Time
			}
			if last > end {
				t.Errorf("the last stamp is %v ahead of now", last.Sub(end))
			}

			want := capture.Stats{Frames: 2 * n, Received: 4 * n, LoCopies: 2 * n}
			for _, when := range []string{"open", "open, asked again", "closed"} {
				if when == "closed" {
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
				}
				st, err := l.Stats()
				if diff := cmp.Diff(want, st); diff != "" || err != nil {
					t.Errorf("%s: %v (-want +got):\n%s", when, err, diff)
				}
			}
		})
	}
}

// segmentsSent returns the kernel's count of TCP segments sent in this network.
func segmentsSent(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/net/snmp")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if fields[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		var n int
		if _, err := fmt.Sscan(fields[slices.Index(names, "OutSegs")], &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Fatal("no Tcp line in /proc/net/snmp")
	return 0
}

func TestEverySegmentOfAConnectionIsSeen(t *testing.T) {
	l := openLive(t, &capture.LiveConfig{Interface: "lo", Filter: "tcp"})
	before := segmentsSent(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		if _, err := server.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	client.Close()
	if _, err := server.Read(make([]byte, 1)); err == nil {
		t.Fatal("no end of the stream")
	}
	server.Close()

	// It is over with the acknowledgment of the second FIN.
	var segments []decode.Packet
	for fins, acked := 0, false; !acked; {
		f := readFrames(t, l, 1, nil)[0]
		p := packetOf(t, &f)
		segments = append(segments, p)
		acked = fins == 2 && !p.Segment.Flags.Any(decode.FIN)
		if p.Segment.Flags.Has(decode.FIN) {
			fins++
		}
	}
	if sent := segmentsSent(t) - before; len(segments) != sent {
		t.Errorf("%d segments captured, the kernel has sent %d", len(segments), sent)
	}
	if first, second := segments[0].Segment.Flags, segments[1].Segment.Flags; first.Any(decode.ACK) || !first.Has(decode.SYN) || !second.Has(decode.SYN|decode.ACK) {
		t.Errorf("it begins with %b, %b, want SYN and SYN-ACK", first, second)
	}
}

// veth makes the pair va, vb, which the test's end removes.
func veth(t testing.TB) {
	t.Helper()
	privnet.Require(t)
	if err := privnet.Veth("va", "vb"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeLink(t, "va") })
}

func removeLink(t testing.TB, name string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		t.Error(err)
	}
}

func setLink(t testing.TB, name string, set func(netlink.Link) error) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = set(link)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// udpFrame returns a UDP datagram in IPv4, in Ethernet unless to is nil.
func udpFrame(t testing.TB, to net.HardwareAddr, payload string) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4(10, 1, 1, 1), DstIP: net.IPv4(10, 1, 1, 2)}
	udp := &layers.UDP{SrcPort: 4242, DstPort: 4243}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	stack := []gopacket.SerializableLayer{ip, udp, gopacket.Payload(payload)}
	if to != nil {
		stack = slices.Insert(stack, 0, gopacket.SerializableLayer(&layers.Ethernet{
			SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: to, EthernetType: layers.EthernetTypeIPv4,
		}))
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// transmit sends a frame on an interface.
func transmit(t testing.TB, name string, frame []byte) {
	t.Helper()
	conn, err := raw.Open(raw.Socket{Domain: raw.AF_PACKET, Type: raw.SOCK_RAW}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	proto := raw.Protocol(binary.BigEndian.Uint16(frame[12:]))
	if _, err := conn.WriteTo(frame, &raw.Addr{Interface: int(index(t, name)), Protocol: proto}); err != nil {
		t.Fatal(err)
	}
}

func TestOnARealLinkOutgoingFramesAreKept(t *testing.T) {
	veth(t)
	a := openLive(t, &capture.LiveConfig{Interface: "va"})
	b := openLive(t, &capture.LiveConfig{Interface: "vb"})
	all := openLive(t, &capture.LiveConfig{})
	frame := udpFrame(t, broadcast, "to everybody")
	transmit(t, "va", frame)
	stranger := udpFrame(t, net.HardwareAddr{2, 9, 9, 9, 9, 9}, "to a stranger")
	transmit(t, "va", stranger)

	ours := func(f *decode.Frame) bool { return carrying("to everybody")(f) || carrying("to a stranger")(f) }
	type seen struct {
		Iface uint32
		Dir   decode.Direction
		Data  []byte
	}
	va, vb := index(t, "va"), index(t, "vb")
	for _, tt := range []struct {
		name string
		live *capture.Live
		want []seen
	}{
		{"va", a, []seen{{va, decode.DirOutbound, frame}, {va, decode.DirOutbound, stranger}}},
		{"vb", b, []seen{{vb, decode.DirInbound, frame}, {vb, decode.DirOther, stranger}}},
		{"any", all, []seen{
			{va, decode.DirOutbound, frame[14:]},
			{vb, decode.DirInbound, frame[14:]},
			{va, decode.DirOutbound, stranger[14:]},
			{vb, decode.DirOther, stranger[14:]},
		}},
	} {
		var got []seen
		for _, f := range readFrames(t, tt.live, len(tt.want), ours) {
			if len(f.Data) != f.Wire {
				t.Errorf("%s: %d bytes, Wire is %d", tt.name, len(f.Data), f.Wire)
			}
			if tt.name == "any" {
				f.Data = f.Data[20:]
			}
			got = append(got, seen{f.Iface, f.Dir, f.Data})
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		quiet(t, tt.live, ours)
		if st, err := tt.live.Stats(); err != nil || st.LoCopies != 0 {
			t.Errorf("%s: %+v, %v", tt.name, st, err)
		}
	}
}

func TestACookedFrameHasAnSLL2Header(t *testing.T) {
	veth(t)
	l := openLive(t, &capture.LiveConfig{Interface: "any"})
	transmit(t, "va", udpFrame(t, broadcast, "cooked"))
	f := readFrames(t, l, 2, carrying("cooked"))[1] // the one that vb has received

	want := []byte{0x08, 0x00, 0, 0}
	want = binary.BigEndian.AppendUint32(want, index(t, "vb"))
	want = append(want, 0, unix.ARPHRD_ETHER, unix.PACKET_BROADCAST, 6, 2, 0, 0, 0, 0, 1, 0, 0)
	if f.Link != decode.LinkSLL2 || !bytes.Equal(f.Data[:20], want) {
		t.Fatalf("link %v, header\n% x, want\n% x", f.Link, f.Data[:20], want)
	}
}

// The kernel takes the outer tag out of a frame that it receives, whether it
// has VLAN interfaces or not.
func TestVLANTagsAreRestored(t *testing.T) {
	frame := udpFrame(t, broadcast, "tagged")
	for _, tt := range []struct {
		name string
		tags []byte
	}{
		{"802.1Q", []byte{0x81, 0x00, 0xe0, 0x07}}, // priority 7, VLAN 7
		{"802.1ad", []byte{0x88, 0xa8, 0x00, 0x07}},
		{"stacked", []byte{0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x08}},
		{"VLAN 0", []byte{0x81, 0x00, 0x00, 0x00}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			veth(t)
			b := openLive(t, &capture.LiveConfig{Interface: "vb"})
			all := openLive(t, &capture.LiveConfig{})
			tagged := slices.Concat(frame[:12], tt.tags, frame[12:])
			transmit(t, "va", tagged)

			f := readFrames(t, b, 1, carrying("tagged"))[0]
			if !bytes.Equal(f.Data, tagged) || f.Wire != len(tagged) {
				t.Errorf("on vb, Wire %d:\n% x, want\n% x", f.Wire, f.Data, tagged)
			}
			if p := packetOf(t, &f); string(p.Payload) != "tagged" {
				t.Errorf("on vb it decodes to %+v", p)
			}

			for _, f := range readFrames(t, all, 2, carrying("tagged")) {
				want := slices.Concat(tagged[12:14], f.Data[2:20], tagged[14:])
				if f.Dir == decode.DirOutbound { // of those that are sent, the kernel tells one tag
					want = slices.Concat(tagged[12:14], f.Data[2:20], tagged[14:16], frame[12:])
				}
				if !bytes.Equal(f.Data, want) || f.Wire != len(want) {
					t.Errorf("on any, %v, Wire %d:\n% x, want\n% x", f.Dir, f.Wire, f.Data, want)
				}
				if p := packetOf(t, &f); string(p.Payload) != "tagged" {
					t.Errorf("on any, %v, it decodes to %+v", f.Dir, p)
				}
			}
		})
	}
}

// A sender that calls its tagged frame IPv4 does not mislead the reader.
func TestAWronglyNamedTaggedFrameIsUnderstood(t *testing.T) {
	veth(t)
	all := openLive(t, &capture.LiveConfig{})
	frame := udpFrame(t, broadcast, "misnamed")
	conn, err := raw.Open(raw.Socket{Domain: raw.AF_PACKET, Type: raw.SOCK_RAW}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tagged := slices.Concat(frame[:12], []byte{0x81, 0, 0, 7}, frame[12:])
	if _, err := conn.WriteTo(tagged, &raw.Addr{Interface: int(index(t, "va")), Protocol: raw.ETH_P_IP}); err != nil {
		t.Fatal(err)
	}
	for _, f := range readFrames(t, all, 2, carrying("misnamed")) {
		if p := packetOf(t, &f); string(p.Payload) != "misnamed" {
			t.Errorf("%v: it decodes to %+v", f.Dir, p)
		}
	}
}

func TestAnInterfaceWithoutLinkHeaderGivesRawIP(t *testing.T) {
	privnet.Require(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "tun7"
	tun := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI, Queues: 1, NonPersist: true}
	if err := netlink.LinkAdd(tun); err != nil {
		t.Skipf("no tun device: %v", err) // an ordinary user may not open /dev/net/tun
	}
	defer tun.Fds[0].Close()
	setLink(t, "tun7", netlink.LinkSetUp)
	l := openLive(t, &capture.LiveConfig{Interface: "tun7", Filter: "udp port 4243"})
	packet := udpFrame(t, nil, "no link")
	if _, err := tun.Fds[0].Write(packet); err != nil {
		t.Fatal(err)
	}
	f := readFrames(t, l, 1, nil)[0]
	want := decode.Frame{
		Time: f.Time, Link: decode.LinkRaw, Dir: decode.DirInbound, Checksums: f.Checksums,
		Iface: index(t, "tun7"), Wire: len(packet), Data: packet,
	}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSnaplenCutsTheFrameButNotItsWireLength(t *testing.T) {
	for name, header := range map[string]int{"lo": 14, "any": 20} {
		for _, filtered := range []bool{true, false} {
			udp := newUDPPair(t)
			cfg := &capture.LiveConfig{Interface: name, Snaplen: 60}
			if filtered {
				cfg.Filter = udp.filter()
			}
			l := openLive(t, cfg)
			udp.send(t, make([]byte, 500))
			f := readFrames(t, l, 1, func(f *decode.Frame) bool { return f.Wire >= 500 })[0]
			if len(f.Data) != 60 || f.Wire != header+20+8+500 {
				t.Errorf("%s: %d of %d bytes, want 60 of %d", name, len(f.Data), f.Wire, header+20+8+500)
			}
			l.Close()
		}
	}
}

func TestTheLargestFrameIsWhole(t *testing.T) {
	udp := newUDPPair(t)
	l := openLive(t, &capture.LiveConfig{Interface: "lo", Filter: "udp or ip[6:2] & 0x1fff != 0"})
	udp.send(t, make([]byte, 65507))
	f := readFrames(t, l, 1, nil)[0]
	if len(f.Data) != f.Wire || f.Wire != 14+65535 {
		t.Fatalf("%d of %d bytes, want all of %d", len(f.Data), f.Wire, 14+65535)
	}
}

func TestTheFilterIsInPlaceFromTheBeginning(t *testing.T) {
	wanted, other := newUDPPair(t), newUDPPair(t)
	for _, name := range []string{"lo", "any"} {
		// Traffic that must not be seen goes on while the capture is opened.
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = other.client.Write([]byte("unwanted"))
				}
			}
		}()
		for range 20 {
			l := openLive(t, &capture.LiveConfig{Interface: name, Filter: wanted.filter()})
			wanted.send(t, []byte("wanted"))
			if f := readFrames(t, l, 1, nil)[0]; !carrying("wanted")(&f) || carrying("unwanted")(&f) {
				t.Fatalf("%s: slipped in: %q", name, f.Data)
			}
			l.Close()
		}
		close(stop)
		<-stopped
	}
}

func TestWhatAStoppedReaderLosesIsCounted(t *testing.T) {
	udp := newUDPPair(t)
	l := openLive(t, &capture.LiveConfig{Interface: "lo", Filter: udp.filter(), Buffer: 1}) // the smallest ring
	const sent = 1000
	payload := make([]byte, 1000)
	for range sent {
		udp.send(t, payload)
	}
	var f decode.Frame
	setDeadline(t, l, patience)
	read := uint64(0)
	for l.Buffered() {
		if err := l.ReadFrame(&f); err != nil {
			t.Fatal(err)
		}
		read++
	}
	st, err := l.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if st.Dropped == 0 || st.Frames != read || st.Received != 2*sent || st.Frames+st.LoCopies+st.Dropped != 2*sent {
		t.Errorf("%d sent, each seen twice; %d read: %+v", sent, read, st)
	}

	// It goes on.
	udp.echo(t, []byte("after"))
	readFrames(t, l, 1, carrying("after"))
	later, err := l.Stats()
	if err != nil || later.Dropped != st.Dropped || later.Received != 2*sent+4 {
		t.Errorf("then: %+v, %v", later, err)
	}
}

// Frames that come slowly fill a ring with nearly empty blocks, one a
// millisecond: three times as many as this one has.
func TestAStoppedReaderLosesNothingOfATrickle(t *testing.T) {
	udp := newUDPPair(t)
	const blocks = 128
	l := openLive(t, &capture.LiveConfig{Interface: "lo", Filter: udp.filter(), Buffer: blocks * 128 << 10})
	tick := time.NewTicker(2 * time.Millisecond) // each has a block for itself
	defer tick.Stop()
	var sent []string
	for i := range 3 * blocks {
		<-tick.C
		sent = append(sent, fmt.Sprintf("number %03d", i))
		udp.send(t, []byte(sent[i]))
		if i == 2*blocks { // one frame of a block is read, the others wait
			first := readFrames(t, l, 1, nil)[0]
			if !carrying(sent[0])(&first) {
				t.Fatalf("first: % x", first.Data)
			}
		}
	}
	for i, f := range readFrames(t, l, len(sent)-1, nil) {
		if want := sent[1+i]; !carrying(want)(&f) {
			t.Fatalf("%s: % x", want, f.Data)
		}
	}
	if st, err := l.Stats(); err != nil || st.Dropped != 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestCloseEndsAReaderWithin50ms(t *testing.T) { eachSource(t, closeEndsAReader) }

func closeEndsAReader(t *testing.T, open opener) {
	var worst, whole time.Duration
	for range 20 {
		l := open(t, "port 1")
		ended, started := make(chan error, 1), make(chan struct{})
		var end time.Time
		go func() {
			var f decode.Frame
			close(started)
			err := l.ReadFrame(&f)
			end = time.Now()
			ended <- err
		}()
		<-started
		begin := time.Now()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		whole = max(whole, time.Since(begin))
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("ReadFrame: %v, want net.ErrClosed", err)
		}
		worst = max(worst, end.Sub(begin))
		if err := l.Close(); err != nil {
			t.Errorf("closed again: %v", err)
		}
		var f decode.Frame
		if err := l.ReadFrame(&f); !errors.Is(err, net.ErrClosed) {
			t.Errorf("ReadFrame after Close: %v", err)
		}
		if !l.Buffered() {
			t.Error("after Close, ReadFrame does not wait")
		}
	}
	t.Logf("the slowest of 20: ReadFrame ended after %v, Close after %v", worst, whole)
	if worst > 50*time.Millisecond {
		t.Errorf("the slowest took %v", worst)
	}
}

func TestCloseUnderTraffic(t *testing.T) { eachSource(t, closeUnderTraffic) }

func closeUnderTraffic(t *testing.T, open opener) {
	udp := newUDPPair(t)
	stop := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = udp.client.Write([]byte("traffic"))
			}
		}
	})
	defer sender.Wait()
	defer close(stop)
	for range 50 {
		l := open(t, "")
		readFrames(t, l, 1+rand.IntN(20), nil)
		var users sync.WaitGroup
		users.Go(func() {
			var f decode.Frame
			for {
				if err := l.ReadFrame(&f); err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("ReadFrame: %v", err)
					}
					return
				}
			}
		})
		for range 2 {
			users.Go(func() {
				if _, err := l.Stats(); err != nil {
					t.Errorf("Stats: %v", err)
				}
				_ = l.SetReadDeadline(time.Time{})
				if err := l.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				if _, err := l.Stats(); err != nil {
					t.Errorf("Stats after Close: %v", err)
				}
			})
		}
		users.Wait()
	}
}

// held counts what a capture could leave behind.
func held(t *testing.T) (descriptors, rings, goroutines int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds), bytes.Count(maps, []byte("socket:[")), runtime.NumGoroutine()
}

func TestNothingIsLeftBehind(t *testing.T) {
	udp := newUDPPair(t) // the poller itself has descriptors, made once
	descriptors, rings, goroutines := held(t)
	for range 10 {
		l := openLive(t, &capture.LiveConfig{Buffer: 1 << 20})
		if _, open, _ := held(t); open != rings+1 {
			t.Fatalf("%d rings are mapped, want %d", open, rings+1)
		}
		udp.send(t, []byte("x"))
		readFrames(t, l, 1, nil)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := capture.OpenLive(&capture.LiveConfig{Interface: "eth9"}); err == nil {
			t.Fatal("eth9 exists")
		}
	}
	d, r, g := held(t)
	if d != descriptors || r != rings || g > goroutines {
		t.Errorf("%d descriptors, %d rings, %d goroutines; before %d, %d, %d", d, r, g, descriptors, rings, goroutines)
	}
}

func TestDeadlines(t *testing.T) { eachSource(t, deadlines) }

func deadlines(t *testing.T, open opener) {
	udp := newUDPPair(t)
	l := open(t, udp.filter())
	var f decode.Frame
	setDeadline(t, l, 20*time.Millisecond)
	begin := time.Now()
	if err := l.ReadFrame(&f); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if waited := time.Since(begin); waited < 15*time.Millisecond || waited > time.Second {
		t.Errorf("it waited %v, want 20 ms", waited)
	}
	if err := l.ReadFrame(&f); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("again: %v", err)
	}

	// One set from elsewhere ends a ReadFrame under way.
	if err := l.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- l.ReadFrame(&f) }()
	if err := l.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("from elsewhere: %v", err)
	}

	// Frames at hand are given even so.
	udp.send(t, []byte("x"))
	for begin := time.Now(); !l.Buffered(); {
		if time.Since(begin) > patience {
			t.Fatal("no frame comes")
		}
	}
	if err := l.ReadFrame(&f); err != nil {
		t.Fatalf("a frame was at hand: %v", err)
	}
}

func TestFramesArriveWithinTwoMilliseconds(t *testing.T) {
	udp := newUDPPair(t)
	l := openLive(t, &capture.LiveConfig{Interface: "lo", Filter: udp.filter()})
	setDeadline(t, l, time.Minute)
	const n = 200
	go func() {
		for range n { // paced, each at another moment of the ring's timer
			time.Sleep(2*time.Millisecond + rand.N(time.Millisecond))
			_, _ = udp.client.Write([]byte("x"))
		}
	}()
	var delays []time.Duration
	var f decode.Frame
	for range n {
		if err := l.ReadFrame(&f); err != nil {
			t.Fatal(err)
		}
		delays = append(delays, decode.TimestampOf(time.Now()).Sub(f.Time))
	}
	slices.Sort(delays)
	t.Logf("p50 %v, p90 %v, max %v", delays[n/2], delays[n*9/10], delays[n-1])
	if delays[0] < 0 {
		t.Errorf("a frame is read %v before it is stamped", -delays[0])
	}
	if delays[n/2] > 2*time.Millisecond {
		t.Errorf("p50 is %v", delays[n/2])
	}
}

func TestReadingAllocatesNothing(t *testing.T) { eachSource(t, readingAllocatesNothing) }

func readingAllocatesNothing(t *testing.T, open opener) {
	udp := newUDPPair(t)
	l := open(t, udp.filter())
	setDeadline(t, l, time.Minute)
	f := decode.Frame{Data: make([]byte, 0, 2048)}
	payload := []byte("x")
	// Each run waits for its own frame, so this holds for waiting too.
	if n := testing.AllocsPerRun(100, func() {
		udp.send(t, payload)
		if err := l.ReadFrame(&f); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

// transmitUntilSeen sends a broadcast on va until l has it: a link that has
// just come up loses frames for a while.
func transmitUntilSeen(t *testing.T, l *capture.Live, payload string) {
	t.Helper()
	frame := udpFrame(t, broadcast, payload)
	for begin := time.Now(); time.Since(begin) < patience; {
		transmit(t, "va", frame)
		setDeadline(t, l, 20*time.Millisecond)
		for {
			var f decode.Frame
			err := l.ReadFrame(&f)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if carrying(payload)(&f) {
				return
			}
		}
	}
	t.Fatalf("%q is not seen", payload)
}

func TestAnInterfaceThatGoesDownIsToldAndWaitedFor(t *testing.T) {
	veth(t)
	// The kernel's own IPv6 messages stay out: one that vb sends just before it
	// goes down is handed over after the error.
	l := openLive(t, &capture.LiveConfig{Interface: "vb", Filter: "udp port 4243"})
	transmit(t, "va", udpFrame(t, broadcast, "before"))
	readFrames(t, l, 1, carrying("before"))

	isDown := func() {
		t.Helper()
		setDeadline(t, l, patience)
		for {
			var f decode.Frame
			err := l.ReadFrame(&f)
			if err == nil {
				continue
			}
			if !errors.Is(err, capture.ErrInterfaceDown) || err.Error() != "read live vb: interface is down" {
				t.Fatalf("got %v", err)
			}
			return
		}
	}
	for range 3 {
		setLink(t, "vb", netlink.LinkSetDown)
		isDown()
		quiet(t, l, nil)
		setLink(t, "vb", netlink.LinkSetUp)
		transmitUntilSeen(t, l, "after")
	}

	// While a reader waits.
	setDeadline(t, l, patience)
	ended := make(chan error)
	go func() {
		var f decode.Frame
		for {
			if err := l.ReadFrame(&f); err != nil {
				ended <- err
				return
			}
		}
	}()
	setLink(t, "vb", netlink.LinkSetDown)
	if err := <-ended; !errors.Is(err, capture.ErrInterfaceDown) {
		t.Fatalf("while waiting: %v", err)
	}

	// One that is down from the beginning.
	down := openLive(t, &capture.LiveConfig{Interface: "vb"})
	setDeadline(t, down, patience)
	var f decode.Frame
	if err := down.ReadFrame(&f); !errors.Is(err, capture.ErrInterfaceDown) {
		t.Fatalf("down from the beginning: %v", err)
	}
	setLink(t, "vb", netlink.LinkSetUp)
	transmitUntilSeen(t, down, "at last")
}

func TestARemovedInterfaceIsTold(t *testing.T) {
	veth(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "wa"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "wb"}); err != nil {
		t.Fatal(err)
	}
	setLink(t, "wa", netlink.LinkSetUp)
	l := openLive(t, &capture.LiveConfig{Interface: "wa", Filter: "udp port 4243"}) // not the kernel's own messages
	removeLink(t, "wa")
	setDeadline(t, l, patience)
	var f decode.Frame
	for {
		err := l.ReadFrame(&f)
		if errors.Is(err, capture.ErrInterfaceDown) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	quiet(t, l, nil)
}

func TestPromiscuousLastsAsLongAsTheCapture(t *testing.T) {
	veth(t)
	isPromiscuous := func() (on bool) {
		setLink(t, "vb", func(link netlink.Link) error {
			on = link.Attrs().Promisc > 0
			return nil
		})
		return on
	}
	l := openLive(t, &capture.LiveConfig{Interface: "vb"})
	if isPromiscuous() {
		t.Error("it is by itself")
	}
	l.Close()
	l = openLive(t, &capture.LiveConfig{Interface: "vb", Promiscuous: true})
	if !isPromiscuous() {
		t.Error("it is not")
	}
	l.Close()
	if isPromiscuous() {
		t.Error("it stays so")
	}
	openLive(t, &capture.LiveConfig{Promiscuous: true}) // on any: no error
}

func TestWhatCannotBeOpened(t *testing.T) {
	privnet.Require(t)
	for _, name := range []string{"eth9", "a-name-much-longer-than-allowed", "with/slash"} {
		_, err := capture.OpenLive(&capture.LiveConfig{Interface: name})
		if want := "open live " + name + ": no such interface"; !errors.Is(err, capture.ErrNoInterface) || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := capture.OpenLive(&capture.LiveConfig{Filter: "tcp prot 80"})
	if syntax := (*pcapfilter.SyntaxError)(nil); !errors.As(err, &syntax) || syntax.Word != "prot" {
		t.Errorf("a wrong filter: %v", err)
	}

	if cerr := privnet.WithoutCapabilities(func() { _, err = capture.OpenLive(nil) }); cerr != nil {
		t.Fatal(cerr)
	}
	op, sys := (*net.OpError)(nil), (*os.SyscallError)(nil)
	if !errors.Is(err, os.ErrPermission) || !errors.As(err, &op) || !errors.As(err, &sys) || sys.Syscall != "socket" {
		t.Errorf("without CAP_NET_RAW: %v", err)
	}
	if err == nil || !strings.HasPrefix(err.Error(), "open live any: socket(AF_PACKET, SOCK_DGRAM, 0): EPERM") {
		t.Errorf("without CAP_NET_RAW: %v", err)
	}
}
