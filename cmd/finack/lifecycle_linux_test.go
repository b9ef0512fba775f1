package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"finack/internal/privnet"
)

// lived is what --json says of a connection, with and without data.
type lived struct {
	Type, Client, Role string
	Handshake          struct{ Kind string }
	Teardown           livedTeardown
	ClientState        string     `json:"client_state"`
	ServerState        string     `json:"server_state"`
	ClientBytes        uint64     `json:"client_bytes"`
	ServerBytes        uint64     `json:"server_bytes"`
	ClientFlags        flagCounts `json:"client_flags"`
	ServerFlags        flagCounts `json:"server_flags"`
	DataUnseen         bool       `json:"data_unseen"`
	Retransmits        struct{ Client, Server int }
	Frames, Dropped    uint64
	Flags              string // of a segment
	Len                int
}

type flagCounts struct{ SYN, FIN, RST int }

type livedTeardown struct {
	Kind         string
	ActiveCloser string `json:"active_closer"`
	Complete     bool
	Reset        struct{ By, After string }
	Steps        []livedStep
}

type livedStep struct {
	From, Flags string
	Seq, Ack    uint32
}

// livedBy returns the connections that a watch has printed, by client, and the summary.
func livedBy(t *testing.T, out string) (conns map[string]lived, summary lived) {
	t.Helper()
	conns = map[string]lived{}
	for line := range strings.Lines(out) {
		var l lived
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch l.Type {
		case "summary":
			summary = l
		case "segment":
			if l.Len > 0 && !strings.Contains(l.Flags, "FIN") {
				t.Errorf("took %s", line)
			}
		default:
			conns[l.Client] = l
		}
	}
	return conns, summary
}

