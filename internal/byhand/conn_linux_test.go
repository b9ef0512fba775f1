package byhand_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"finack/decode"
	"finack/internal/byhand"
	"finack/internal/privnet"
	"finack/trace"
)

// accepting is a listener of the kernel's that hands over what it accepts.
type accepting struct {
	addr  netip.AddrPort
	conns chan *net.TCPConn
}

func listenOn(t *testing.T, address string) *accepting {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	a := &accepting{ln.Addr().(*net.TCPAddr).AddrPort(), make(chan *net.TCPConn, 16)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			a.conns <- c.(*net.TCPConn)
		}
	})
	t.Cleanup(func() {
		ln.Close()
		running.Wait()
		for len(a.conns) > 0 {
			(<-a.conns).Close()
		}
	})
	return a
}

// accept returns the next connection.
func (a *accepting) accept(t *testing.T) *net.TCPConn {
	t.Helper()
	select {
	case c := <-a.conns:
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		return c
	case <-time.After(patience):
		t.Fatal("nothing was accepted")
		return nil
	}
}

// pair is a connection between an address by hand and the kernel.
func pair(t *testing.T, conn byhand.MachineConfig) (p *place, h *byhand.Host, ours *byhand.Conn, theirs *net.TCPConn) {
	t.Helper()
	privnet.Require(t)
	p = loopback(t)
	a := listenOn(t, "127.0.0.1:0")
	h = p.listen(conn)
	ours, err := h.Dial(t.Context(), a.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := ours.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return p, h, ours, a.accept(t)
}

func awaitState(t *testing.T, c *byhand.Conn, state trace.State) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if st, err := c.Await(ctx, func(st *byhand.Status) bool { return st.State == state }); err != nil {
		t.Fatalf("in %v, waiting for %v: %v", st.State, state, err)
	}
}

func mustWrite(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(w, text); err != nil || n != len(text) {
		t.Fatalf("wrote %d of %q: %v", n, text, err)
	}
}

func wantRead(t *testing.T, r io.Reader, text string) {
	t.Helper()
	b := make([]byte, len(text))
	if _, err := io.ReadFull(r, b); err != nil || string(b) != text {
		t.Fatalf("read %q, %v; want %q", b, err, text)
	}
}

func wantEOF(t *testing.T, r io.Reader) {
	t.Helper()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("read %d bytes, %v; want io.EOF", n, err)
	}
}

func TestThePeerClosesFirst(t *testing.T) {
	_, h, ours, theirs := pair(t, byhand.MachineConfig{})
	mustWrite(t, theirs, "last words")
	theirs.CloseWrite()
	wantRead(t, ours, "last words")
	wantEOF(t, ours)
	awaitState(t, ours, trace.CloseWait)
	mustWrite(t, ours, "still here")
	wantRead(t, theirs, "still here")
	if err := ours.Close(); err != nil {
		t.Fatal(err)
	}
	wantEOF(t, theirs)
	if st := ours.Status(); st.State != trace.Closed || st.Err != nil {
		t.Errorf("%v, %v; want CLOSED: it is the other that waits", st.State, st.Err)
	}
	if err := h.Wait(t.Context()); err != nil { // for nothing
		t.Error(err)
	}
}

func TestTimeWaitEnds(t *testing.T) {
	_, h, ours, theirs := pair(t, byhand.MachineConfig{TimeWait: 50 * time.Millisecond})
	if err := ours.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantEOF(t, theirs)
	theirs.Close()
	awaitState(t, ours, trace.TimeWait)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if st := ours.Status(); st.State != trace.Closed || st.Err != nil {
		t.Errorf("%v, %v", st.State, st.Err)
	}
	if _, err := ours.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write after the end: %v", err)
	}
	wantEOF(t, ours)
}

func TestAPeerThatKeepsItsDirectionOpenIsReset(t *testing.T) {
	privnet.Require(t)
	loopback(t)
	a := listenOn(t, "127.0.0.1:0")
	h, err := byhand.Listen(&byhand.HostConfig{Addr: source, CloseTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ours, err := h.Dial(t.Context(), a.addr)
	if err != nil {
		t.Fatal(err)
	}
	theirs := a.accept(t)
	if err := ours.Close(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("close: %v", err)
	}
	wantEOF(t, theirs)
	// The RST has come by now, or comes: it is an error of a later call.
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := theirs.Write([]byte("x")); errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the peer was not reset")
		}
	}
}

