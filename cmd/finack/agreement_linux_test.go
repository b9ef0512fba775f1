package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"finack/internal/privnet"
)

// The kernel is the oracle: it knows the state of both ends of every
// connection, the programs know who closed first, and watch must have found
// out the same from the packets.

// behaviour is one way to use and to close a connection, in which one end goes
// first. Every close waits for what the other end did before it, so that who
// was first is certain.
type behaviour struct {
	kind  string
	count int
	want  truth // Closer and ResetBy are "first" or "second"
	play  func(w *world, p *pair, first, second end)
}

// behaviours are those that need no special network.
func behaviours() []behaviour {
	return []behaviour{
		{"closes first", 80, truth{Teardown: twoFINs, Closer: "first"}, func(_ *world, _ *pair, first, second end) {
			converse(first, second)
			first.does(leave)
			second.does(untilEOF, leave)
		}},
		{"closes at once", 80, truth{Teardown: twoFINs, Closer: "first"}, func(_ *world, _ *pair, first, second end) {
			first.does(leave)
			second.does(untilEOF, leave)
		}},
		{"closes, three-step", 100, truth{Teardown: "three-step", Closer: "first"}, func(_ *world, p *pair, first, second end) {
			converse(first, second)
			var before, after uint32
			count := func(n *uint32) func(*net.TCPConn) error {
				return func(c *net.TCPConn) (err error) { *n, err = segmentsIn(c); return err }
			}
			first.does(count(&before), sendFIN)
			second.does(untilEOF, leave)
			first.does(untilEOF, count(&after), leave)
			if n := after - before; n != 1 { // the FIN did not come alone
				p.truth.Teardown = twoFINs
			}
		}},
		{"closes, four-step", 80, truth{Teardown: "four-step", Closer: "first"}, func(_ *world, _ *pair, first, second end) {
			converse(first, second)
			first.does(sendFIN, untilAcknowledged)
			second.does(untilEOF, leave)
			first.does(untilEOF, leave)
		}},
		{"half-closes, data flows on", 80, truth{Teardown: "four-step", Closer: "first"}, func(_ *world, _ *pair, first, second end) {
			first.does(send, sendFIN)
			second.does(take, untilEOF, send) // the data acknowledges the FIN
			first.does(take)
			second.does(send, leave)
			first.does(take, untilEOF, leave)
		}},
		{"resets with SO_LINGER 0", 60, truth{Teardown: "reset", ResetBy: "first"}, func(_ *world, _ *pair, first, second end) {
			converse(first, second)
			first.does(abort)
			second.does(untilReset, leave)
		}},
		{"closes with unread data", 60, truth{Teardown: "reset", ResetBy: "first"}, func(_ *world, _ *pair, first, second end) {
			second.does(send)
			first.does(untilData, leave)
			second.does(untilReset, leave)
		}},
		{"closes, is written to", 60, truth{Teardown: "reset", Closer: "first", ResetBy: "first"}, func(_ *world, _ *pair, first, second end) {
			converse(first, second)
			first.does(leave)
			second.does(untilEOF, send, untilBroken, leave)
		}},
		{"half-closes, resets", 60, truth{Teardown: "reset", Closer: "first", ResetBy: "first"}, func(_ *world, _ *pair, first, second end) {
			converse(first, second)
			first.does(sendFIN)
			second.does(untilEOF)
			first.does(abort)
			second.does(untilBroken, leave)
		}},
		{"stays open", 20, truth{Teardown: "none"}, func(w *world, _ *pair, first, second end) {
			converse(first, second)
			w.hold(first, second)
		}},
		{"stays half-closed", 20, truth{Teardown: "half-closed", Closer: "first"}, func(w *world, _ *pair, first, second end) {
			converse(first, second)
			first.does(sendFIN)
			second.does(untilEOF)
			w.hold(first, second)
		}},
		{"closes, the other does not", 20, truth{Teardown: "half-closed", Closer: "first"}, func(w *world, _ *pair, first, second end) {
			converse(first, second)
			first.does(leave)
			second.does(untilEOF)
			w.hold(second)
		}},
	}
}

