package capture_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"finack/capture"
	"finack/decode"
	"finack/internal/pcapfilter"
	"finack/internal/privnet"
	"finack/raw"
)

var (
	_ capture.Source = (*capture.Socket)(nil)

	rawUDP    = raw.Socket{Domain: raw.AF_INET, Type: raw.SOCK_RAW, Protocol: raw.IPPROTO_UDP}
	rawUDP6   = raw.Socket{Domain: raw.AF_INET6, Type: raw.SOCK_RAW, Protocol: raw.IPPROTO_UDP}
	packetAll = raw.Socket{Domain: raw.AF_PACKET, Type: raw.SOCK_RAW, Protocol: raw.ETH_P_ALL}
)

// openSocket opens a capture that ends with the test.
func openSocket(t testing.TB, cfg *capture.SocketConfig) *capture.Socket {
	t.Helper()
	privnet.Require(t)
	s, err := capture.OpenSocket(cfg)
	return opened(t, s, err)
}

// awaitStamps returns when the kernel stamps packets as they arrive: it begins
// that a moment after it was asked to, and stamps them when they are read until
// then. There is no event for it.
func awaitStamps(t *testing.T, udp *udpPair, sources ...capture.Source) {
	t.Helper()
	for begin := time.Now(); ; {
		udp.send(t, []byte("stamped?"))
		time.Sleep(2 * time.Millisecond)
		read := decode.TimestampOf(time.Now())
		arrival := true
		for _, s := range sources {
			f := readFrames(t, s, 1, nil)[0]
			arrival = arrival && f.Time < read.Add(-time.Millisecond)
		}
		if arrival {
			return
		}
		if time.Since(begin) > patience {
			t.Fatal("packets are not stamped when they arrive")
		}
	}
}

// A raw socket gives what the ring gives after the link header, at the same
// time: of IPv4 as it came, of IPv6 with the header rebuilt to the last bit.
func TestARawSocketSeesWhatTheRingSees(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pair   func(testing.TB) *udpPair
		socket raw.Socket
	}{
		{"IPv4", newUDPPair, rawUDP},
		{"IPv6", newUDP6Pair, rawUDP6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			udp := tt.pair(t)
			ring := openLive(t, &capture.LiveConfig{Interface: "lo", Filter: udp.filter()})
			s := openSocket(t, &capture.SocketConfig{Sockets: []raw.Socket{tt.socket}, Filter: udp.filter()})
			if tt.name == "IPv6" {
				p := ipv6.NewConn(udp.client)
				if err := errors.Join(p.SetHopLimit(7), p.SetTrafficClass(0xb8)); err != nil {
					t.Fatal(err)
				}
			} else if err := ipv4.NewConn(udp.client).SetTTL(7); err != nil {
				t.Fatal(err)
			}
			awaitStamps(t, udp, ring, s)
			for _, payload := range []string{"", "x", strings.Repeat("long ", 400), "last"} {
				udp.send(t, []byte(payload))
			}
			want, got := readFrames(t, ring, 4, nil), readFrames(t, s, 4, nil)
			quiet(t, s, nil)
			labelled := false
			for i := range got {
				w := decode.Frame{
					Time: want[i].Time, Link: decode.LinkRaw, Dir: decode.DirInbound, Iface: want[i].Iface,
					Wire: want[i].Wire - 14, Data: want[i].Data[14:],
				}
				if diff := cmp.Diff(w, got[i]); diff != "" {
					t.Errorf("frame %d (-ring +socket):\n%s", i, diff)
				}
				if p := packetOf(t, &got[i]); p.TTL != 7 || p.Iface != index(t, "lo") {
					t.Errorf("frame %d: TTL %d, interface %d", i, p.TTL, p.Iface)
				}
				labelled = labelled || got[i].Data[0] == 0x6b && got[i].Data[1]&0xf0 == 0x80 && !bytes.Equal(got[i].Data[1:4], []byte{0x80, 0, 0})
			}
			if tt.name == "IPv6" && !labelled {
				t.Error("no packet had traffic class 0xb8 and a flow label: nothing is proved about them")
			}
		})
	}
}

