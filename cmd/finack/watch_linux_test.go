package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"finack/internal/privnet"
)

// patience is how long anything may take here before the test gives up.
const patience = 30 * time.Second

// process is a finack that runs.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   bytes.Buffer // stdout, unless it goes elsewhere; after wait
	lines chan string  // of stderr
	seen  []string     // of stderr, what await and wait have taken
	over  bool
}

// start starts program with its stdout going to out; nil: into the process's.
func start(t *testing.T, program string, out *os.File, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...), lines: make(chan string, 1000)}
	// A program with the race detector would sleep for a second at its end.
	p.cmd.Env = append(os.Environ(), "TZ=UTC", "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	if out != nil {
		p.cmd.Stdout = out
	} else {
		p.cmd.Stdout = &p.out
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for sc := bufio.NewScanner(stderr); sc.Scan(); {
			p.lines <- sc.Text()
		}
	}()
	t.Cleanup(func() {
		if !p.over {
			_ = p.cmd.Process.Kill()
			p.wait()
		}
	})
	return p
}

// startWatch starts "finack watch" and returns when it watches.
func startWatch(t *testing.T, args ...string) *process {
	t.Helper()
	p := start(t, "finack", nil, append([]string{"watch"}, args...)...)
	p.await("watching")
	return p
}

// await returns the next line of stderr that has text in it.
func (p *process) await(text string) string {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("%v ended without %q: stderr %q", p.cmd.Args, text, p.seen)
			}
			p.seen = append(p.seen, line)
			if strings.Contains(line, text) {
				return line
			}
		case <-timeout:
			p.t.Fatalf("%v does not print %q: stderr %q", p.cmd.Args, text, p.seen)
		}
	}
}

func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("%v: %v", p.cmd.Args, err)
	}
}

// wait waits for the end and returns the exit status, −1 after a signal.
func (p *process) wait() int {
	p.t.Helper()
	p.over = true
	killer := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer killer.Stop()
	for line := range p.lines {
		p.seen = append(p.seen, line)
	}
	err := p.cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		p.t.Errorf("%v: %v", p.cmd.Args, err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// end interrupts the process as Ctrl-C does and fails the test unless it exits
// with 0; it returns what it has printed.
func (p *process) end() string {
	p.t.Helper()
	p.signal(os.Interrupt)
	if status := p.wait(); status != 0 {
		p.t.Fatalf("%v: exit status %d after SIGINT, stderr %q", p.cmd.Args, status, p.seen)
	}
	return p.out.String()
}

// needTool skips the test when a program is not installed; it fails instead
// where nothing may be skipped.
func needTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("FINACK_NEED_NETNS") == "1" {
		t.Fatalf("%s is not installed (FINACK_NEED_NETNS=1)", name)
	}
	t.Skipf("%s is not installed", name)
}

// listenTCP listens on a free port of 127.0.0.1, for TCP and not for MPTCP,
// which package net prefers.
func listenTCP(t *testing.T) *net.TCPListener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// flow is a connection's addresses: the client's and the server's, or in the
// kernel's tables the local and the remote one.
type flow struct{ client, server netip.AddrPort }

func (f flow) String() string { return fmt.Sprintf("%v → %v", f.client, f.server) }

// truth is what became of a connection, as its own ends know.
type truth struct {
	Handshake string
	Closer    string // who sent the first FIN
	ResetBy   string
}

// ledger has the truth about every connection, of each flow in order of time.
type ledger struct {
	mu    sync.Mutex
	conns map[flow][]*truth
}

func (l *ledger) add(client, server net.Addr, tr truth) *truth {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := flow{client.(*net.TCPAddr).AddrPort(), server.(*net.TCPAddr).AddrPort()}
	l.conns[f] = append(l.conns[f], &tr)
	return &tr
}

func (l *ledger) len() (n int) {
	for _, c := range l.conns {
		n += len(c)
	}
	return n
}

// behaviour is one way to use and to close a connection: what each end does
// after the handshake. An end that holds its socket does not close it.
type behaviour struct {
	name                    string
	count                   int
	want                    truth
	client, server          func(*net.TCPConn) error
	clientHolds, serverHold bool
}

var question = []byte("question")

func ask(c *net.TCPConn) error {
	if _, err := c.Write(question); err != nil {
		return err
	}
	return take(c)
}

// take reads a question, or its echo.
func take(c *net.TCPConn) error {
	_, err := io.ReadFull(c, make([]byte, len(question)))
	return err
}

func answer(c *net.TCPConn) error {
	if err := take(c); err != nil {
		return err
	}
	_, err := c.Write(question)
	return err
}

// untilEOF reads until the peer's FIN.
func untilEOF(c *net.TCPConn) error {
	_, err := io.Copy(io.Discard, c)
	return err
}

// untilReset reads until the peer's RST.
func untilReset(c *net.TCPConn) error {
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("read until reset: %v", err)
	}
	return nil
}