// play makes one connection of a behaviour, and others if what depends on the
// kernel's timers did not come about.
func (w *world) play(b *behaviour, side string, l *net.TCPListener) {
	peer := map[string]string{"client": "server", "server": "client"}[side]
	sides := strings.NewReplacer("first", side, "second", peer)
	want := b.want
	want.Kind, want.Handshake = side+" "+b.kind, "three-way"
	want.Closer, want.ResetBy = sides.Replace(want.Closer), sides.Replace(want.ResetBy)
	for range 100 {
		p, err := w.connect(l, 0, want)
		if err == nil {
			first, second := p.ends(side, &err)
			b.play(w, p, first, second)
		}
		if err != nil {
			w.t.Errorf("%s: %v", want.Kind, err)
			return
		}
		if p.truth.Teardown == want.Teardown {
			return
		}
		p.truth.Kind += ": not"
	}
	w.t.Errorf("%s: a hundred times not", want.Kind)
}

// playAll makes the connections of all behaviours, with either end first, in
// an order that is mixed and always the same.
func (w *world) playAll() {
	var jobs []func(*net.TCPListener)
	bs := behaviours()
	for i := range bs {
		b := &bs[i]
		for _, side := range []string{"client", "server"} {
			w.planned[side+" "+b.kind] = b.count
			for range b.count {
				jobs = append(jobs, func(l *net.TCPListener) { w.play(b, side, l) })
			}
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(jobs), func(i, j int) { jobs[i], jobs[j] = jobs[j], jobs[i] })
	var next atomic.Int64
	var workers sync.WaitGroup
	for range 8 {
		l := w.server.listen(w.t, 0) // its own: what it accepts is what it dialed
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(jobs) && !w.t.Failed(); i = int(next.Add(1)) - 1 {
				jobs[i](l)
			}
		})
	}
	workers.Wait()
}

// The ports that connections come from where their ends must know them: below
// net.ipv4.ip_local_port_range, so that nobody else gets one.
const (
	refusedPorts = 10000
	reusedPorts  = 20000
)

// refuse connects to a port where nobody listens.
func (w *world) refuse(n int) {
	w.planned["refused"] = n
	server := netip.AddrPortFrom(w.server.addr, 1)
	want := truth{Kind: "refused", Handshake: "refused", Teardown: "reset", ResetBy: "server"}
	for i := range n {
		from := uint16(refusedPorts + i)
		w.note(flow{netip.AddrPortFrom(w.client.addr, from), server}, want)
		if _, err := w.client.dial(net.TCPAddrFromAddrPort(server), from); !errors.Is(err, syscall.ECONNREFUSED) {
			w.t.Errorf("dial a closed port: %v", err)
		}
	}
}

// reuse makes connections twice: the second one has the addresses of the
// first, which is in TIME_WAIT at the end that closed it.
func (w *world) reuse(n int) {
	l := w.server.listen(w.t, 0)
	once := func(from uint16, kind, side string) *pair {
		p, err := w.connect(l, from, truth{Kind: kind, Handshake: "three-way", Teardown: twoFINs, Closer: side})
		if err != nil {
			w.t.Fatalf("%s: %v", kind, err)
		}
		first, second := p.ends(side, &err)
		converse(first, second)
		first.does(leave)
		second.does(untilEOF, leave)
		if err != nil {
			w.t.Errorf("%s: %v", kind, err)
		}
		return p
	}
	// A TIME_WAIT may end early (RFC 1337): some more are made.
	ports := map[string][]uint16{} // by where they are in TIME_WAIT
	sides := []string{"client", "server"}
	var pairs []*pair
	for i := range 2*n + 20 {
		pairs = append(pairs, once(uint16(reusedPorts+i), "will be reused", sides[i%2]))
	}
	kernel := w.settle(w.t, w.stuck)
	for _, p := range pairs {
		p.truth.ClientState, p.truth.ServerState = kernel.states(p.flow)
		switch port := p.flow.client.Port(); "TIME_WAIT" {
		case p.truth.ClientState:
			ports["client"] = append(ports["client"], port)
		case p.truth.ServerState:
			ports["server"] = append(ports["server"], port)
		}
	}
	for _, side := range sides {
		kind := "reuses what is in TIME_WAIT at the " + side
		w.planned[kind] = n
		for i, port := range ports[side][:min(n, len(ports[side]))] {
			once(port, kind, sides[i%2])
		}
	}
}