// What lies between the IPv6 header and the protocol's own is not received; the
// rebuilt header agrees with what is.
func TestExtensionHeadersAreLost(t *testing.T) {
	udp := newUDP6Pair(t)
	s := openSocket(t, &capture.SocketConfig{Sockets: []raw.Socket{rawUDP6}, Filter: udp.filter()})
	rc, err := udp.client.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	options := string([]byte{0, 0, 1, 4, 0, 0, 0, 0}) // destination options: 8 bytes, PadN
	if cerr := rc.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.SOL_IPV6, unix.IPV6_DSTOPTS, options)
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	ring := openLive(t, &capture.LiveConfig{Interface: "lo", Filter: "ip6 proto 60"})
	udp.send(t, []byte("behind options"))
	sent := readFrames(t, ring, 1, nil)[0]
	f := readFrames(t, s, 1, nil)[0]
	if f.Wire != sent.Wire-14-8 || len(f.Data) != f.Wire {
		t.Errorf("%d bytes of %d, want %d", len(f.Data), f.Wire, sent.Wire-14-8)
	}
	if p := packetOf(t, &f); string(p.Payload) != "behind options" || p.Proto != decode.ProtoUDP {
		t.Errorf("%+v", p)
	}
}

// A fragmented packet comes as one, with a header that says so.
func TestFragmentsComePutTogether(t *testing.T) {
	four, six := newUDPPair(t), newUDP6Pair(t)
	link, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	mtu := func(n int) {
		t.Helper()
		if err := netlink.LinkSetMTU(link, n); err != nil {
			t.Fatal(err)
		}
	}
	mtu(1500)
	defer mtu(link.Attrs().MTU)
	s := openSocket(t, &capture.SocketConfig{Sockets: []raw.Socket{rawUDP, rawUDP6}, Filter: four.filter() + " or " + six.filter()})
	ring := openLive(t, &capture.LiveConfig{Interface: "lo", Filter: "ip6 or ip"})
	payload := bytes.Repeat([]byte("long "), 1600)
	four.send(t, payload)
	six.send(t, payload)
	for _, f := range readFrames(t, s, 2, nil) {
		p := packetOf(t, &f)
		if !bytes.Equal(p.Payload, payload) || p.Fragment || p.Len != len(payload) || f.Wire != len(f.Data) {
			t.Errorf("%d bytes of %d, fragment %v", len(p.Payload), len(payload), p.Fragment)
		}
	}
	for _, f := range readFrames(t, ring, 12, nil) { // 6 each: they were fragments indeed
		if p := packetOf(t, &f); !p.Fragment {
			t.Errorf("%+v is no fragment", p)
		}
	}
}

// Two sockets are one source, in the order of time.
func TestSocketsAreReadInTheOrderOfTime(t *testing.T) {
	four, six := newUDPPair(t), newUDP6Pair(t)
	s := openSocket(t, &capture.SocketConfig{
		Sockets: []raw.Socket{rawUDP, rawUDP6}, Filter: four.filter() + " or " + six.filter(),
	})
	const n = 100
	for i := range n {
		four.send(t, []byte{4, byte(i)})
		six.send(t, []byte{6, byte(i)})
	}
	var last decode.Timestamp
	for i, f := range readFrames(t, s, 2*n, nil) {
		p := packetOf(t, &f)
		if want := []byte{4 + 2*byte(i%2), byte(i / 2)}; !bytes.Equal(p.Payload, want) || f.Time < last {
			t.Fatalf("frame %d: % x at %d, want % x after %d", i, p.Payload, f.Time, want, last)
		}
		last = f.Time
	}
	st, err := s.Stats()
	if err != nil || st != (capture.Stats{Frames: 2 * n, Received: 2 * n}) {
		t.Errorf("%+v, %v", st, err)
	}
}