// reset makes Close send a RST.
func reset(c *net.TCPConn) error { return c.SetLinger(0) }

// does chains the steps of an end.
func does(steps ...func(*net.TCPConn) error) func(*net.TCPConn) error {
	return func(c *net.TCPConn) error {
		for _, step := range steps {
			if err := step(c); err != nil {
				return err
			}
		}
		return nil
	}
}

// behaviours are those of package net's 700 connections. Every close waits
// for what the other end did before it, so that who was first is certain.
func behaviours() []behaviour {
	send := func(c *net.TCPConn) error { _, err := c.Write(question); return err }
	fin := (*net.TCPConn).CloseWrite
	opened := truth{Handshake: "three-way"}
	byClient := truth{Handshake: "three-way", Closer: "client"}
	byServer := truth{Handshake: "three-way", Closer: "server"}
	return []behaviour{
		{name: "client closes first", count: 110, want: byClient, client: ask, server: does(answer, untilEOF)},
		{name: "server closes first", count: 110, want: byServer, client: does(ask, untilEOF), server: answer},
		{name: "immediate", count: 100, want: byClient, client: does(), server: untilEOF},
		{name: "half-close", count: 100, want: byClient, client: does(send, fin, take, untilEOF), server: does(take, untilEOF, send)},
		{name: "reset by client", count: 80, want: truth{Handshake: "three-way", ResetBy: "client"}, client: does(ask, reset), server: does(answer, untilReset)},
		{name: "reset by server", count: 80, want: truth{Handshake: "three-way", ResetBy: "server"}, client: does(send, untilReset), server: does(take, reset)},
		{name: "refused", count: 80, want: truth{Handshake: "refused", ResetBy: "server"}},
		{name: "left open", count: 10, want: opened, client: ask, server: answer, clientHolds: true, serverHold: true},
		{name: "left half-closed by client", count: 10, want: byClient, client: does(ask, fin), server: does(answer, untilEOF), clientHolds: true, serverHold: true},
		{name: "left half-closed by server", count: 10, want: byServer, client: does(ask, untilEOF), server: does(answer, fin), clientHolds: true, serverHold: true},
		{name: "left half-closed by a client that is gone", count: 10, want: byClient, client: ask, server: does(answer, untilEOF), serverHold: true},
	}
}

// world makes connections and notes what became of them.
type world struct {
	t       *testing.T
	ledger  ledger
	pending sync.WaitGroup // ends of connections that are still at work
	mu      sync.Mutex
	held    []io.Closer
}

func (w *world) hold(c io.Closer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = append(w.held, c)
}

// end does what an end of a connection does and closes or holds it.
func (w *world) end(c *net.TCPConn, b *behaviour, side string, act func(*net.TCPConn) error, hold bool) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if err := act(c); err != nil {
		w.t.Errorf("%s, %s %v: %v", b.name, side, c.LocalAddr(), err)
	}
	if hold {
		w.hold(c)
	} else if err := c.Close(); err != nil {
		w.t.Errorf("%s, %s: %v", b.name, side, err)
	}
	w.pending.Done()
}

// serve answers the connections of one behaviour.
func (w *world) serve(b *behaviour) (address string) {
	l := listenTCP(w.t)
	go func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			w.ledger.add(c.RemoteAddr(), c.LocalAddr(), b.want)
			go w.end(c, b, "server", b.server, b.serverHold)
		}
	}()
	return l.Addr().String()
}

