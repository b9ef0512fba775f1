package byhand_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"

	"finack/capture"
	"finack/internal/byhand"
	"finack/internal/echo"
	"finack/internal/kernel"
	"finack/internal/pipeline"
	"finack/internal/privnet"
	"finack/trace"
)

func TestMain(m *testing.M) { os.Exit(privnet.Main(m)) }

const (
	patience = time.Minute // for what takes milliseconds, or a few retransmissions
	port     = 7007
)

var (
	source  = netip.MustParseAddr("10.9.7.7")
	network = netip.MustParsePrefix("10.9.7.0/24")
)

// A place is where a connection goes: loopback, or through a wire.
type place struct {
	t      *testing.T
	name   string
	server netip.Addr
	here   func(func() error) error // calls f where the address by hand is
	there  func(func() error) error // calls f where the listener is
}

func loopback(t *testing.T) *place {
	remove, err := privnet.RouteLoopback(network)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
	call := func(f func() error) error { return f() }
	return &place{t, "loopback", netip.MustParseAddr("127.0.0.1"), call, call}
}

// lossy is a wire that loses 2 % of the frames of either direction.
func lossy(t *testing.T) *place {
	const chance = 0.02
	w, err := privnet.NewWire(&privnet.WireConfig{Routed: network, Rules: []privnet.Rule{
		{From: privnet.A, Chance: chance, Seed: 1, Drop: true},
		{From: privnet.B, Chance: chance, Seed: 2, Drop: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stats, err := w.Stats()
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range stats.Rules {
			t.Logf("side %d sent %d frames, of which %d were dropped", i+1, r.Matched, r.Dropped)
			if r.Dropped < r.Matched/200 || r.Dropped > r.Matched/20+5 || r.Dropped == 0 {
				t.Errorf("%d of %d frames dropped, want about 2 %%", r.Dropped, r.Matched)
			}
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return &place{t, "lossy wire", w.B.Addr, w.A.Do, w.B.Do}
}

// listeners start a server at p's port that echoes and closes at the end of
// what it reads.
var listeners = []struct {
	name      string
	start     func(*place)
	halfClose bool // it goes on sending after our FIN
}{
	{"Go", startGo, true},
	{"socat", func(p *place) {
		p.start("socat", fmt.Sprintf("TCP4-LISTEN:%d,fork,reuseaddr,backlog=128", port), "PIPE")
	}, true},
	{"ncat", func(p *place) {
		p.start("ncat", "-4", "-l", "-k", "-e", "/bin/cat", fmt.Sprint(port))
	}, false},
}

func startGo(p *place) {
	var srv *echo.Server
	if err := p.there(func() (err error) {
		srv, err = echo.Listen(p.t.Context(), []echo.Endpoint{{Network: "tcp4", Address: fmt.Sprintf(":%d", port)}}, nil)
		return err
	}); err != nil {
		p.t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(srv.Serve)
	p.t.Cleanup(func() {
		_ = srv.Close()
		served.Wait()
	})
}

// start starts a program and waits until it listens.
func (p *place) start(name string, args ...string) {
	t := p.t
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("FINACK_NEED_NETNS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what it forks ends with it
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.WaitDelay = patience
	if err := p.there(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", name, &said)
		}
	})
	p.awaitSockets(name, func(list []kernel.Socket) bool { return len(list) == 1 && list[0].State == trace.Listen })
}

// awaitSockets waits until the kernel's sockets at the port are as ok wants;
// the table gives no event.
func (p *place) awaitSockets(what string, ok func([]kernel.Socket) bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var list []kernel.Socket
		if err := p.there(func() (err error) {
			list, err = kernel.Sockets()
			list = slices.DeleteFunc(list, func(s kernel.Socket) bool { return s.Local.Port() != port })
			return err
		}); err != nil {
			p.t.Fatal(err)
		}
		if ok(list) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: after %v the kernel's sockets at the port are %v", what, patience, list)
		}
	}
}

// peerState asks the kernel for one socket, the listener's side of c: the state
// is LISTEN when only the listener is left. It is sock_diag(7), which looks the
// socket up; /proc/net/tcp is the whole table.
func (p *place) peerState(c *byhand.Conn) (state trace.State) {
	p.t.Helper()
	if err := p.there(func() error {
		const inetDiag = 4
		ours := c.LocalAddr().(*net.TCPAddr).AddrPort()
		req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, 0)
		req.AddData(diagRequest{c.RemoteAddr().(*net.TCPAddr).AddrPort(), ours})
		answers, err := req.Execute(inetDiag, 0)
		if err == nil && len(answers) != 1 {
			err = fmt.Errorf("%d answers", len(answers))
		}
		if err == nil {
			state = kernel.State(answers[0][1])
		}
		return err
	}); err != nil {
		p.t.Fatalf("ask the kernel for the peer of %v: %v", c.LocalAddr(), err)
	}
	return state
}

// diagRequest is a struct inet_diag_req_v2 for one IPv4 TCP socket.
type diagRequest struct{ local, remote netip.AddrPort }

func (diagRequest) Len() int { return 56 }

func (r diagRequest) Serialize() []byte {
	b := make([]byte, r.Len())
	b[0], b[1] = syscall.AF_INET, syscall.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], ^uint32(0)) // any state
	binary.BigEndian.PutUint16(b[8:], r.local.Port())
	binary.BigEndian.PutUint16(b[10:], r.remote.Port())
	copy(b[12:], r.local.Addr().AsSlice())
	copy(b[28:], r.remote.Addr().AsSlice())
	binary.NativeEndian.PutUint64(b[48:], ^uint64(0)) // no cookie
	return b
}