func TestRefused(t *testing.T) {
	privnet.Require(t)
	p := loopback(t)
	h := p.listen(byhand.MachineConfig{})
	_, err := h.Dial(t.Context(), netip.MustParseAddrPort("127.0.0.1:9"))
	if !errors.Is(err, byhand.ErrRefused) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v, want ErrRefused", err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	privnet.Require(t)
	p := loopback(t)
	h := p.listen(byhand.MachineConfig{RTO: 5 * time.Millisecond, Tries: 3})
	_, err := h.Dial(t.Context(), netip.MustParseAddrPort("10.9.7.8:80")) // routed, and nobody's
	var timeout *byhand.TimeoutError
	if !errors.As(err, &timeout) || timeout.What != "SYN" || timeout.Tries != 4 {
		t.Errorf("%v, want that the SYN was sent 4 times", err)
	}
	var nerr net.Error
	if !errors.As(err, &nerr) || !nerr.Timeout() {
		t.Errorf("%v is no timeout", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	slow := byhand.MachineConfig{RTO: time.Minute}
	c, err := h.Conn(netip.MustParseAddrPort("10.9.7.8:80"), &slow)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Connect(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", err)
	}
}

func TestNoWay(t *testing.T) {
	privnet.Require(t)
	p := loopback(t)
	h := p.listen(byhand.MachineConfig{})
	if _, err := h.Dial(t.Context(), netip.MustParseAddrPort("192.0.2.1:80")); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("%v, want ENETUNREACH", err)
	}
	if _, err := h.Dial(t.Context(), netip.MustParseAddrPort("[::1]:80")); err == nil {
		t.Error("an IPv6 address from an IPv4 one")
	}
	if _, err := byhand.Listen(&byhand.HostConfig{Addr: source, Interface: "nosuch0"}); err == nil {
		t.Error("an interface that does not exist")
	}
}

func TestResets(t *testing.T) {
	_, _, ours, theirs := pair(t, byhand.MachineConfig{})
	if err := theirs.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, byhand.ErrReset) || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want ErrReset", err)
	}
	if _, err := ours.Write(make([]byte, 1)); !errors.Is(err, byhand.ErrReset) {
		t.Errorf("%v, want ErrReset", err)
	}
}

func TestAbort(t *testing.T) {
	_, h, ours, theirs := pair(t, byhand.MachineConfig{})
	if err := ours.Abort(); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer: %v, want ECONNRESET", err)
	}
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("we: %v", err)
	}
	if err := h.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestManyBytes has a window that is closed most of the time on either side.
func TestManyBytes(t *testing.T) {
	_, _, ours, theirs := pair(t, byhand.MachineConfig{Window: 3000})
	if err := theirs.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 300_000)
	for i := range data {
		data[i] = byte(i * i >> 8)
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		if _, err := ours.Write(data); err != nil {
			t.Error(err)
		}
		if err := ours.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	sending.Go(func() {
		if _, err := theirs.Write(data); err != nil {
			t.Error(err)
		}
		theirs.CloseWrite()
	})
	sending.Go(func() {
		got, err := io.ReadAll(theirs)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("the peer has %d bytes, %v", len(got), err)
		}
	})
	got, err := io.ReadAll(ours)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("we have %d bytes, %v", len(got), err)
	}
	sending.Wait()
	if err := ours.Close(); err != nil {
		t.Error(err)
	}
}