// closedPort returns an address where nobody listens, nor will until the test ends.
func closedPort(t *testing.T) *net.TCPAddr {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	addr, err := bindLo(fd)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// bindLo binds a socket to a free port of 127.0.0.1.
func bindLo(fd int) (*net.TCPAddr, error) {
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return nil, err
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return nil, err
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1).To4(), Port: sa.(*syscall.SockaddrInet4).Port}, nil
}

// refuse connects to a closed port.
func (w *world) refuse(server *net.TCPAddr, want truth) {
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, rc syscall.RawConn) error {
		var client *net.TCPAddr
		var err error
		if cerr := rc.Control(func(fd uintptr) { client, err = bindLo(int(fd)) }); cerr != nil || err != nil {
			return errors.Join(cerr, err)
		}
		w.ledger.add(client, server, want)
		return nil
	}}
	c, err := d.Dial("tcp4", server.String())
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		w.t.Errorf("dial closed port: %v", err)
	}
}

// dialAll makes the connections of all behaviours, some at a time, in an order
// that is mixed and always the same.
func (w *world) dialAll(bs []behaviour) {
	var jobs []func()
	for i := range bs {
		b := &bs[i]
		var job func()
		if b.server == nil {
			server := closedPort(w.t)
			job = func() { w.refuse(server, b.want) }
		} else {
			address := w.serve(b)
			w.pending.Add(2 * b.count)
			job = func() {
				c, err := net.DialTimeout("tcp4", address, patience)
				if err != nil {
					w.t.Errorf("%s: %v", b.name, err)
					w.pending.Add(-2)
					return
				}
				w.end(c.(*net.TCPConn), b, "client", b.client, b.clientHolds)
			}
		}
		for range b.count {
			jobs = append(jobs, job)
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(jobs), func(i, j int) { jobs[i], jobs[j] = jobs[j], jobs[i] })
	var next atomic.Int64
	for range 8 {
		w.pending.Go(func() {
			for n := int(next.Add(1)); n <= len(jobs); n = int(next.Add(1)) {
				jobs[n-1]()
			}
		})
	}
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
	w *world
}

func (l witnessing) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	tr := l.w.ledger.add(c.RemoteAddr(), c.LocalAddr(), truth{Handshake: "three-way"})
	return &witness{TCPConn: c, done: func(closer string) {
		l.w.ledger.mu.Lock()
		tr.Closer = closer
		l.w.ledger.mu.Unlock()
		l.w.pending.Done()
	}}, nil
}

// perTool is how many connections each foreign client makes.
const perTool = 100

// curl fetches from net/http, whose answer's end is the connection's: so curl
// waits for the server's FIN.
func (w *world) curl(t *testing.T) {
	needTool(t, "curl")
	l := witnessing{listenTCP(w.t), w}
	srv := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Connection", "close")
		rw.Header().Set("Transfer-Encoding", "identity") // neither a length nor chunks
		_, _ = io.WriteString(rw, "hello\n")
	})}
	go func() { _ = srv.Serve(l) }()
	w.t.Cleanup(func() { srv.Close() })
	w.pending.Add(perTool)
	w.tool("curl", "-sS", "--noproxy", "*", fmt.Sprintf("http://%v/[1-%d]", l.Addr(), perTool))
}