// awaitPeer waits until the listener's side of c is in a state: LISTEN, when it
// is gone.
func (p *place) awaitPeer(c *byhand.Conn, want trace.State) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Microsecond) {
		state := p.peerState(c)
		if state == want {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("after %v the peer of %v is in %v, want %v", patience, c.LocalAddr(), state, want)
		}
	}
}

// gone reports whether only the listener is left.
func gone(list []kernel.Socket) bool {
	for _, s := range list {
		if s.State != trace.Listen {
			return false
		}
	}
	return len(list) == 1
}

// watch traces connections to a port in the network between the ends, loopback or the wire before it
// loses anything, until stop, which returns the verdicts. Every packet comes in
// once at one of the interfaces there.
func (p *place) watch(to uint16) (stop func() []*trace.Conn) {
	t := p.t
	src, err := capture.OpenLive(&capture.LiveConfig{
		Interface: "any", Filter: fmt.Sprintf("inbound and tcp and host %v and port %d", source, to), Buffer: 8 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var conns []*trace.Conn
	ended := make(chan error, 1)
	go func() {
		totals, err := pipeline.Run(ctx, pipeline.Config{Source: src, Live: true, Events: func(events []trace.Event) {
			for i := range events {
				if events[i].Kind == trace.ConnReleased {
					conns = append(conns, events[i].Verdict)
				}
			}
		}})
		if totals.Dropped > 0 {
			err = errors.Join(err, fmt.Errorf("the capture lost %d frames", totals.Dropped))
		}
		ended <- errors.Join(err, src.Close())
	}()
	return func() []*trace.Conn {
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		return conns
	}
}

func (p *place) listen(conn byhand.MachineConfig) *byhand.Host {
	var h *byhand.Host
	if err := p.here(func() (err error) {
		h, err = byhand.Listen(&byhand.HostConfig{Addr: source, CloseTimeout: patience, Conn: conn})
		return err
	}); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := h.Close(); err != nil {
			p.t.Error(err)
		}
	})
	return h
}

// echoOnce connects, has a message echoed and closes; halfClose ends our
// direction before the answer is read.
func echoOnce(h *byhand.Host, remote netip.AddrPort, message []byte, halfClose bool) (*byhand.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := h.Dial(ctx, remote)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return c, err
	}
	if _, err := c.Write(message); err != nil {
		return c, err
	}
	got := make([]byte, len(message))
	if halfClose {
		if err := c.CloseWrite(); err != nil {
			return c, err
		}
		if got, err = io.ReadAll(c); err != nil {
			return c, err
		}
	} else if _, err := io.ReadFull(c, got); err != nil {
		return c, err
	}
	if !bytes.Equal(got, message) {
		return c, fmt.Errorf("%d bytes came back, and are not the %d that were sent", len(got), len(message))
	}
	return c, c.Close()
}

// TestByHandAThousandTimes connects by hand to a listener a thousand times, one
// connection after the other, over loopback and through a wire that loses
// frames both ways. What became of them is what a tap on the way and the
// listener's kernel say.
func TestByHandAThousandTimes(t *testing.T) {
	privnet.Require(t)
	times := 1000
	if testing.Short() {
		times = 50
	}
	for _, where := range []struct {
		name string
		make func(*testing.T) *place
	}{{"loopback", loopback}, {"2 % loss", lossy}} {
		for _, l := range listeners {
			t.Run(where.name+"/"+l.name, func(t *testing.T) {
				p := where.make(t)
				l.start(p)
				stop := p.watch(port)
				h := p.listen(byhand.MachineConfig{RTO: 50 * time.Millisecond, MaxRTO: time.Second, Tries: 12})
				rnd := rand.New(rand.NewPCG(1, 2))
				again, began := 0, time.Now()
				for i := range times {
					message := make([]byte, 1+rnd.IntN(3000))
					for j := range message {
						message[j] = byte(rnd.Uint32())
					}
					c, err := echoOnce(h, netip.AddrPortFrom(p.server, port), message, l.halfClose && i%2 == 1)
					if err != nil {
						t.Fatalf("connection %d: %v", i, err)
					}
					again += c.Status().Retransmits
					p.awaitPeer(c, trace.Listen)
				}
				p.awaitSockets("at the end", gone)
				t.Logf("%d connections in %v; %d segments sent again", times, time.Since(began).Round(time.Millisecond), again)
				conns := stop()
				if len(conns) != times {
					t.Errorf("the tap saw %d connections, want %d", len(conns), times)
				}
				kinds := map[trace.TeardownKind]int{}
				for _, v := range conns {
					kinds[v.Teardown]++
					ok := v.Client.AddrPort().Addr() == source && v.Handshake == trace.ThreeWay && v.Complete &&
						(v.Teardown == trace.FourStep || v.Teardown == trace.ThreeStep) && v.Closer == trace.ClosedByClient &&
						v.States == [2]trace.State{trace.TimeWait, trace.Closed} && v.RST == [2]uint32{}
					if !ok {
						t.Errorf("%v: %v, %v, closed by %v, complete %v, %v, RST %v", v.Client, v.Handshake, v.Teardown, v.Closer, v.Complete, v.States, v.RST)
					}
				}
				t.Logf("teardowns: %v", kinds)
			})
		}
	}
}
