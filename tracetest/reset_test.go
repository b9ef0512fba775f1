package tracetest_test

import (
	"net"
	"testing"

	"finack/trace"
	"finack/tracetest"
)

// pair returns both ends of a connection.
func pair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	ln := listen(t)
	client = dial(t, ln.Addr())
	server, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

func TestClosedPortRefuses(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	ln, err := net.Listen("tcp4", "127.0.0.9:0") // an address of its own
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if _, err := net.Dial("tcp4", ln.Addr().String()); err == nil {
		t.Fatal("somebody answered")
	}
	c := tr.Conn(t, ln.Addr().String())
	c.HandshakeIs(t, trace.Refused)
	c.ResetBy(t, trace.Server)
	c.States(t, trace.Closed, trace.Closed)
	c.Match(t, "client > server S server > client R.")
	wantFailure(t, func(t testing.TB) { c.HandshakeIs(t, trace.ThreeWay) }, "want handshake three-way, got refused", "\n>> ")
	wantFailure(t, func(t testing.TB) { c.ClosedBy(t, trace.Server) }, "want the server to close first, got: nobody did: there is no FIN")
}

// Bytes that nobody has read when their socket is closed make a reset of it.
func TestCloseWithUnreadBytesResets(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	client, server := pair(t)
	if _, err := client.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	tr.Until(t, server.LocalAddr().String(), "client > server data … server > client ACK")
	server.Close()
	c := tr.ConnFrom(t, client.LocalAddr().String(), server.LocalAddr().String())
	c.ResetBy(t, trace.Server)
	c.TeardownIs(t, trace.Reset)
	c.NoMatch(t, "server > client FIN,*")
	wantFailure(t, func(t testing.TB) { c.NoReset(t) }, "want no RST, got 1 from the server", "\n>> ")
	wantFailure(t, func(t testing.TB) { c.ResetBy(t, trace.Client) }, "want a reset by the client, got one by the server")
	wantFailure(t, func(t testing.TB) { c.HalfClosed(t, trace.Server) }, "want half-closed by the server, got no time")
}

// Who has closed first keeps TIME_WAIT, whatever side dialled.
func TestTheServerThatClosesFirstKeepsTimeWait(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	client, server := pair(t)
	addr := server.LocalAddr().String()
	if err := server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	half := tr.Until(t, addr, "server > client FIN,ACK … client > server ACK")
	half.States(t, trace.CloseWait, trace.FinWait2)
	half.TeardownIs(t, trace.HalfClosed)
	wantFailure(t, func(t testing.TB) { half.Orderly(t) }, "want an orderly close, got FIN from the server only", "\n>> ")
	wantFailure(t, func(t testing.TB) { half.FourStep(t) }, "want teardown four-step, got half-closed")

	client.Close()
	c := tr.Conn(t, addr)
	c.States(t, trace.Closed, trace.TimeWait)
	c.ClosedBy(t, trace.Server)
	c.HalfClosed(t, trace.Server)
	c.FourStep(t)
	wantFailure(t, func(t testing.TB) { c.ClosedBy(t, trace.Client) }, "want the client to close first, got: the server", "\n>> ")
	wantFailure(t, func(t testing.TB) { c.HalfClosed(t, trace.Client) }, "want half-closed by the client, got the server")
	wantFailure(t, func(t testing.TB) { c.States(t, trace.Closed, trace.Closed) },
		"want the client CLOSED and the server CLOSED, got CLOSED and TIME_WAIT")
	half.TeardownIs(t, trace.HalfClosed) // an account does not change
}