// echoing runs a shell command, which connects to an echo server in "$1", with
// a line for its stdin, again and again.
func (w *world) echoing(t *testing.T, name, command string) {
	needTool(t, name)
	l := witnessing{listenTCP(w.t), w}
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
	w.pending.Add(perTool)
	loop := fmt.Sprintf(`n=0; while [ $n -lt %d ]; do echo hello | %s || exit; n=$((n+1)); done`, perTool, command)
	w.tool("sh", "-c", loop, "sh", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// tool runs a program that must print hello for every connection.
func (w *world) tool(name string, args ...string) {
	w.pending.Go(func() {
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

// kernelState names the states of /proc/net/tcp (enum in net/tcp_states.h).
var kernelState = map[string]string{
	"01": "ESTABLISHED", "02": "SYN_SENT", "03": "SYN_RECEIVED", "04": "FIN_WAIT_1", "05": "FIN_WAIT_2",
	"06": "TIME_WAIT", "07": "CLOSED", "08": "CLOSE_WAIT", "09": "LAST_ACK", "0A": "LISTEN", "0B": "CLOSING", "0C": "SYN_RECEIVED",
}

// kernelStates returns the state of each socket of IPv4, by its local and its
// remote address; a closed one is not there.
func kernelStates(t *testing.T) map[flow]string {
	t.Helper()
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	address := func(s string) netip.AddrPort { // 0100007F:1F90, the address as a number in the host's order
		ip, err := hex.DecodeString(s[:8])
		port, perr := strconv.ParseUint(s[9:], 16, 16)
		if err != nil || perr != nil {
			t.Fatalf("/proc/net/tcp: address %q", s)
		}
		var raw [4]byte
		binary.NativeEndian.PutUint32(raw[:], binary.BigEndian.Uint32(ip))
		return netip.AddrPortFrom(netip.AddrFrom4(raw), uint16(port))
	}
	states := make(map[flow]string)
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if i == 0 {
			continue
		}
		f := strings.Fields(line)
		states[flow{address(f[1]), address(f[2])}] = kernelState[f[3]]
	}
	return states
}

// settledStates returns the states once no socket is between two others. There is
// no event to wait for: delayed ACKs take up to 40 ms.
func settledStates(t *testing.T) map[flow]string {
	t.Helper()
	passing := []string{"SYN_SENT", "SYN_RECEIVED", "FIN_WAIT_1", "CLOSING", "LAST_ACK"}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		states := kernelStates(t)
		busy := 0
		for _, s := range states {
			if slices.Contains(passing, s) {
				busy++
			}
		}
		if busy == 0 {
			return states
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sockets do not come to rest", busy)
		}
	}
}

// account is a line of watch --json, the parts that are compared.
type account struct {
	Type           string
	ID             uint64
	Client, Server netip.AddrPort
	Handshake      struct{ Kind string }
	Teardown       struct {
		Closer string `json:"active_closer"`
		Reset  struct{ By string }
	}
	ClientState string `json:"client_state"`
	ServerState string `json:"server_state"`
	Connections int
	Dropped     uint64
}

// accounts parses the output of --json: the connections of each flow in order
// of appearance, and the summary.
func accounts(t *testing.T, out string) (conns map[flow][]account, summary account) {
	t.Helper()
	conns = make(map[flow][]account)
	for line := range strings.Lines(out) {
		var a account
		if summary.Type != "" {
			t.Fatalf("a line after the summary: %s", line)
		}
		var head struct{ Type string }
		if err := json.Unmarshal([]byte(line), &head); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		switch head.Type {
		case "connection", "summary":
			if err := json.Unmarshal([]byte(line), &a); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
		default:
			continue
		}
		if a.Type == "summary" {
			summary = a
			continue
		}
		f := flow{a.Client, a.Server}
		conns[f] = append(conns[f], a)
	}
	for _, c := range conns {
		slices.SortFunc(c, func(a, b account) int { return int(a.ID) - int(b.ID) })
	}
	if summary.Type == "" {
		t.Fatal("no summary")
	}
	return conns, summary
}

// A thousand connections of many kinds are all there, once, with the closer
// that the programs themselves know, and with the states that the kernel had.
func TestWatchThousandConnections(t *testing.T) {
	privnet.Require(t)
	watch := startWatch(t, "-i", "lo", "--json", "tcp")

	w := &world{t: t, ledger: ledger{conns: make(map[flow][]*truth)}}
	t.Cleanup(func() {
		for _, c := range w.held {
			c.Close()
		}
	})
	total := 0
	bs := behaviours()
	for _, b := range bs {
		total += b.count
	}
	w.dialAll(bs)
	for name, connect := range map[string]func(*testing.T){
		"curl":  w.curl,
		"socat": func(t *testing.T) { w.echoing(t, "socat", `socat -t 10 - TCP4:127.0.0.1:"$1"`) },
		"ncat":  func(t *testing.T) { w.echoing(t, "ncat", `ncat 127.0.0.1 "$1"`) },
	} {
		t.Run(name, func(t *testing.T) { // only starts it, or is skipped
			connect(t)
			total += perTool
		})
	}
	made := make(chan struct{})
	go func() {
		w.pending.Wait()
		close(made)
	}()
	select {
	case <-made:
	case <-time.After(2 * patience):
		t.Fatal("the connections are not done")
	}
	kernel := settledStates(t)
	if t.Failed() {
		return
	}
	conns, summary := accounts(t, watch.end())

	if n := w.ledger.len(); n != total || summary.Connections != n || summary.Dropped != 0 {
		t.Errorf("%d connections made of %d; the summary has %d, %d frames dropped", n, total, summary.Connections, summary.Dropped)
	}
	for f := range conns {
		if w.ledger.conns[f] == nil {
			t.Errorf("%v was never made", f)
		}
	}
	state := func(f flow) string {
		if s, ok := kernel[f]; ok {
			return s
		}
		return "CLOSED"
	}
	closers, states := map[string]int{}, map[string]int{}
	for f, truths := range w.ledger.conns {
		got := conns[f]
		if len(got) != len(truths) {
			t.Errorf("%v was made %d times, and is there %d times", f, len(truths), len(got))
			continue
		}
		for i, want := range truths {
			a := got[i]
			if diff := cmp.Diff(*want, truth{a.Handshake.Kind, a.Teardown.Closer, a.Teardown.Reset.By}); diff != "" {
				t.Errorf("%v (-made +told)\n%s", f, diff)
			}
			closers[want.Closer]++
		}
		// Of a flow's connections the kernel has the last one.
		want := [2]string{state(f), state(flow{f.server, f.client})}
		last := got[len(got)-1]
		if diff := cmp.Diff(want, [2]string{last.ClientState, last.ServerState}); diff != "" {
			t.Errorf("%v, #%d: states (-kernel +told)\n%s", f, last.ID, diff)
		}
		states[want[0]]++
		states[want[1]]++
	}
	t.Logf("%d connections, %d flows; closed first by %v; the kernel's states %v", total, len(conns), closers, states)
	// The comparison has had something of each kind to compare.
	for s, n := range map[string]int{"ESTABLISHED": 20, "FIN_WAIT_2": 30, "CLOSE_WAIT": 30} {
		if states[s] != n {
			t.Errorf("the kernel has %d ends in %s, want %d", states[s], s, n)
		}
	}
	if states["TIME_WAIT"] < 500 {
		t.Errorf("the kernel has %d ends in TIME_WAIT, want at least 500", states["TIME_WAIT"])
	}
}

// someTraffic makes a few connections and datagrams on lo.
func someTraffic(t *testing.T) {
	t.Helper()
	l := listenTCP(t)
	for range 5 {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := untilEOF(s); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	u, err := net.Dial("udp4", "127.0.0.1:9") // nobody is there: ICMP, too
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if _, err := u.Write(question); err != nil {
		t.Fatal(err)
	}
	settledStates(t)
}

// asUser makes a program an ordinary user where it would be a root that may not
// set its groups, with which tcpdump does not put up (user_namespaces(7)).
func asUser() *syscall.SysProcAttr {
	if b, err := os.ReadFile("/proc/self/setgroups"); err != nil || string(b) != "deny\n" {
		return nil
	}
	id := []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}
	return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: id, GidMappings: id}
}

// What -w writes other programs read, to the last frame.
func TestWatchWritesForTshark(t *testing.T) {
	privnet.Require(t)
	needTool(t, "tshark")
	needTool(t, "tcpdump")
	written := regexp.MustCompile(`(?m)^  (\d+) frames? written$`)
	for _, iface := range []string{"lo", "any"} {
		for _, file := range []string{"x.pcapng", "x.pcap"} {
			t.Run(iface+" "+file, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), file)
				watch := startWatch(t, "-i", iface, "-w", path)
				someTraffic(t)
				out := watch.end()
				m := written.FindStringSubmatch(out)
				if m == nil {
					t.Fatalf("the summary does not say how many frames were written:\n%s", out)
				}
				want, _ := strconv.Atoi(m[1])
				if want < 5*7+1 {
					t.Errorf("%d frames written, which is too few", want)
				}
				for _, reader := range [][]string{
					{"tshark", "-n", "-r", "-", "-T", "fields", "-e", "frame.number"},
					{"tcpdump", "-n", "-Z", "root", "-r", "-"},
				} {
					f, err := os.Open(path)
					if err != nil {
						t.Fatal(err)
					}
					cmd := exec.Command(reader[0], reader[1:]...)
					var stderr bytes.Buffer
					cmd.Stdin, cmd.Stderr = f, &stderr
					cmd.SysProcAttr = asUser()
					read, err := cmd.Output()
					f.Close()
					if n := bytes.Count(read, []byte("\n")); err != nil || n != want {
						t.Errorf("%s reads %d frames of %d: %v, stderr %q", reader[0], n, want, err, stderr.String())
					}
				}
			})
		}
	}
}

