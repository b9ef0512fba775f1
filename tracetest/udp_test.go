package tracetest_test

import (
	"net"
	"testing"

	"finack/decode"
	"finack/trace"
	"finack/tracetest"
)

// listenUDP returns a socket of a UDP server.
func listenUDP(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// answer sends each datagram back, until the socket is closed.
func answer(c *net.UDPConn) {
	b := make([]byte, 64)
	for {
		n, from, err := c.ReadFromUDP(b)
		if err != nil {
			return
		}
		_, _ = c.WriteToUDP(b[:n], from)
	}
}

// ask sends each text from a socket of its own and waits for the answer.
func ask(t *testing.T, server net.Addr, texts ...string) {
	t.Helper()
	c, err := net.Dial("udp4", server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, text := range texts {
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUDPServerAnswersEachDatagram(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	server := listenUDP(t)
	go answer(server)
	ask(t, server.LocalAddr(), "one", "three")
	f := tr.Flow(t, server.LocalAddr().String())
	f.Datagrams(t, 2, 2)
	f.Bytes(t, 8, 8)
	f.Match(t, `
		client > server udp
		server > client udp within 10s
		client > server udp
		server > client udp`)
	f.NoMatch(t, "client > server udp client > server udp")
	if got := string(f.Payload(trace.Server)); got != "onethree" {
		t.Errorf("the server sent %q", got)
	}
	wantFailure(t, func(t testing.TB) { f.Unreachable(t) }, "want an ICMP error", "UDP, 2+2 datagrams")
	wantFailure(t, func(t testing.TB) { f.Datagrams(t, 2, 1) }, "want 2 datagrams from the client and 1 from the server, got 2 and 2")
}

// Nobody listens: the only sign is an ICMP error, and an error of the next call.
func TestUDPWithoutAServerIsUnreachable(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	gone, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)}) // an address of its own
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	c, err := net.Dial("udp4", gone.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("somebody answered")
	}
	f := tr.Flow(t, gone.LocalAddr().String())
	f.Unreachable(t)
	f.Datagrams(t, 1, 0)
	f.Match(t, "client > server udp server > client icmp")
	if v := f.Verdict(); v.Proto != decode.ProtoUDP || v.ICMPCode != 3 {
		t.Errorf("%v, code %d", v.Proto, v.ICMPCode)
	}
}