func TestAPeerThatDoesNotRead(t *testing.T) {
	_, _, ours, theirs := pair(t, byhand.MachineConfig{RTO: 20 * time.Millisecond, Tries: 3})
	data := make([]byte, 8<<20) // more than any socket buffer
	if err := ours.SetWriteDeadline(time.Now().Add(600 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := ours.Write(data)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == len(data) {
		t.Fatalf("wrote %d, %v; want a window that closes", n, err)
	}
	if st := ours.Status(); st.SndWnd != 0 || st.State != trace.Established {
		t.Fatalf("window %d, %v; want a closed one, probed in vain for longer than tries last", st.SndWnd, st.State)
	}
	if err := ours.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.Copy(io.Discard, theirs)
	if err != nil || got != int64(n) {
		t.Errorf("the peer has read %d of %d bytes, %v", got, n, err)
	}
}

func TestDeadlinesAndCloseWakeWhoWaits(t *testing.T) {
	_, h, ours, _ := pair(t, byhand.MachineConfig{})
	if err := ours.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var nerr net.Error
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &nerr) || !nerr.Timeout() {
		t.Errorf("%v, want a timeout", err)
	}
	read := make(chan error)
	begin := func() {
		if err := ours.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := ours.Read(make([]byte, 1))
			read <- err
		}()
	}
	begin()
	if err := ours.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v, want a timeout", err)
	}
	begin()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want net.ErrClosed", err)
	}
	if err := h.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if _, err := h.Dial(t.Context(), netip.MustParseAddrPort("127.0.0.1:9")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dialled after Close: %v", err)
	}
}

func TestPorts(t *testing.T) {
	privnet.Require(t)
	loopback(t)
	a := listenOn(t, "127.0.0.1:0")
	h, err := byhand.Listen(&byhand.HostConfig{Addr: source, Ports: [2]uint16{2000, 2001}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var list []*byhand.Conn
	for want := range 2 {
		c, err := h.Dial(t.Context(), a.addr)
		if err != nil || c.LocalAddr().(*net.TCPAddr).Port != 2000+want {
			t.Fatalf("%v, %v", c.LocalAddr(), err)
		}
		list = append(list, c)
	}
	if _, err := h.Dial(t.Context(), a.addr); err == nil {
		t.Error("a third connection from two ports")
	}
	// One of them ends: its port can be had again.
	a.accept(t)
	theirs := a.accept(t)
	if err := list[1].CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wantEOF(t, theirs)
	theirs.Close()
	awaitState(t, list[1], trace.TimeWait)
	again, err := h.Dial(t.Context(), a.addr)
	if err != nil || again.LocalAddr().(*net.TCPAddr).Port != 2001 || list[1].Status().State != trace.Closed {
		t.Fatalf("%v, %v, and the old one is in %v", again.LocalAddr(), err, list[1].Status().State)
	}
	used := byhand.MachineConfig{Local: netip.AddrPortFrom(source, 2001)}
	if _, err := h.Conn(a.addr, &used); err == nil {
		t.Error("a port that is in use")
	}
	used.Local = netip.AddrPortFrom(source, 2002)
	c, err := h.Conn(a.addr, &used)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Connect(t.Context()), c.Abort()); err != nil {
		t.Error(err)
	}
}

// TestCrossingFINs makes both ends close before they hear of each other.
func TestCrossingFINs(t *testing.T) {
	p, _, ours, theirs := pair(t, byhand.MachineConfig{})
	stop := p.watch(ours.RemoteAddr().(*net.TCPAddr).AddrPort().Port())
	if err := ours.Quiet(true); err != nil {
		t.Fatal(err)
	}
	before := ours.Segment(decode.FIN|decode.ACK, nil)
	theirs.Close()
	awaitState(t, ours, trace.CloseWait)
	if err := ours.Send(before); err != nil { // which does not acknowledge theirs
		t.Fatal(err)
	}
	awaitState(t, ours, trace.Closed) // the kernel has acknowledged ours
	// Its own is not acknowledged yet: CLOSING.
	p.awaitPeer(ours, trace.Closing)
	last := ours.Segment(decode.ACK, nil)
	if err := ours.Send(last); err != nil {
		t.Fatal(err)
	}
	p.awaitPeer(ours, trace.TimeWait)
	conns := stop()
	if len(conns) != 1 || conns[0].Teardown != trace.SimultaneousClose || !conns[0].Complete || conns[0].Closer != trace.ClosedByBoth {
		t.Errorf("%+v, want one simultaneous close", conns)
	}
}

// TestASYNWithoutTheLastACK leaves the kernel in SYN_RECEIVED, where it says
// its SYN-ACK again until it is answered.
func TestASYNWithoutTheLastACK(t *testing.T) {
	privnet.Require(t)
	p := loopback(t)
	a := listenOn(t, "127.0.0.1:0")
	h := p.listen(byhand.MachineConfig{})
	c, err := h.Conn(a.addr, &byhand.MachineConfig{Quiet: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(c.Segment(decode.SYN, nil)); err != nil {
		t.Fatal(err)
	}
	awaitState(t, c, trace.Established) // for us
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.Await(ctx, func(st *byhand.Status) bool { return st.Ignored == 1 }); err != nil {
		t.Fatal(err) // the SYN-ACK again, after a second
	}
	if len(a.conns) != 0 {
		t.Error("accepted without the last ACK")
	}
	if err := c.Quiet(false); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, c, "here I am")
	wantRead(t, a.accept(t), "here I am")
}

// TestARSTOutOfTheWindow changes nothing for the kernel.
func TestARSTOutOfTheWindow(t *testing.T) {
	_, _, ours, theirs := pair(t, byhand.MachineConfig{})
	rst := ours.Segment(decode.RST, nil)
	rst.Seq += 1 << 30
	if err := ours.Send(rst); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, ours, "alive")
	wantRead(t, theirs, "alive")
	rst = ours.Segment(decode.RST, nil) // and now the exact one
	if err := ours.Send(rst); err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the peer: %v, want ECONNRESET", err)
	}
}