// A line is out within two milliseconds of the kernel's stamp in it.
func TestWatchLatency(t *testing.T) {
	privnet.Require(t)
	l := listenTCP(t)
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	watch := start(t, "finack", out, "watch", "-i", "lo", "tcp", "port", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	out.Close()
	watch.await("watching")

	_ = r.SetReadDeadline(time.Now().Add(patience))
	lines := bufio.NewScanner(r)
	// line returns the next line that has text, and when it came.
	line := func(text string) (string, time.Time) {
		t.Helper()
		for lines.Scan() {
			if now := time.Now(); strings.Contains(lines.Text(), text) {
				return lines.Text(), now
			}
		}
		t.Fatalf("no line with %q: %v", text, lines.Err())
		return "", time.Time{}
	}
	var late []time.Duration
	for range 100 {
		c, err := net.Dial("tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		syn, came := line("→ SYN ")
		stamp, err := time.Parse("15:04:05.000000", strings.Fields(syn)[0])
		if err != nil {
			t.Fatalf("%q: %v", syn, err)
		}
		came = came.UTC()
		midnight := time.Date(came.Year(), came.Month(), came.Day(), 0, 0, 0, 0, time.UTC)
		d := came.Sub(midnight) - stamp.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC))
		late = append(late, (d+24*time.Hour)%(24*time.Hour))
		s, err := l.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if err := untilEOF(s); err != nil {
			t.Fatal(err)
		}
		s.Close()
		line("closed by client")
	}
	watch.signal(os.Interrupt)
	_, _ = io.Copy(io.Discard, r)
	if status := watch.wait(); status != 0 {
		t.Errorf("exit status %d, stderr %q", status, watch.seen)
	}
	slices.Sort(late)
	t.Logf("from the kernel's stamp to the reader: p50 %v, p90 %v, max %v", late[50], late[90], late[99])
	if late[50] > 2*time.Millisecond {
		t.Errorf("p50 %v, want at most 2ms", late[50])
	}
}