// overflow makes more connections than a listener has room for, which accepts
// none: the SYNs of the surplus get no answer.
func (w *world) overflow(surplus int) {
	const backlog = 4
	const room = backlog + 1
	var server net.Addr
	err := w.server.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		w.hold(descriptor(fd))
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: w.server.addr.As4()}); err != nil {
			return err
		}
		server, err = localAddr(fd)
		return errors.Join(err, unix.Listen(fd, backlog))
	})
	if err != nil {
		w.t.Fatal(err)
	}
	want := truth{Kind: "backlog has room", Handshake: "three-way", Teardown: "none"}
	w.planned[want.Kind] = room
	for range room {
		c, err := w.client.dial(server, 0)
		if err != nil {
			w.t.Fatal(err)
		}
		w.hold(c)
		w.note(flowOf(c.LocalAddr(), server), want)
	}
	want = truth{Kind: "backlog is full", Handshake: "incomplete", Teardown: "none"}
	w.planned[want.Kind] = surplus
	w.stuck["SYN_SENT"] += surplus
	for range surplus {
		err := w.client.do(func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				return err
			}
			w.hold(descriptor(fd))
			to := server.(*net.TCPAddr).AddrPort()
			if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != unix.EINPROGRESS {
				return fmt.Errorf("connect: %v", err)
			}
			client, err := localAddr(fd)
			w.note(flowOf(client, server), want)
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// descriptor closes a socket that package net does not have.
type descriptor int

func (d descriptor) Close() error { return unix.Close(int(d)) }

// localAddr is getsockname(2).
func localAddr(fd int) (*net.TCPAddr, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, err
	}
	in := sa.(*unix.SockaddrInet4)
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))), nil
}

// The wire delays FINs of connections to crossingPort for crossingDelay, loses
// those that clients send to lossyPort, and delays clients' acknowledgments of
// the type of service lateTOS for longer than a FIN waits for one.
const (
	crossingPort  = 7001
	crossingDelay = 30 * time.Millisecond
	lossyPort     = 7002
	lateTOS       = 0x10
	lateDelay     = 300 * time.Millisecond
)

// wireRules are the rules of such a wire.
func wireRules() []privnet.Rule {
	const fin = "tcp[tcpflags] & tcp-fin != 0"
	return []privnet.Rule{
		{Filter: fmt.Sprintf("tcp port %d and %s", crossingPort, fin), Delay: crossingDelay},
		{From: privnet.A, Filter: fmt.Sprintf("tcp dst port %d and %s", lossyPort, fin), Drop: true},
		{From: privnet.A, Filter: fmt.Sprintf("ip[1] = %d and tcp[tcpflags] = tcp-ack", lateTOS), Delay: lateDelay},
	}
}

// cross makes connections whose ends both close before either FIN arrives.
func (w *world) cross(n int) {
	l := w.server.listen(w.t, crossingPort)
	want := truth{Kind: "FINs cross", Handshake: "three-way", Teardown: "simultaneous", Closer: "both"}
	w.planned[want.Kind] = n
	for crossed := 0; crossed < n && !w.t.Failed(); {
		var pairs []*pair
		for range n - crossed {
			p, err := w.connect(l, 0, want)
			if err != nil {
				w.t.Fatal(err)
			}
			client, server := p.ends("client", &err)
			converse(client, server)
			if err != nil {
				w.t.Fatal(err)
			}
			pairs = append(pairs, p)
		}
		w.await(w.t, "idle", func(s snapshot) bool { // all that was sent is acknowledged
			return !slices.ContainsFunc(pairs, func(p *pair) bool {
				client, server := s.client[p.flow], s.server[p.flow.reverse()]
				return client == nil || server == nil || client.WQueue != 0 || server.WQueue != 0
			})
		})
		for i, p := range pairs {
			side := []string{"client", "server"}[i%2]
			var err error
			first, second := p.ends(side, &err)
			begun := time.Now()
			first.does(leave)
			second.does(leave)
			took := time.Since(begun)
			if err != nil {
				w.t.Errorf("%s: %v", want.Kind, err)
			}
			if took < crossingDelay {
				crossed++
			} else { // this thread had to wait for a core
				p.truth.Kind, p.truth.Teardown, p.truth.Closer = want.Kind+": perhaps not", anything, anything
			}
		}
	}
}