// The filter is the kernel's where the socket sees a header, and ours where
// not; it says the same.
func TestASocketIsFiltered(t *testing.T) {
	four, six := newUDPPair(t), newUDP6Pair(t)
	other, other6 := newUDPPair(t), newUDP6Pair(t)
	for _, tt := range []struct {
		filter  string
		sockets []raw.Socket // those that can match
		want    []string
	}{
		{"", []raw.Socket{rawUDP, rawUDP6}, []string{"other", "other6", "four", "six"}},
		{"ip", []raw.Socket{rawUDP}, []string{"other", "four"}},
		{"ip6", []raw.Socket{rawUDP6}, []string{"other6", "six"}},
		{four.filter() + " or " + six.filter(), []raw.Socket{rawUDP, rawUDP6}, []string{"four", "six"}},
		{"ip6 and " + six.filter(), []raw.Socket{rawUDP6}, []string{"six"}},
		{"ip6[6] = 17 and len = 51", []raw.Socket{rawUDP6}, []string{"six"}},
	} {
		t.Run(tt.filter, func(t *testing.T) {
			s := openSocket(t, &capture.SocketConfig{Sockets: []raw.Socket{rawUDP, rawUDP6}, Filter: tt.filter, Interface: "lo"})
			if diff := cmp.Diff(tt.sockets, s.Sockets()); diff != "" {
				t.Errorf("sockets (-want +got):\n%s", diff)
			}
			other.send(t, []byte("other"))
			other6.send(t, []byte("other6"))
			four.send(t, []byte("four"))
			six.send(t, []byte("six"))
			var got []string
			for _, f := range readFrames(t, s, len(tt.want), nil) {
				p := packetOf(t, &f)
				got = append(got, string(p.Payload))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			quiet(t, s, nil)
		})
	}
}

// A reader that is refused everything still keeps its deadline.
func TestADeadlineHoldsUnderRefusedTraffic(t *testing.T) {
	udp := newUDP6Pair(t)
	s := openSocket(t, &capture.SocketConfig{Sockets: []raw.Socket{rawUDP6}, Filter: "port 1"})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = udp.client.Write([]byte("refused"))
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	setDeadline(t, s, 100*time.Millisecond)
	var f decode.Frame
	begin := time.Now()
	if err := s.ReadFrame(&f); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if took := time.Since(begin); took > patience {
		t.Errorf("it took %v", took)
	}
}

// What a full receive buffer loses is counted at once, to the last frame.
func TestWhatASocketLosesIsCounted(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pair   func(testing.TB) *udpPair
		socket raw.Socket
		copies uint64
	}{
		{"AF_INET", newUDPPair, rawUDP, 1},
		{"AF_INET6", newUDP6Pair, rawUDP6, 1},
		{"AF_PACKET", newUDPPair, packetAll, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			udp := tt.pair(t)
			s := openSocket(t, &capture.SocketConfig{
				Sockets: []raw.Socket{tt.socket}, Filter: udp.filter(), Interface: "lo", Buffer: 20_000, LoCopies: true,
			})
			const n = 1000
			sent := n * tt.copies
			for range n {
				udp.send(t, make([]byte, 500))
			}
			var f decode.Frame
			read := uint64(0)
			for s.Buffered() {
				if err := s.ReadFrame(&f); err != nil {
					t.Fatal(err)
				}
				read++
			}
			st, err := s.Stats()
			if err != nil || st.Dropped == 0 || read == 0 || st.Frames != read || st.Frames+st.Dropped != sent || st.Received != sent {
				t.Errorf("%d sent, %d read: %+v, %v", sent, read, st, err)
			}
			t.Logf("%d sent: %+v", sent, st)

			// It goes on, and the totals stay after Close.
			udp.send(t, []byte("after"))
			readFrames(t, s, int(tt.copies), carrying("after"))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			later, err := s.Stats()
			if err != nil || later.Dropped != st.Dropped || later.Frames != st.Frames+tt.copies {
				t.Errorf("then: %+v, %v", later, err)
			}
		})
	}
}

// A packet socket makes the frames that the ring makes, tags and all.
func TestAPacketSocketSeesWhatTheRingSees(t *testing.T) {
	veth(t)
	const snaplen = 80
	plain := udpFrame(t, broadcast, "to everybody"+strings.Repeat(".", 100))
	tagged := slices.Concat(plain[:12], []byte{0x81, 0, 0x60, 7}, plain[12:])
	for _, tt := range []struct{ ring, socket string }{{"va", "va"}, {"vb", "vb"}, {"any", ""}} {
		typ := raw.SOCK_RAW
		if tt.ring == "any" {
			typ = raw.SOCK_DGRAM
		}
		ours := func(f *decode.Frame) bool { return carrying("to everybody")(f) }
		ring := openLive(t, &capture.LiveConfig{Interface: tt.ring, Snaplen: snaplen})
		s := openSocket(t, &capture.SocketConfig{
			Sockets: []raw.Socket{{Domain: raw.AF_PACKET, Type: typ, Protocol: raw.ETH_P_ALL}}, Interface: tt.socket, Snaplen: snaplen,
		})
		transmit(t, "va", plain)
		transmit(t, "va", tagged)
		n := 2
		if tt.ring == "any" {
			n = 4
		}
		want, got := readFrames(t, ring, n, ours), readFrames(t, s, n, ours)
		for i := range got {
			// The kernel begins to stamp frames a moment after it is asked to;
			// until then each socket has its own time of them.
			if d := got[i].Time.Sub(want[i].Time).Abs(); d > time.Second {
				t.Errorf("%s: frame %d came %v apart", tt.ring, i, d)
			}
			got[i].Time = want[i].Time
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-ring +socket):\n%s", tt.ring, diff)
		}
		quiet(t, s, ours)
	}
}

