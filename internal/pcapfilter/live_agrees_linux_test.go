package pcapfilter_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"finack/capture"
	"finack/decode"
	"finack/internal/pcapfilter"
	"finack/internal/privnet"
	"finack/raw"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

// sentinelType is an EtherType for experiments (IEEE 802): the last frame's.
const sentinelType = 0x88b5

// TestTheKernelFiltersAsFiles sends every crafted frame over a veth pair. What
// a capture with a filter gets must be what the filter's program for files
// selects of a capture without one: of frames that come in, whose tag the
// kernel takes out, and of those that are sent with the tag in them.
func TestTheKernelFiltersAsFiles(t *testing.T) {
	privnet.Require(t)
	exprs := append(sharedFilters(t),
		"vlan and vlan", "vlan and vlan and ip", "vlan 100 and vlan 200 and tcp port 80", "vlan or tcp", "not vlan", "tcp or vlan", "vlan 7 and ip6",
		"vlan and arp", "vlan and mpls and tcp", "vlan and pppoes and udp", "vlan and tcp[tcpflags] & tcp-syn != 0", "vlan and ip[ip[0] & 0xf] != 0",
		"vlan and ip protochain 6", "vlan and geneve and tcp", "vlan and ether src 00:11:22:33:44:55", "vlan and multicast",
		"mpls 100000 and mpls 1024", "mpls and ip6 host fe80::1", "pppoes 39 and ip", "pppoes and tcp port 80", "pppoed", "pppoes and mpls and tcp",
		"geneve and tcp", "geneve 10 and ip6", "geneve and vlan 100", "geneve and broadcast", "geneve and geneve and tcp", "geneve or tcp",
		"protochain 6", "ip6 protochain 17", "multicast", "ip multicast", "ip broadcast", "stp", "iso", "isis", "l1", "ipx", "atalk", "aarp", "llc s", "llc",
		"ether proto 0x8100", "ether proto 0x88a8", "greater 100", "len - 14 > 46", "inbound", "byte 0 = 1")
	for i, e := range exprs {
		if e == "ifname lo" {
			exprs = slices.Delete(exprs, i, i+1) // no filter: see TestTheCorpusIsFilteredAsByTcpdump
			break
		}
	}
	if err := privnet.Veth("va", "vb"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		link, err := netlink.LinkByName("va")
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if err != nil {
			t.Error(err)
		}
	})
	frames := wholeFrames(t)

	for _, tt := range []struct {
		name, iface string
		link        decode.LinkType
		want        func(f *decode.Frame) bool // of the frames, those that are compared
	}{
		{"received", "vb", decode.LinkEthernet, func(*decode.Frame) bool { return true }},
		{"sent", "va", decode.LinkEthernet, func(*decode.Frame) bool { return true }},
		// Of frames that were sent through a packet socket, SOCK_DGRAM tells only one tag.
		{"any", "any", decode.LinkSLL2, func(f *decode.Frame) bool { return f.Dir != decode.DirOutbound }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			send := sender(t)
			// Opening and closing wait for the kernel: so several at a time.
			for batch := range slices.Chunk(exprs, 24) {
				lists := captured(t, tt.iface, batch, frames, tt.want, send)
				all := lists[0]
				for i, expr := range batch {
					got := lists[i+1]
					if tt.iface == "any" && dependsOnHeader(expr) {
						continue
					}
					selected, ok := selects(t, expr, tt.link)
					if !ok {
						continue
					}
					want := slices.DeleteFunc(slices.Clone(all), func(f seen) bool { return !selected(&f.frame) })
					if diff := cmp.Diff(names(want), names(got)); diff != "" {
						t.Errorf("%q (-file +kernel):\n%s", expr, diff)
					}
				}
			}
		})
	}
}

// dependsOnHeader reports whether an expression speaks of the link header's
// bytes or length, which on all interfaces are not the same live: there the
// kernel shows each frame's own, a file the cooked one.
func dependsOnHeader(expr string) bool {
	return strings.Contains(expr, "len") || strings.Contains(expr, "less") || strings.Contains(expr, "greater") || strings.Contains(expr, "byte")
}

// seen is a frame that was sent, as a capture gives it.
type seen struct {
	name  string
	frame decode.Frame
}

func names(frames []seen) []string {
	var list []string
	for _, f := range frames {
		list = append(list, f.name)
	}
	return list
}

// wholeFrames returns the crafted frames that a link carries as they are, and
// the sentinel.
func wholeFrames(t *testing.T) []pcapfilter.Frame {
	var frames []pcapfilter.Frame
	for _, f := range pcapfilter.CraftedFrames(t) {
		if strings.HasSuffix(f.Name(), " cut") || len(f.Data()) < 22 {
			continue
		}
		if proto := binary.BigEndian.Uint16(f.Data()[12:]); proto <= 1500 || proto >= 1536 { // a length or an EtherType
			frames = append(frames, f)
		}
	}
	end := binary.BigEndian.AppendUint16([]byte("\x66\x77\x88\x99\xaa\xbb\x00\x11\x22\x33\x44\x55"), sentinelType)
	return append(frames, pcapfilter.NewFrame("end", append(end, make([]byte, 46)...), 60))
}