// lose makes connections of which the client's FIN never arrives, n where the
// server stays open and n where its FIN crosses the lost one. That a FIN was
// lost shows when it comes again.
func (w *world) lose(n int) {
	l := w.server.listen(w.t, lossyPort)
	var pairs []*pair
	once := func(want truth, rest func(client, server end)) {
		w.planned[want.Kind]++
		p, err := w.connect(l, 0, want)
		if err == nil {
			client, server := p.ends("client", &err)
			converse(client, server)
			client.does(sendFIN)
			rest(client, server)
			w.hold(client, server)
			pairs = append(pairs, p)
		}
		if err != nil {
			w.t.Errorf("%s: %v", want.Kind, err)
		}
	}
	for range n {
		once(truth{Kind: "FIN is lost", Handshake: "three-way", Teardown: "unacknowledged", Closer: "client"}, func(_, _ end) {})
		once(truth{Kind: "FINs cross, one is lost", Handshake: "three-way", Teardown: "simultaneous", Closer: "both"}, func(client, server end) {
			server.does(sendFIN)
			client.does(untilEOF)
		})
	}
	w.stuck["FIN_WAIT_1"] += n
	w.stuck["CLOSING"] += n
	w.await(w.t, "retransmitting", func(s snapshot) bool {
		return !slices.ContainsFunc(pairs, func(p *pair) bool {
			sock := s.client[p.flow]
			return sock == nil || sock.Retrans == 0
		})
	})
}

// assassinate makes connections whose client's TIME_WAIT ends at once
// (RFC 1337): its acknowledgment of the server's FIN is late, so that the FIN
// comes again and is acknowledged again, and the second acknowledgment finds
// the server gone, which answers with RST.
func (w *world) assassinate(n int) {
	const kind = "TIME_WAIT is assassinated"
	w.planned[kind] = n
	l := w.server.listen(w.t, 0)
	var pairs []*pair
	for range n {
		p, err := w.connect(l, 0, truth{Kind: kind, Handshake: "three-way", Teardown: twoFINs, Closer: "client"})
		if err == nil {
			client, server := p.ends("client", &err)
			converse(client, server)
			client.does(lateACKs, leave)
			server.does(untilEOF, leave)
			pairs = append(pairs, p)
		}
		if err != nil {
			w.t.Errorf("%s: %v", kind, err)
		}
	}
	w.await(w.t, "gone", func(s snapshot) bool {
		return !slices.ContainsFunc(pairs, func(p *pair) bool { return s.client[p.flow] != nil || s.server[p.flow.reverse()] != nil })
	})
}

// lateACKs has the wire delay the acknowledgments that a client sends from now on.
func lateACKs(c *net.TCPConn) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return control(rc, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, lateTOS) })
}

// witness is a server's end of a connection that notes who closed first:
// the client, if its FIN was read before Close.
type witness struct {
	*net.TCPConn
	done  func(closer string)
	once  sync.Once
	atEOF atomic.Bool
}

func (c *witness) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if err == io.EOF {
		c.atEOF.Store(true)
	}
	return n, err
}

func (c *witness) Close() error {
	c.once.Do(func() {
		if c.atEOF.Load() {
			c.done("client")
		} else {
			c.done("server")
		}
	})
	return c.TCPConn.Close()
}

// witnessing is a listener of witnesses.
type witnessing struct {
	*net.TCPListener
	w    *world
	kind string
}

func (l witnessing) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	tr := l.w.note(flowOf(c.RemoteAddr(), c.LocalAddr()), truth{Kind: l.kind, Handshake: "three-way", Teardown: twoFINs})
	return &witness{TCPConn: c, done: func(closer string) {
		l.w.mu.Lock()
		tr.Closer = closer
		l.w.mu.Unlock()
		l.w.tools.Done()
	}}, nil
}

// perTool is how many connections each foreign client makes.
const perTool = 100