// TestDataOnTheSYN is not taken without a cookie, and comes again.
func TestDataOnTheSYN(t *testing.T) {
	privnet.Require(t)
	p := loopback(t)
	a := listenOn(t, "127.0.0.1:0")
	c, err := p.listen(byhand.MachineConfig{}).Conn(a.addr, &byhand.MachineConfig{RTO: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(c.Segment(decode.SYN, []byte("early"))); err != nil {
		t.Fatal(err)
	}
	wantRead(t, a.accept(t), "early")
}

func TestManyAtOnce(t *testing.T) {
	privnet.Require(t)
	p := loopback(t)
	startGo(p)
	h := p.listen(byhand.MachineConfig{})
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for range 20 {
				if _, err := echoOnce(h, netip.AddrPortFrom(p.server, port), bytes.Repeat([]byte{byte(i)}, 5000), i%2 == 0); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	p.awaitSockets("at the end", gone)
}

func TestIPv6(t *testing.T) {
	privnet.Require(t)
	remove, err := privnet.RouteLoopback(netip.MustParsePrefix("fd00:9:7::/64"))
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	a := listenOn(t, "[::1]:0")
	h, err := byhand.Listen(&byhand.HostConfig{Addr: netip.MustParseAddr("fd00:9:7::7")})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	c, err := h.Dial(t.Context(), a.addr)
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, c, "hello")
	theirs := a.accept(t)
	wantRead(t, theirs, "hello")
	theirs.Close()
	wantEOF(t, c)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestCorruptedSegments goes through a wire that turns a bit of every tenth
// frame each way: what is damaged must be neither taken nor acknowledged.
func TestCorruptedSegments(t *testing.T) {
	privnet.Require(t)
	w, err := privnet.NewWire(&privnet.WireConfig{Routed: network, Rules: []privnet.Rule{
		{From: privnet.A, Chance: 0.1, Seed: 3, Corrupt: true},
		{From: privnet.B, Chance: 0.1, Seed: 4, Corrupt: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	p := &place{t, "corrupting wire", w.B.Addr, w.A.Do, w.B.Do}
	startGo(p)
	var h *byhand.Host
	if err := w.A.Do(func() (err error) {
		h, err = byhand.Listen(&byhand.HostConfig{
			Addr: source, CheckSums: true, CloseTimeout: patience, Conn: byhand.MachineConfig{RTO: 50 * time.Millisecond, Tries: 12},
		})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	message := make([]byte, 60_000)
	for i := range message {
		message[i] = byte(i >> 4)
	}
	c, err := echoOnce(h, netip.AddrPortFrom(p.server, port), message, true)
	if err != nil {
		t.Fatal(err)
	}
	p.awaitPeer(c, trace.Listen)
	if st := c.Status(); st.Ignored == 0 || st.Retransmits == 0 {
		t.Errorf("%d segments ignored, %d sent again; want some of each", st.Ignored, st.Retransmits)
	}
	stats, err := w.Stats()
	if err != nil || stats.Rules[0].Corrupted == 0 || stats.Rules[1].Corrupted == 0 {
		t.Errorf("%+v, %v", stats, err)
	}
}
