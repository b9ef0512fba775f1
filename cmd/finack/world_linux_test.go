package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"finack/internal/privnet"
)

// host is where an end of a connection is.
type host struct {
	addr netip.Addr
	do   func(func() error) error // calls a function there
}

// network is where connections are made.
type network struct{ client, server host }

// loopback is the private network's own loopback interface.
func loopback() network {
	lo := host{netip.AddrFrom4([4]byte{127, 0, 0, 1}), func(f func() error) error { return f() }}
	return network{lo, lo}
}

// between is two hosts on a wire.
func between(w *privnet.Wire) network {
	return network{host{w.A.Addr, w.A.Do}, host{w.B.Addr, w.B.Do}}
}

// listen listens on a port, 0 for a free one, for TCP and not for MPTCP, which
// package net prefers.
func (h host) listen(t *testing.T, port uint16) *net.TCPListener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	var l net.Listener
	err := h.do(func() (err error) {
		l, err = lc.Listen(t.Context(), "tcp4", netip.AddrPortFrom(h.addr, port).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// listenTCP listens on a free port of 127.0.0.1.
func listenTCP(t *testing.T) *net.TCPListener {
	t.Helper()
	return loopback().server.listen(t, 0)
}

// dial connects to a server, from a port unless that is 0. It takes one that a
// connection in TIME_WAIT has.
func (h host) dial(server net.Addr, from uint16) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: patience}
	if from != 0 {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(h.addr, from))
		d.Control = func(_, _ string, rc syscall.RawConn) error {
			return control(rc, func(fd int) error {
				return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			})
		}
	}
	var c net.Conn
	err := h.do(func() (err error) {
		c, err = d.Dial("tcp4", server.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// control calls f with a socket's descriptor.
func control(rc syscall.RawConn, f func(fd int) error) error {
	var err error
	cerr := rc.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(cerr, err)
}

// flow is a connection's addresses: the client's and the server's, or in the
// kernel's tables the local and the remote one.
type flow struct{ client, server netip.AddrPort }

func (f flow) String() string { return fmt.Sprintf("%v → %v", f.client, f.server) }

// reverse is the flow as the server's kernel has it.
func (f flow) reverse() flow { return flow{f.server, f.client} }

// flowOf returns the flow of two TCP addresses.
func flowOf(client, server net.Addr) flow {
	return flow{client.(*net.TCPAddr).AddrPort(), server.(*net.TCPAddr).AddrPort()}
}

// kernelStates names the states of net/tcp_states.h.
var kernelStates = [...]string{
	unix.BPF_TCP_ESTABLISHED: "ESTABLISHED", unix.BPF_TCP_SYN_SENT: "SYN_SENT", unix.BPF_TCP_SYN_RECV: "SYN_RECEIVED",
	unix.BPF_TCP_FIN_WAIT1: "FIN_WAIT_1", unix.BPF_TCP_FIN_WAIT2: "FIN_WAIT_2", unix.BPF_TCP_TIME_WAIT: "TIME_WAIT",
	unix.BPF_TCP_CLOSE: "CLOSED", unix.BPF_TCP_CLOSE_WAIT: "CLOSE_WAIT", unix.BPF_TCP_LAST_ACK: "LAST_ACK",
	unix.BPF_TCP_LISTEN: "LISTEN", unix.BPF_TCP_CLOSING: "CLOSING", unix.BPF_TCP_NEW_SYN_RECV: "SYN_RECEIVED",
}

// sockets is what the kernel of a host has, by local and remote address.
type sockets map[flow]*netlink.Socket

// count counts the sockets in each state.
func (s sockets) count() map[string]int {
	n := map[string]int{}
	for _, sock := range s {
		n[kernelStates[sock.State]]++
	}
	return n
}

// sockets asks the kernel (sock_diag(7)).
func (h host) sockets(t *testing.T) sockets {
	t.Helper()
	var list []*netlink.Socket
	err := h.do(func() (err error) {
		list, err = netlink.SocketDiagTCP(unix.AF_INET)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	address := func(ip net.IP, port uint16) netip.AddrPort {
		addr, _ := netip.AddrFromSlice(ip.To4())
		return netip.AddrPortFrom(addr, port)
	}
	socks := make(sockets)
	for _, s := range list {
		socks[flow{address(s.ID.Source, s.ID.SourcePort), address(s.ID.Destination, s.ID.DestinationPort)}] = s
	}
	return socks
}

// snapshot is what the kernels of both hosts have.
type snapshot struct{ client, server sockets }

func (n network) snapshot(t *testing.T) snapshot {
	t.Helper()
	return snapshot{n.client.sockets(t), n.server.sockets(t)}
}

// states returns the states of a connection's ends. No socket is CLOSED, but
// beside a SYN that nobody answered: of a server there packets prove nothing.
func (s snapshot) states(f flow) (client, server string) {
	client, server = "CLOSED", "CLOSED"
	if sock := s.client[f]; sock != nil {
		client = kernelStates[sock.State]
	}
	if sock := s.server[f.reverse()]; sock != nil {
		server = kernelStates[sock.State]
	} else if client == "SYN_SENT" {
		server = "UNKNOWN"
	}
	return client, server
}

// passing are the states that a connection leaves by itself.
var passing = []string{"SYN_SENT", "SYN_RECEIVED", "FIN_WAIT_1", "CLOSING", "LAST_ACK"}

// await waits until the kernels have what they should have. There is no event
// for that.
func (n network) await(t *testing.T, what string, ready func(snapshot) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		s := n.snapshot(t)
		if ready(s) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %s: the client's host has %v, the server's %v", what, s.client.count(), s.server.count())
		}
	}
}

// settle returns what the kernels have once no socket is between two states,
// but those that are stuck there.
func (n network) settle(t *testing.T, stuck map[string]int) snapshot {
	t.Helper()
	n.await(t, "at rest", func(s snapshot) bool {
		found := s.client.count()
		if n.server.addr != n.client.addr {
			for state, k := range s.server.count() {
				found[state] += k
			}
		}
		return !slices.ContainsFunc(passing, func(state string) bool { return found[state] != stuck[state] })
	})
	// The two hosts were looked at one after the other: now they are at rest.
	return n.snapshot(t)
}

// settledStates is settle on loopback.
func settledStates(t *testing.T) snapshot {
	t.Helper()
	return loopback().settle(t, nil)
}

// truth is what became of a connection, as its own ends and the kernel know.
type truth struct {
	Kind        string
	Handshake   string
	Teardown    string
	Closer      string // who sent the first FIN
	ResetBy     string
	ClientState string
	ServerState string
}

// twoFINs is the teardown where it is the kernel's choice whether the second
// FIN rides on the acknowledgment of the first.
const twoFINs = "three-step or four-step"

// account is a line of watch --json, the parts that are compared.
type account struct {
	Type           string
	ID             uint64
	Client, Server netip.AddrPort
	Handshake      struct{ Kind string }
	Teardown       struct {
		Kind   string
		Closer string `json:"active_closer"`
		Reset  struct{ By string }
	}
	ClientState string `json:"client_state"`
	ServerState string `json:"server_state"`
	Connections int
	Dropped     uint64
}

// accounts is the output of watch --json.
type accounts struct {
	conns   map[flow][]account  // of each flow in order of appearance
	lines   map[uint64][]string // all that was said of a connection, by its id
	summary account
}

// parseAccounts parses the output of watch --json, and holds it to the schema.
func parseAccounts(t *testing.T, out string) accounts {
	t.Helper()
	as := accounts{conns: map[flow][]account{}, lines: map[uint64][]string{}}
	contract := newContract(t)
	for line := range strings.Lines(out) {
		contract.line(line)
		if as.summary.Type != "" {
			t.Fatalf("a line after the summary: %s", line)
		}
		var head struct {
			Type string
			ID   uint64
		}
		if err := json.Unmarshal([]byte(line), &head); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		as.lines[head.ID] = append(as.lines[head.ID], line)
		if head.Type != "connection" && head.Type != "summary" {
			continue
		}
		var a account
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if a.Type == "summary" {
			as.summary = a
			continue
		}
		f := flow{a.Client, a.Server}
		as.conns[f] = append(as.conns[f], a)
	}
	for _, c := range as.conns {
		slices.SortFunc(c, func(a, b account) int { return int(a.ID) - int(b.ID) })
	}
	if as.summary.Type == "" {
		t.Fatal("no summary")
	}
	return as
}

// world makes connections and notes what became of them.
type world struct {
	t *testing.T
	network
	planned map[string]int // connections of each kind
	stuck   map[string]int // sockets that stay in a passing state
	tools   sync.WaitGroup // ends of connections of other programs that are still at work

	mu    sync.Mutex
	conns map[flow][]*truth // in order of time
	held  []io.Closer
}

func newWorld(t *testing.T, n network) *world {
	w := &world{t: t, network: n, planned: map[string]int{}, stuck: map[string]int{}, conns: map[flow][]*truth{}}
	t.Cleanup(func() {
		for _, c := range w.held {
			c.Close()
		}
	})
	return w
}

// note notes a connection.
func (w *world) note(f flow, tr truth) *truth {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[f] = append(w.conns[f], &tr)
	return &tr
}

// hold keeps sockets open until the test ends.
func (w *world) hold(cs ...io.Closer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = append(w.held, cs...)
}

// pair is a connection: both its ends.
type pair struct {
	client, server *net.TCPConn
	flow           flow
	truth          *truth
}

// ends returns both ends, that of side first; err takes the first error.
func (p *pair) ends(side string, err *error) (first, second end) {
	first, second = end{p.client, err}, end{p.server, err}
	if side == "server" {
		return second, first
	}
	return first, second
}

// connect makes a connection, with l to itself, and notes it.
func (w *world) connect(l *net.TCPListener, from uint16, want truth) (*pair, error) {
	c, err := w.client.dial(l.Addr(), from)
	if err != nil {
		return nil, err
	}
	s, err := l.AcceptTCP()
	if err != nil {
		c.Close()
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	_ = s.SetDeadline(time.Now().Add(patience))
	p := &pair{client: c, server: s, flow: flowOf(c.LocalAddr(), c.RemoteAddr())}
	if accepted := flowOf(s.RemoteAddr(), s.LocalAddr()); accepted != p.flow {
		return nil, fmt.Errorf("connected %v and accepted %v", p.flow, accepted)
	}
	p.truth = w.note(p.flow, want)
	return p, nil
}

var question = []byte("question")

func ask(c *net.TCPConn) error {
	if err := send(c); err != nil {
		return err
	}
	return take(c)
}

func send(c *net.TCPConn) error {
	_, err := c.Write(question)
	return err
}

// take reads a question, or its echo.
func take(c *net.TCPConn) error {
	_, err := io.ReadFull(c, make([]byte, len(question)))
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

// untilBroken waits for a RST after the peer's FIN, when reading says EOF.
func untilBroken(c *net.TCPConn) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Write(func(fd uintptr) bool {
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		return errno != 0 || err != nil
	})
}

// untilData waits for data and leaves it unread.
func untilData(c *net.TCPConn) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
		return err != unix.EAGAIN
	})
}

// untilAcknowledged waits until the FIN that was sent is acknowledged: the
// kernel wakes waiting writers then.
func untilAcknowledged(c *net.TCPConn) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return rc.Write(func(fd uintptr) bool {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		return err != nil || info.State != unix.BPF_TCP_FIN_WAIT1
	})
}

// segmentsIn returns how many segments an end has received (tcpi_segs_in).
func segmentsIn(c *net.TCPConn) (n uint32, err error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = control(rc, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil {
			n = info.Segs_in
		}
		return err
	})
	return n, err
}

