package tracetest_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"finack/trace"
	"finack/tracetest"
)

// connect opens a connection from host A to host B.
func connect(t *testing.T, w *tracetest.Wire) (a, b *net.TCPConn) {
	t.Helper()
	ln, err := w.B.Listen("tcp4", "10.9.0.2:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	up, err := w.A.DialContext(t.Context(), "tcp4", "10.9.0.2:8080")
	if err != nil {
		t.Fatal(err)
	}
	down, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close(); down.Close() })
	return up.(*net.TCPConn), down.(*net.TCPConn)
}

// A segment that is lost is sent again, which shows at its sender only.
func TestWireLosesASegment(t *testing.T) {
	t.Parallel()
	w := tracetest.NewWire(t, tracetest.Rule{From: tracetest.A, Filter: "tcp[tcpflags] & tcp-push != 0", Nth: 1, Drop: true})
	atA := tracetest.StartOn(t, &tracetest.Config{Interface: w.A.Interface})
	atB := tracetest.StartOn(t, &tracetest.Config{Interface: w.B.Interface})
	a, b := connect(t, w)
	if _, err := a.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(b, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	a.Close()
	if _, err := io.ReadAll(b); err != nil {
		t.Fatal(err)
	}
	b.Close()

	sent, received := atA.Conn(t, "10.9.0.2:8080"), atB.Conn(t, "10.9.0.2:8080")
	wantFailure(t, func(t testing.TB) { sent.NoRetransmits(t) }, "want no retransmission, got ", " from the client", "\n>> ")
	sent.Match(t, "client > server data … client > server data … server > client ACK,*")
	received.Bytes(t, 5, 0)
	wantFailure(t, func(t testing.TB) { sent.Match(t, "client > server data … client > server data within 1ms") },
		`want step 2 of 2, "client > server data within 1ms", got it too late`, "\n>> ")
	if n := w.Stats(t).Rules[0]; n.Matched < 2 || n.Dropped != 1 {
		t.Errorf("%+v", n)
	}
}

// Two FINs that are under way at once: neither acknowledges the other.
func TestWireCrossesFINs(t *testing.T) {
	t.Parallel()
	w := tracetest.NewWire(t, tracetest.Rule{Filter: "tcp[tcpflags] & tcp-fin != 0", Delay: 30 * time.Millisecond})
	tr := tracetest.StartOn(t, &tracetest.Config{Interface: w.A.Interface})
	a, b := connect(t, w)
	a.Close()
	b.Close()
	c := tr.Conn(t, "10.9.0.2:8080")
	c.TeardownIs(t, trace.SimultaneousClose)
	c.Orderly(t)
	c.NoReset(t)
	wantFailure(t, func(t testing.TB) { c.ClosedBy(t, trace.Client) }, "want the client to close first, got: both did at once")
}

func TestWireCarriesHTTP(t *testing.T) {
	t.Parallel()
	w := tracetest.NewWire(t)
	tr := tracetest.StartOn(t, &tracetest.Config{Interface: w.B.Interface})
	ln, err := w.B.Listen("tcp4", ":80")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(hello)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	client := &http.Client{Transport: &http.Transport{DialContext: w.A.DialContext}}
	get(t, client, "10.9.0.2")
	client.CloseIdleConnections()
	c := tr.Conn(t, "10.9.0.2:80")
	c.ClosedBy(t, trace.Client)
	c.Orderly(t)
	if from := c.Verdict().Client.AddrPort().Addr(); from != w.A.Addr {
		t.Errorf("from %v, want host A", from)
	}
	server.Close()
	if err := <-done; err != http.ErrServerClosed {
		t.Error(err)
	}
}

func TestWireCarriesDatagrams(t *testing.T) {
	t.Parallel()
	w := tracetest.NewWire(t, tracetest.Rule{From: tracetest.A, Filter: "udp", Duplicate: true})
	tr := tracetest.StartOn(t, &tracetest.Config{Interface: w.B.Interface})
	server, err := w.B.ListenPacket("udp4", "10.9.0.2:53")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c, err := w.A.DialContext(context.Background(), "udp4", "10.9.0.2:53")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := server.ReadFrom(make([]byte, 9)); err != nil {
			t.Fatal(err)
		}
	}
	tr.Flow(t, "10.9.0.2:53").Datagrams(t, 2, 0)
	if _, err := w.A.DialContext(t.Context(), "tcp4", "localhost:80"); err == nil {
		t.Error("a name is taken for an address")
	}
}

func TestAWireThatCannotBe(t *testing.T) {
	t.Parallel()
	tracetest.Start(t) // or skip
	wantFailure(t, func(t testing.TB) { tracetest.NewWire(t, tracetest.Rule{Filter: "nonsense at all"}) }, "wire: rule 0")
}
