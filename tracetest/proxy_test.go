package tracetest_test

import (
	"io"
	"net"
	"strings"
	"testing"

	"finack/capture"
	"finack/decode"
	"finack/trace"
	"finack/tracetest"
)

// listen returns a listener on loopback that speaks plain TCP.
func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

func dial(t *testing.T, addr net.Addr) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// proxy carries one connection to a server. One that forwards half-closes hands
// the end of each direction on when it comes; the other kind, which is often
// written, closes both connections when one direction has ended.
func proxy(ln *net.TCPListener, server net.Addr, forwards bool) error {
	down, err := ln.AcceptTCP()
	if err != nil {
		return err
	}
	defer down.Close()
	c, err := net.Dial("tcp4", server.String())
	if err != nil {
		return err
	}
	up := c.(*net.TCPConn)
	defer up.Close()
	ended := make(chan error, 2)
	carry := func(to, from *net.TCPConn) {
		_, err := io.Copy(to, from)
		if forwards {
			_ = to.CloseWrite()
		}
		ended <- err
	}
	go carry(up, down)
	go carry(down, up)
	if forwards {
		<-ended
	}
	return <-ended
}

// A server that sums up what it got can answer only after its client's FIN.
func summing(ln *net.TCPListener) error {
	c, err := ln.AcceptTCP()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.ReadAll(c); err != nil {
		return err
	}
	_, err = c.Write([]byte("the sum"))
	return err
}

// through asks a summing server through a proxy.
func through(t *testing.T, forwards bool) (answer string, proxyAddr, serverAddr string) {
	t.Helper()
	front, back := listen(t), listen(t)
	done := make(chan error, 2)
	go func() { done <- summing(back) }()
	go func() { done <- proxy(front, back.Addr(), forwards) }()
	c := dial(t, front.Addr())
	if _, err := c.Write([]byte("1 2 3")); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(c)
	c.Close()
	for range 2 {
		if err := <-done; err != nil && forwards {
			t.Error(err)
		}
	}
	return string(b), front.Addr().String(), back.Addr().String()
}

func TestProxyForwardsHalfClose(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	answer, proxy, server := through(t, true)
	if answer != "the sum" {
		t.Errorf("got %q", answer)
	}
	for _, c := range []*tracetest.Conn{tr.Conn(t, proxy), tr.Conn(t, server)} {
		c.ClosedBy(t, trace.Client)
		c.HalfClosed(t, trace.Client)
		c.FourStep(t)
		c.Orderly(t)
		c.Bytes(t, 5, 7)
		c.Match(t, `
			client > server FIN,*
			…
			server > client data
			…
			server > client FIN,*  within 10s`)
		if n := c.Verdict().HalfClose.Bytes; n != 7 {
			t.Errorf("%d bytes after the FIN, want 7", n)
		}
	}
}

// The assertions find what is wrong with the other kind, and show it.
func TestProxyThatDoesNotForwardHalfCloseIsFound(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	answer, proxy, server := through(t, false)
	if answer != "" {
		t.Errorf("the client got %q", answer)
	}
	front, back := tr.Conn(t, proxy), tr.Conn(t, server)
	wantFailure(t, func(t testing.TB) { front.Match(t, "client > server FIN,* … server > client data") },
		`want step 2 of 2, "server > client data", got no such packet after step 1`, "\n>> ", "FIN+ACK", "closed by client")
	wantFailure(t, func(t testing.TB) { front.Bytes(t, 5, 7) },
		"want 5 bytes from the client and 7 from the server, got 5 and 0")
	wantFailure(t, func(t testing.TB) { back.Orderly(t) },
		"want an orderly close, got RST from the client", "\n>> ")
	text := failure(t, func(t testing.TB) { back.NoReset(t) })
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, ">>") != strings.Contains(line, "RST") && strings.Contains(line, "─▶") {
			t.Errorf("want the RST marked, got\n%s", text)
		}
	}
	if n := framesIn(t, captures(text)[0]); n < len(front.Frames())+len(back.Frames()) {
		t.Errorf("%d frames in the capture, want those of both connections", n)
	}
}

// framesIn returns how many frames a capture file has.
func framesIn(t *testing.T, name string) (n int) {
	t.Helper()
	src, err := capture.OpenFile(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for f := (decode.Frame{}); src.ReadFrame(&f) == nil; {
		n++
	}
	return n
}