// end is one end of a pair. After an error of either end, neither does anything.
type end struct {
	*net.TCPConn
	err *error
}

// does has the end do something, step by step.
func (e end) does(steps ...func(*net.TCPConn) error) {
	for _, step := range steps {
		if *e.err == nil {
			*e.err = step(e.TCPConn)
		}
	}
}

var (
	sendFIN = (*net.TCPConn).CloseWrite
	leave   = (*net.TCPConn).Close
)

// abort closes with a RST (SO_LINGER).
func abort(c *net.TCPConn) error {
	if err := c.SetLinger(0); err != nil {
		return err
	}
	return c.Close()
}

// converse sends data both ways.
func converse(first, second end) {
	first.does(send)
	second.does(take, send)
	first.does(take)
}

// anything is what is not known of a connection, and so is not compared.
const anything = "?"

// enough is how many ends must have been in a state for it to count as compared.
const enough = 20

// agree compares what watch printed with what is known. Of every kind there
// must be as many connections as were planned, and of every state enough.
func (w *world) agree(out string, kernel snapshot, states ...string) {
	w.t.Helper()
	as := parseAccounts(w.t, out)
	for f := range as.conns {
		if w.conns[f] == nil {
			w.t.Errorf("%v was never made", f)
		}
	}
	total := 0
	told, made, seen := map[truth]int{}, map[string]int{}, map[string]int{}
	for f, truths := range w.conns {
		total += len(truths)
		if len(as.conns[f]) != len(truths) {
			w.t.Errorf("%v was made %d times, and is there %d times", f, len(truths), len(as.conns[f]))
			continue
		}
		for i, a := range as.conns[f] {
			want := *truths[i]
			is := truth{want.Kind, a.Handshake.Kind, a.Teardown.Kind, a.Teardown.Closer, a.Teardown.Reset.By, a.ClientState, a.ServerState}
			told[is]++
			made[want.Kind]++
			switch {
			case want.ClientState != "": // looked at before
			case i == len(truths)-1: // of a flow's connections the kernel has the last one
				want.ClientState, want.ServerState = kernel.states(f)
			default:
				want.ClientState, want.ServerState = is.ClientState, is.ServerState
			}
			seen[want.ClientState]++
			seen[want.ServerState]++
			if want.Teardown == anything || want.Teardown == twoFINs && (is.Teardown == "three-step" || is.Teardown == "four-step") {
				want.Teardown = is.Teardown
			}
			if want.Closer == anything {
				want.Closer = is.Closer
			}
			if diff := cmp.Diff(want, is); diff != "" {
				w.t.Errorf("%v (-known +told)\n%s%s", f, diff, strings.Join(as.lines[a.ID], ""))
			}
		}
	}
	if as.summary.Connections != total || as.summary.Dropped != 0 {
		w.t.Errorf("%d connections made; the summary has %d, %d frames dropped", total, as.summary.Connections, as.summary.Dropped)
	}
	for kind, n := range w.planned {
		if made[kind] < n {
			w.t.Errorf("%s: %d connections made of %d", kind, made[kind], n)
		}
	}
	for _, state := range states {
		if seen[state] < enough {
			w.t.Errorf("%d ends were in %s, want at least %d", seen[state], state, enough)
		}
	}
	w.t.Logf("%d connections, as told:\n%s", total, table(told))
}

// table prints how many connections there were of each kind and fate.
func table(told map[truth]int) string {
	var b strings.Builder
	tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	rows := slices.SortedFunc(maps.Keys(told), func(a, b truth) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
	fmt.Fprintln(tab, "kind\tnumber\thandshake\tteardown\tcloser\treset by\tclient\tserver")
	for _, r := range rows {
		fmt.Fprintf(tab, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n",
			r.Kind, told[r], r.Handshake, r.Teardown, r.Closer, r.ResetBy, r.ClientState, r.ServerState)
	}
	tab.Flush()
	return b.String()
}
