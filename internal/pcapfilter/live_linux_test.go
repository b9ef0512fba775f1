package pcapfilter_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"finack/internal/pcapfilter"
	"finack/internal/privnet"
	"finack/raw"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) { os.Exit(privnet.Main(m)) }

// TestLiveOnLoopback attaches programs to packet sockets and sends known
// traffic over lo: every datagram carries its name.
func TestLiveOnLoopback(t *testing.T) {
	privnet.Require(t)
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	const (
		v4, v6   = "127.0.0.1", "::1"
		sentinel = 9999
	)
	for _, host := range []string{v4, v6} {
		// Listeners, so that no ICMP error quotes the datagrams.
		for _, port := range []int{7001, 7002, sentinel} {
			c, err := net.ListenPacket("udp", net.JoinHostPort(host, fmt.Sprint(port)))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
	}
	send := func(host string, port int, name string) {
		t.Helper()
		c, err := net.Dial("udp", net.JoinHostPort(host, fmt.Sprint(port)))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("<" + name + ">")); err != nil {
			t.Fatal(err)
		}
	}

	for _, tt := range []struct {
		expr string
		want string // the datagrams received, once in and once out each
	}{
		{"udp", "a4 a4 b4 b4 a6 a6 b6 b6"},
		{"tcp", ""},
		{"port 7001", "a4 a4 a6 a6"},
		{"udp dst port 7002", "b4 b4 b6 b6"},
		{"portrange 7000-7001 and ip", "a4 a4"},
		{"host 127.0.0.1 and not port 7001", "b4 b4"},
		{"net 127.0.0.0/8", "a4 a4 b4 b4"},
		{"ip6 host ::1 and udp", "a6 a6 b6 b6"},
		{"inbound", "a4 b4 a6 b6"},
		{"outbound and port 7001", "a4 a6"},
		{"udp[2:2] = 7001", "a4 a4"},
		{"udp[9] = 0x62", "b4 b4"},
		{"ip6[48:2] = 0x3c61", "a6 a6"},
		{"ip[((ip[0] & 0xf) << 2) + 2:2] = 7002", "b4 b4"},
		{"ether proto 0x86dd and not port 7002", "a6 a6"},
		{"ether src 00:00:00:00:00:00 and port 7001", "a4 a4 a6 a6"},
		{"ether src 00:00:00:00:00:01", ""},
		{"ether[12:2] = 0x0800 and not ip6", "a4 a4 b4 b4"},
		{"not ip6 and not ip", ""},
		{"port " + strings.Repeat("1 or ", 120) + "7002", "b4 b4 b6 b6"},
	} {
		f, err := pcapfilter.Parse("(" + tt.expr + ") or udp port " + fmt.Sprint(sentinel))
		if err != nil {
			t.Fatal(err)
		}
		prog, err := f.Live(0)
		if err != nil {
			t.Fatal(err)
		}
		for _, typ := range []raw.Type{raw.SOCK_RAW, raw.SOCK_DGRAM} {
			c, err := raw.Open(
				raw.Socket{Domain: raw.AF_PACKET, Type: typ},
				&raw.Config{Filter: prog, Bind: &raw.Addr{Interface: lo.Index, Protocol: raw.ETH_P_ALL}},
			)
			if err != nil {
				t.Fatalf("%q: %v", tt.expr, err)
			}
			for _, host := range []string{v4, v6} {
				v := map[string]string{v4: "4", v6: "6"}[host]
				send(host, 7001, "a"+v)
				send(host, 7002, "b"+v)
			}
			send(v4, sentinel, "end")

			if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			var got []string
			buf := make([]byte, 2048)
			for {
				n, err := c.Read(buf)
				if err != nil {
					t.Fatalf("%.60q on %v: %v", tt.expr, typ, err)
				}
				packet := string(buf[:n])
				name := strings.TrimSuffix(packet[strings.LastIndexByte(packet, '<')+1:], ">")
				if name == "end" {
					break
				}
				got = append(got, name)
			}
			c.Close()
			if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("%.60q on %v (-want +got):\n%s", tt.expr, typ, diff)
			}
		}
	}
}

// TestLiveSnaplen: an accepted packet is cut to the length asked for.
func TestLiveSnaplen(t *testing.T) {
	privnet.Require(t)
	f, err := pcapfilter.Parse("udp port 7003")
	if err != nil {
		t.Fatal(err)
	}
	prog, err := f.Live(40)
	if err != nil {
		t.Fatal(err)
	}
	c, err := raw.Open(raw.Socket{Domain: raw.AF_PACKET, Type: raw.SOCK_RAW}, &raw.Config{Filter: prog, Bind: &raw.Addr{Protocol: raw.ETH_P_ALL}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	udp, err := net.Dial("udp", "127.0.0.1:7003")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if _, err := io.WriteString(udp, strings.Repeat("x", 500)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(make([]byte, 2048))
	if err != nil || n != 40 {
		t.Errorf("%d bytes, %v, want 40", n, err)
	}
}

// TestLiveHandshake sees the flags of a real connection, which is the filter
// that this program is used with most.
func TestLiveHandshake(t *testing.T) {
	privnet.Require(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	f, err := pcapfilter.Parse(fmt.Sprintf("inbound and tcp port %d and tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", port))
	if err != nil {
		t.Fatal(err)
	}
	prog, err := f.Live(0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := raw.Open(raw.Socket{Domain: raw.AF_PACKET, Type: raw.SOCK_DGRAM}, &raw.Config{Filter: prog, Bind: &raw.Addr{Protocol: raw.ETH_P_ALL}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}

	client, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(client, "hello"); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if _, err := io.ReadAll(server); err != nil {
		t.Fatal(err)
	}
	server.Close()

	var got []byte
	buf := make([]byte, 2048)
	for range 4 {
		n, err := c.Read(buf)
		if err != nil || n < 40 {
			t.Fatal(n, err)
		}
		got = append(got, buf[buf[0]&0xf*4+13]&0x17)
	}
	const syn, fin, ack = 2, 1, 0x10
	if diff := cmp.Diff([]byte{syn, syn | ack, fin | ack, fin | ack}, got); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
}