// On loopback the outgoing copies are left out, or kept where they are asked for.
func TestLoopbackCopiesOfAPacketSocket(t *testing.T) {
	udp := newUDPPair(t)
	cfg := capture.SocketConfig{Sockets: []raw.Socket{packetAll}, Filter: udp.filter(), Interface: "lo"}
	once := openSocket(t, &cfg)
	cfg.LoCopies = true
	twice := openSocket(t, &cfg)
	udp.send(t, []byte("x"))
	readFrames(t, once, 1, nil)
	quiet(t, once, nil)
	var dirs []decode.Direction
	for _, f := range readFrames(t, twice, 2, nil) {
		dirs = append(dirs, f.Dir)
	}
	if !slices.Equal(dirs, []decode.Direction{decode.DirOutbound, decode.DirInbound}) {
		t.Errorf("directions %v", dirs)
	}
	if st, err := once.Stats(); err != nil || st.LoCopies != 1 || st.Frames != 1 {
		t.Errorf("%+v, %v", st, err)
	}
}

// IPPROTO_RAW is for sending: it hears nothing but protocol 255.
func TestIPProtoRawHearsNothing(t *testing.T) {
	udp := newUDPPair(t)
	s := openSocket(t, &capture.SocketConfig{Sockets: []raw.Socket{{Domain: raw.AF_INET, Type: raw.SOCK_RAW, Protocol: raw.IPPROTO_RAW}}})
	udp.echo(t, []byte("x"))
	quiet(t, s, nil)
}

func TestSocketsLeaveNothingBehind(t *testing.T) {
	udp := newUDPPair(t)
	descriptors, _, goroutines := held(t)
	for range 10 {
		s := openSocket(t, &capture.SocketConfig{Sockets: []raw.Socket{rawUDP, rawUDP6}, Filter: udp.filter()})
		udp.send(t, []byte("x"))
		readFrames(t, s, 1, nil)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		// The first is open when the second is refused.
		unknown := raw.Socket{Domain: raw.AF_INET6, Type: raw.SOCK_RAW}
		if _, err := capture.OpenSocket(&capture.SocketConfig{Sockets: []raw.Socket{rawUDP, unknown}}); err == nil {
			t.Fatal("SOCK_RAW has a default protocol")
		}
	}
	if d, _, g := held(t); d != descriptors || g > goroutines {
		t.Errorf("%d descriptors, %d goroutines; before %d, %d", d, g, descriptors, goroutines)
	}
}

func TestSocketsThatCannotBeOpened(t *testing.T) {
	privnet.Require(t)
	open := func(cfg capture.SocketConfig) error {
		s, err := capture.OpenSocket(&cfg)
		if err == nil {
			s.Close()
		}
		return err
	}
	if err := open(capture.SocketConfig{Interface: "eth9"}); !errors.Is(err, capture.ErrNoInterface) || !strings.Contains(err.Error(), "eth9") {
		t.Errorf("eth9: %v", err)
	}
	err := open(capture.SocketConfig{Filter: "tcp prot 80"})
	if syntax := (*pcapfilter.SyntaxError)(nil); !errors.As(err, &syntax) {
		t.Errorf("a wrong filter: %v", err)
	}
	if err := open(capture.SocketConfig{Filter: "arp"}); !errors.Is(err, pcapfilter.ErrRejectsAll) {
		t.Errorf("a filter that matches nothing there: %v", err)
	}
	stream := raw.Socket{Domain: raw.AF_INET, Type: raw.SOCK_STREAM, Protocol: raw.IPPROTO_TCP}
	if err := open(capture.SocketConfig{Sockets: []raw.Socket{stream}}); err == nil || !strings.Contains(err.Error(), "SOCK_STREAM") {
		t.Errorf("a stream: %v", err)
	}
	none := raw.Socket{Domain: raw.AF_INET, Type: raw.SOCK_RAW}
	if err := open(capture.SocketConfig{Sockets: []raw.Socket{none}}); !errors.Is(err, unix.EPROTONOSUPPORT) {
		t.Errorf("without a protocol: %v", err)
	}
	if cerr := privnet.WithoutCapabilities(func() { err = open(capture.SocketConfig{}) }); cerr != nil {
		t.Fatal(cerr)
	}
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "socket(AF_INET, SOCK_RAW, IPPROTO_TCP): EPERM") {
		t.Errorf("without CAP_NET_RAW: %v", err)
	}
}