// The same traffic, watched whole and without data.
func TestLifecycleWatchesTheSame(t *testing.T) {
	privnet.Require(t)
	l := listenTCP(t)
	filter := fmt.Sprintf("tcp port %d", l.Addr().(*net.TCPAddr).Port)
	args := []string{"-i", "lo", "-s", "128", "--json", "--only", "connection,summary", filter}
	whole := startWatch(t, args...)
	part := startWatch(t, append([]string{"--lifecycle", "--all", "--only", "segment"}, args...)...)

	type sent struct {
		client, server uint64
		rides          bool // data may bring the acknowledgment of a FIN
	}
	truth := map[string]sent{}
	talk := func(s sent, f func(client, server *net.TCPConn) error) {
		t.Helper()
		c, err := loopback().client.dial(l.Addr(), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		truth[c.LocalAddr().String()] = s
		if err := f(c, a); err != nil {
			t.Fatal(err)
		}
	}
	write := func(c *net.TCPConn, n int) error {
		_, err := c.Write(make([]byte, n))
		return err
	}
	read := func(c *net.TCPConn, n int64) error {
		_, err := io.CopyN(io.Discard, c, n)
		return err
	}
	const bulk = 100 << 20
	talk(sent{client: bulk}, func(client, server *net.TCPConn) error {
		done := make(chan error, 1)
		go func() { done <- untilEOF(server) }()
		return errors.Join(write(client, bulk), client.CloseWrite(), <-done, server.Close(), untilEOF(client))
	})
	for i := range 200 {
		talk(sent{client: 10, server: 20}, func(client, server *net.TCPConn) error {
			first, second := client, server
			if i%2 == 1 {
				first, second = server, client
			}
			return errors.Join(write(client, 10), read(server, 10), write(server, 20), read(client, 20),
				first.CloseWrite(), untilEOF(second), second.Close(), untilEOF(first))
		})
	}
	for i := range 20 {
		for _, wait := range []bool{true, false} {
			talk(sent{client: 10, server: 5000, rides: !wait}, func(client, server *net.TCPConn) error {
				err := errors.Join(write(client, 10), client.CloseWrite())
				if wait {
					err = errors.Join(err, untilAcknowledged(client))
				}
				return errors.Join(err, untilEOF(server), write(server, 5000), server.Close(), untilEOF(client))
			})
		}
		talk(sent{client: 10}, func(client, server *net.TCPConn) error {
			ends := [2]*net.TCPConn{client, server}
			reset := ends[i%2]
			return errors.Join(write(client, 10), read(server, 10), reset.SetLinger(0), reset.Close(), untilReset(ends[1-i%2]))
		})
	}

	want, all := livedBy(t, whole.end())
	got, some := livedBy(t, part.end())
	if all.Dropped+some.Dropped > 0 {
		t.Fatalf("lost %d and %d frames: nothing can be compared", all.Dropped, some.Dropped)
	}
	if len(want) != len(truth) || len(got) != len(truth) {
		t.Fatalf("%d and %d connections, made %d", len(want), len(got), len(truth))
	}
	for client, made := range truth {
		w, g := want[client], got[client]
		if !g.DataUnseen || w.DataUnseen || g.ClientBytes != made.client || g.ServerBytes != made.server {
			t.Errorf("%s: data unseen %t, %t; %d and %d bytes, sent %d and %d", client, g.DataUnseen, w.DataUnseen, g.ClientBytes, g.ServerBytes, made.client, made.server)
		}
		if w.Retransmits == (struct{ Client, Server int }{}) && (w.ClientBytes != made.client || w.ServerBytes != made.server) {
			t.Errorf("%s: the whole capture says %d and %d bytes, sent %d and %d", client, w.ClientBytes, w.ServerBytes, made.client, made.server)
		}
		if made.rides && g.Teardown.Kind == "unknown" {
			g.Teardown.Kind, g.Teardown.Steps = w.Teardown.Kind, w.Teardown.Steps
		}
		g.DataUnseen, g.ClientBytes, g.ServerBytes, g.Retransmits = false, w.ClientBytes, w.ServerBytes, w.Retransmits
		if diff := cmp.Diff(w, g); diff != "" {
			t.Errorf("%s (- whole, + without data):\n%s", client, diff)
		}
	}
	t.Logf("%d of %d frames", some.Frames, all.Frames)
}

// What it costs to watch a bulk transfer in frames of MTU size: the time that a
// watch takes, on its own and in the kernel, shared out among the frames that
// are there. Its acknowledgments come after 44 frames, as where a receiver takes
// 64 kB at a time, or after two.
func TestLifecycleCost(t *testing.T) {
	privnet.Require(t)
	if err := privnet.Veth("bulk0", "bulk1"); err != nil {
		t.Fatal(err)
	}
	const frames = 300_000
	idle, _ := bulkWatched(t, 0, 1)
	for _, every := range []int{frames + 1, 45, 3} {
		used, took := bulkWatched(t, frames, every)
		each := (used - idle) / frames
		t.Logf("%d of %d frames passed: %v a frame", took, frames, each)
		if took != frames/uint64(every) {
			t.Errorf("%d frames passed, want %d", took, frames/every)
		}
	}
}

// bulkWatched sends frames, one in so many an ACK, past a watch, and returns
// how much time that has used and how many frames it took.
func bulkWatched(t *testing.T, frames, every int) (used time.Duration, took uint64) {
	t.Helper()
	iface, err := net.InterfaceByName("bulk0")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	watch := startWatch(t, "-i", "bulk1", "--lifecycle", "--json", "--summary", "tcp")
	data, ack := bulkFrame(1448), bulkFrame(0)
	for i := range frames {
		frame := data
		if i%every == every-1 {
			frame = ack
		}
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: iface.Index}); err != nil {
			t.Fatal(err)
		}
	}
	_, summary := livedBy(t, watch.end())
	if summary.Dropped > 0 {
		t.Errorf("lost %d frames", summary.Dropped)
	}
	return watch.cmd.ProcessState.UserTime() + watch.cmd.ProcessState.SystemTime(), summary.Frames
}

// bulkFrame is an Ethernet frame with an ACK and n bytes of payload.
func bulkFrame(n int) []byte {
	b := make([]byte, 14+20+32+n)
	copy(b, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0})
	ip := b[14:]
	ip[0], ip[2], ip[3], ip[8], ip[9] = 0x45, byte((52+n)>>8), byte(52+n), 64, unix.IPPROTO_TCP
	copy(ip[12:], []byte{10, 5, 5, 1, 10, 5, 5, 2, 0x9c, 0x40, 0, 80})
	ip[32], ip[33], ip[34] = 8<<4, 1<<4, 1
	return b
}