// build builds the program as it is released, without cgo.
func build(t *testing.T) string {
	t.Helper()
	needTool(t, "go")
	path := filepath.Join(t.TempDir(), "finack")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// What watch captures it parses without any privilege, on every thread.
func TestWatchDropsPrivileges(t *testing.T) {
	privnet.Require(t)
	watch := start(t, build(t), nil, "watch", "-i", "lo")
	watch.await("watching")
	pid := watch.cmd.Process.Pid

	idMap, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	// Where ids are mapped one by one there is nobody to become.
	var inside, outside, length int
	if _, err := fmt.Sscan(string(idMap), &inside, &outside, &length); err != nil {
		t.Fatal(err)
	}
	hasNobody := inside+length > 65534

	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%d threads: %v", len(tasks), err)
	}
	for _, path := range append(tasks, fmt.Sprintf("/proc/%d/status", pid)) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		status := make(map[string][]string)
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(line, ":")
			status[key] = strings.Fields(value)
		}
		for key, want := range map[string]string{
			"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1",
		} {
			if got := strings.Join(status[key], " "); got != want {
				t.Errorf("%s: %s is %s, want %s", path, key, got, want)
			}
		}
		if hasNobody && (slices.Contains(status["Uid"], "0") || slices.Contains(status["Gid"], "0")) {
			t.Errorf("%s: Uid %v, Gid %v: still root", path, status["Uid"], status["Gid"])
		}
	}
	t.Logf("%d threads, nobody is mapped: %v", len(tasks), hasNobody)

	// It captures nevertheless, and can say what it lost.
	someTraffic(t)
	if out := watch.end(); !regexp.MustCompile(`closed: 5 (three|four)-step \(by client\)|closed by: 5 client`).MatchString(out) {
		t.Errorf("it captured\n%s", out)
	}
}