func sender(t *testing.T) func(pcapfilter.Frame) {
	va, err := net.InterfaceByName("va")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := raw.Open(raw.Socket{Domain: raw.AF_PACKET, Type: raw.SOCK_RAW}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return func(f pcapfilter.Frame) {
		proto := binary.BigEndian.Uint16(f.Data()[12:])
		if proto <= 1500 {
			proto = 4 // ETH_P_802_2
			if f.Data()[14] == 0xff {
				proto = 1 // ETH_P_802_3
			}
		}
		if _, err := conn.WriteTo(f.Data(), &raw.Addr{Interface: va.Index, Protocol: raw.Protocol(proto)}); err != nil {
			t.Fatalf("%s: %v", f.Name(), err)
		}
	}
}

// captured sends the frames and returns what the captures of openAll got. On a
// busy machine one may lose frames: then all is done again.
func captured(t *testing.T, iface string, exprs []string, frames []pcapfilter.Frame, wanted func(*decode.Frame) bool, send func(pcapfilter.Frame)) [][]seen {
	t.Helper()
	for range 10 {
		captures := openAll(t, iface, exprs)
		readings := make([]chan reading, len(captures))
		for i, l := range captures {
			readings[i] = make(chan reading, 1)
			go func() { readings[i] <- frameList(l, frames, wanted) }()
		}
		for _, f := range frames {
			send(f)
		}
		var lists [][]seen
		lost := false
		for _, c := range readings {
			r := await(t, c, func() { send(frames[len(frames)-1]) })
			lists = append(lists, r.list)
			lost = lost || r.lost
		}
		closeAll(t, captures)
		if !lost {
			return lists
		}
	}
	t.Fatal("the captures lose frames again and again")
	return nil
}

// openAll opens a capture without a filter, and one for each expression that
// also accepts the sentinel.
func openAll(t *testing.T, iface string, exprs []string) []*capture.Live {
	t.Helper()
	captures := make([]*capture.Live, len(exprs)+1)
	errs := make([]error, len(captures))
	var opening sync.WaitGroup
	for i := range captures {
		opening.Go(func() {
			cfg := capture.LiveConfig{Interface: iface, Buffer: 1 << 20}
			if i > 0 {
				cfg.Filter = fmt.Sprintf("ether proto %d or (%s)", sentinelType, exprs[i-1])
			}
			captures[i], errs[i] = capture.OpenLive(&cfg)
		})
	}
	opening.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return captures
}

func closeAll(t *testing.T, captures []*capture.Live) {
	t.Helper()
	errs := make([]error, len(captures))
	var closing sync.WaitGroup
	for i, l := range captures {
		closing.Go(func() { errs[i] = l.Close() })
	}
	closing.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// selects returns what an expression's program for files of a link type says
// of a frame; not ok if such frames do not tell it.
func selects(t *testing.T, expr string, link decode.LinkType) (selected func(f *decode.Frame) bool, ok bool) {
	switch expr {
	case "inbound":
		return func(f *decode.Frame) bool { return f.Dir != decode.DirOutbound }, true
	case "outbound":
		return func(f *decode.Frame) bool { return f.Dir == decode.DirOutbound }, true
	}
	filter, err := pcapfilter.Parse(expr)
	if err != nil {
		t.Fatal(err)
	}
	prog, err := filter.ForLink(uint16(link))
	var syntax *pcapfilter.SyntaxError
	switch {
	case errors.Is(err, pcapfilter.ErrRejectsAll):
		return func(*decode.Frame) bool { return false }, true
	case errors.As(err, &syntax) && link == decode.LinkSLL2:
		return nil, false
	case err != nil:
		t.Fatalf("%q: %v", expr, err)
	}
	return func(f *decode.Frame) bool { return prog.Match(f.Data, f.Wire) }, true
}

// reading is what a capture gave.
type reading struct {
	list []seen
	lost bool
	err  error
}

// frameList reads to the sentinel and returns the frames that were sent and are
// wanted.
func frameList(l *capture.Live, sent []pcapfilter.Frame, wanted func(*decode.Frame) bool) (r reading) {
	for {
		var f decode.Frame
		if r.err = l.ReadFrame(&f); r.err != nil {
			return r
		}
		i := slices.IndexFunc(sent, func(s pcapfilter.Frame) bool { return same(&f, s.Data()) })
		switch {
		case i < 0 || !wanted(&f): // or the kernel's own
		case i == len(sent)-1:
			var st capture.Stats
			st, r.err = l.Stats()
			r.lost = st.Dropped > 0
			return r
		default:
			r.list = append(r.list, seen{sent[i].Name(), f})
		}
	}
}

// await returns what a capture gave. A busy machine may lose frames between the
// ends of the pair, so the sentinel is sent again after a while.
func await(t *testing.T, list chan reading, again func()) reading {
	t.Helper()
	for range 20 {
		select {
		case r := <-list:
			if r.err != nil {
				t.Fatal(r.err)
			}
			return r
		case <-time.After(time.Second):
			again()
		}
	}
	t.Fatal("the last frame does not come")
	return reading{}
}

// same reports whether f is the Ethernet frame that was sent.
func same(f *decode.Frame, sent []byte) bool {
	if f.Link == decode.LinkSLL2 {
		return len(f.Data) > 20 && string(f.Data[20:]) == string(sent[14:])
	}
	return string(f.Data) == string(sent)
}