// curl fetches from net/http, whose answer's end is the connection's: so curl
// waits for the server's FIN.
func (w *world) curl(t *testing.T) {
	needTool(t, "curl")
	l := witnessing{w.server.listen(w.t, 0), w, "curl"}
	srv := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Connection", "close")
		rw.Header().Set("Transfer-Encoding", "identity") // neither a length nor chunks
		_, _ = io.WriteString(rw, "hello\n")
	})}
	go func() { _ = srv.Serve(l) }()
	w.t.Cleanup(func() { srv.Close() })
	w.tools.Add(perTool)
	w.tool("curl", "-sS", "--noproxy", "*", fmt.Sprintf("http://%v/[1-%d]", l.Addr(), perTool))
}

// echoing runs a shell command, which connects to an echo server in "$1", with
// a line for its stdin, again and again.
func (w *world) echoing(t *testing.T, name, command string) {
	needTool(t, name)
	l := witnessing{w.server.listen(w.t, 0), w, name}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = c.SetDeadline(time.Now().Add(patience))
				// Not io.Copy(c, c): it would pass the witness's Read by.
				if _, err := io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}); err != nil {
					w.t.Errorf("echo to %s: %v", name, err)
				}
				if err := c.Close(); err != nil {
					w.t.Errorf("echo to %s: %v", name, err)
				}
			}()
		}
	}()
	w.tools.Add(perTool)
	loop := fmt.Sprintf(`n=0; while [ $n -lt %d ]; do echo hello | %s || exit; n=$((n+1)); done`, perTool, command)
	w.tool("sh", "-c", loop, "sh", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// tool runs a program that must print hello for every connection.
func (w *world) tool(name string, args ...string) {
	w.tools.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || string(out) != strings.Repeat("hello\n", perTool) {
			w.t.Errorf("%s: %v, %d bytes of stdout, stderr %q", cmd.Args, err, len(out), stderr.String())
		}
	})
}

// timeWait is how long the kernel keeps TIME_WAIT, less some time for looking at it.
const timeWait = 50 * time.Second

func TestTheKernelAgreesThroughAWire(t *testing.T) {
	privnet.Require(t)
	wire, err := privnet.NewWire(&privnet.WireConfig{Rules: wireRules()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := wire.Close(); err != nil {
			t.Error(err)
		}
	})
	watch := startWatch(t, "-i", wire.A.Tap, "--json", "tcp")

	w := newWorld(t, between(wire))
	begun := time.Now()
	w.playAll()
	w.refuse(100)
	w.reuse(60)
	w.cross(200)
	w.lose(20)
	w.assassinate(20)
	w.overflow(45)
	kernel := w.settle(t, w.stuck)
	if took := time.Since(begun); took > timeWait {
		t.Fatalf("it took %v: TIME_WAIT is over", took)
	}
	w.agree(watch.end(), kernel,
		"SYN_SENT", "UNKNOWN", "ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "TIME_WAIT", "CLOSED")
	if stats, err := wire.Stats(); err != nil || stats.Lost != 0 {
		t.Errorf("the wire lost %d frames, %v", stats.Lost, err)
	}
}

// The same on one host, and with programs that are not ours.
func TestTheKernelAgreesOnLoopback(t *testing.T) {
	privnet.Require(t)
	watch := startWatch(t, "-i", "lo", "--json", "tcp")

	w := newWorld(t, loopback())
	begun := time.Now()
	for name, connect := range map[string]func(*testing.T){
		"curl":  w.curl,
		"socat": func(t *testing.T) { w.echoing(t, "socat", `socat -t 10 - TCP4:127.0.0.1:"$1"`) },
		"ncat":  func(t *testing.T) { w.echoing(t, "ncat", `ncat 127.0.0.1 "$1"`) },
	} {
		t.Run(name, func(t *testing.T) { // only starts it, or is skipped
			connect(t)
			w.planned[name] = perTool
		})
	}
	w.playAll()
	w.refuse(100)
	w.reuse(60)
	tools := make(chan struct{})
	go func() {
		w.tools.Wait()
		close(tools)
	}()
	select {
	case <-tools:
	case <-time.After(2 * patience):
		t.Fatal("the tools are not done")
	}
	kernel := w.settle(t, w.stuck)
	if took := time.Since(begun); took > timeWait {
		t.Fatalf("it took %v: TIME_WAIT is over", took)
	}
	w.agree(watch.end(), kernel, "ESTABLISHED", "FIN_WAIT_2", "CLOSE_WAIT", "TIME_WAIT", "CLOSED")
}