func TestWatchEndsCleanly(t *testing.T) {
	privnet.Require(t)
	t.Run("interrupted with nothing captured", func(t *testing.T) {
		watch := startWatch(t, "-i", "lo", "tcp port 1")
		begun := time.Now()
		out := watch.end()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it took %v", took)
		}
		if want := "0 frames, 0 TCP connections, 0 datagram flows, 0 frames lost\n"; out != want {
			t.Errorf("it printed %q, want %q", out, want)
		}
	})
	t.Run("stdout is closed", func(t *testing.T) {
		r, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		watch := start(t, "finack", out, "watch", "-i", "lo")
		out.Close()
		watch.await("watching")
		taken := len(watch.seen)
		r.Close()
		someTraffic(t)
		if status := watch.wait(); status != 0 {
			t.Errorf("exit status %d", status)
		}
		if extra := watch.seen[taken:]; len(extra) > 0 {
			t.Errorf("stderr has %q", extra)
		}
	})
	t.Run("no such interface", func(t *testing.T) {
		watch := start(t, "finack", nil, "watch", "-i", "nosuch0")
		status := watch.wait()
		if status != 2 || len(watch.seen) != 1 || !strings.Contains(watch.seen[0], "nosuch0") || watch.out.Len() > 0 {
			t.Errorf("exit status %d, stdout %q, stderr %q", status, watch.out.String(), watch.seen)
		}
	})
	t.Run("after a number of frames", func(t *testing.T) {
		watch := startWatch(t, "-i", "lo", "-c", "3")
		someTraffic(t)
		if status := watch.wait(); status != 0 {
			t.Errorf("exit status %d, stderr %q", status, watch.seen)
		}
		if out := watch.out.String(); !strings.Contains(out, "\n3 frames, 1 TCP connection, ") {
			t.Errorf("it printed\n%s", out)
		}
	})
}

// A server traces its own connections from the first SYN to the last ACK,
// those too that it ends itself when it is told to stop.
func TestEchoServeTrace(t *testing.T) {
	privnet.Require(t)
	serve := start(t, "finack", nil, "echo", "serve", "--trace", "tcp://127.0.0.1:0", "udp://127.0.0.1:0")
	urls := make(map[string]string)
	for _, network := range []string{"tcp", "udp"} {
		_, url, _ := strings.Cut(serve.await("echoing on "+network+"://"), "echoing on ")
		urls[network] = url
		for _, args := range [][]string{{"--count", "3"}, {"--size", "1000", "--quiet"}} {
			send := start(t, "finack", nil, append([]string{"echo", "send", url}, args...)...)
			if status := send.wait(); status != 0 || len(send.seen) > 0 {
				t.Errorf("send to %s: exit status %d, stderr %q", url, status, send.seen)
			}
			if out := send.out.String(); !strings.Contains(out, " 0 lost") {
				t.Errorf("send to %s printed\n%s", url, out)
			}
		}
	}
	c, err := net.Dial("tcp4", strings.TrimPrefix(urls["tcp"], "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := ask(c.(*net.TCPConn)); err != nil {
		t.Fatal(err)
	}
	serve.signal(syscall.SIGTERM)
	if err := untilEOF(c.(*net.TCPConn)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // a client that takes its time: the trace goes on
	c.Close()
	if status := serve.wait(); status != 0 {
		t.Errorf("exit status %d, stderr %q", status, serve.seen)
	}
	out := serve.out.String()
	for want, n := range map[string]int{
		"→ SYN ":             3,
		"← SYN+ACK ":         3,
		" closed by client,": 2,
		" closed by server,": 1,
		"→ UDP ":             2, // of a flow the first of each direction
		"← UDP ":             2,
		", 3 TCP connections, 2 datagram flows, 0 frames lost\n": 1,
	} {
		if got := strings.Count(out, want); got != n {
			t.Errorf("%q is there %d times, want %d", want, got, n)
		}
	}
	if t.Failed() {
		t.Logf("it printed\n%s", out)
	}
}
