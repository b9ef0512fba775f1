package tracetest_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"finack/trace"
	"finack/tracetest"
)

// echoOnce connects to a listener, sends a text, has it echoed, and closes.
func echoOnce(t *testing.T, ln *net.TCPListener, text string) (client string) {
	t.Helper()
	c := dial(t, ln.Addr())
	s, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(s, s); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if got, err := io.ReadAll(c); string(got) != text || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	return c.LocalAddr().String()
}

func TestConnectionsAreFoundByTheirAddresses(t *testing.T) {
	t.Parallel()
	before := listen(t)
	old := dial(t, before.Addr())
	tr := tracetest.Start(t)
	ln, other := listen(t), listen(t)
	addr := ln.Addr().String()

	first := echoOnce(t, ln, "1")
	if c := tr.Conn(t, addr); c.Verdict().Client.String() != first {
		t.Errorf("want the connection from %s, got\n%v", first, c)
	}
	second := echoOnce(t, ln, "22")
	echoOnce(t, other, "333")
	if c := tr.Conn(t, addr); c.Verdict().Client.String() != second {
		t.Errorf("want the last connection, from %s, got\n%v", second, c)
	}
	tr.ConnFrom(t, first, addr).Bytes(t, 1, 1)
	for i, c := range tr.Conns(t, addr, 2) {
		c.Bytes(t, uint64(i+1), uint64(i+1))
	}
	tr.Conns(t, before.Addr().String(), 0)

	_, port, _ := net.SplitHostPort(addr)
	for _, name := range []string{":" + port, "0.0.0.0:" + port, "[::]:" + port, "localhost:" + port, "[::ffff:127.0.0.1]:" + port} {
		tr.Conn(t, name).Bytes(t, 2, 2)
	}

	// One that began before is none, but it is named.
	old.Close()
	quick := tracetest.StartOn(t, &tracetest.Config{Patience: time.Millisecond})
	wantFailure(t, func(t testing.TB) { quick.Conn(t, before.Addr().String()) },
		"want a connection to "+before.Addr().String()+", none began in 1ms")
	wantFailure(t, func(t testing.TB) { tr.Conns(t, addr, 1) }, "connections to "+addr+": want 1, each over, got 2", first, second)
	for _, bad := range []string{"", "127.0.0.1", "example.com:80", "127.0.0.1:http", "localhost:99999"} {
		wantFailure(t, func(t testing.TB) { tr.Conn(t, bad) }, fmt.Sprintf("%q: want an address and a port", bad))
	}
}

func TestWhatBeganBeforeStartIsNotThere(t *testing.T) {
	t.Parallel()
	client, server := pair(t)
	tr := tracetest.StartOn(t, &tracetest.Config{Patience: 30 * time.Millisecond})
	client.Close()
	if _, err := io.ReadAll(server); err != nil {
		t.Fatal(err)
	}
	server.Close()
	addr := server.LocalAddr().String()
	wantFailure(t, func(t testing.TB) { tr.Conn(t, addr) },
		"want a connection to "+addr+", none began in 30ms; the capture shows", client.LocalAddr().String(), ", which began before")
	wantFailure(t, func(t testing.TB) { tr.Until(t, addr, "client > server *") }, "no connection to "+addr+" began in 30ms")
	wantFailure(t, func(t testing.TB) { tr.Flow(t, addr) }, "no datagram to "+addr+" came in 30ms")
}

func TestAConnectionThatDoesNotEndIsShown(t *testing.T) {
	t.Parallel()
	patient := tracetest.Start(t)
	tr := tracetest.StartOn(t, &tracetest.Config{Patience: 30 * time.Millisecond})
	client, server := pair(t)
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	addr := server.LocalAddr().String()
	patient.Until(t, addr, "client > server FIN,ACK … server > client ACK")
	wantFailure(t, func(t testing.TB) { tr.Conn(t, addr) },
		"want a connection to "+addr+" to end, it did not in 30ms", "FIN_WAIT_2", "half-closed by client", "server CLOSE_WAIT")
	wantFailure(t, func(t testing.TB) { tr.Until(t, addr, "client > server FIN,ACK … server > client FIN,ACK") },
		`want step 2 of 2, "server > client FIN,ACK", got no such packet after step 1 in 30ms`, "\n>> ")
	wantFailure(t, func(t testing.TB) { tr.Conns(t, addr, 1) }, "connections to "+addr+": want 1, each over, got 1 in 30ms")
}

func TestFilterChoosesWhatIsCaptured(t *testing.T) {
	t.Parallel()
	ln, other := listen(t), listen(t)
	port := ln.Addr().(*net.TCPAddr).Port
	tr := tracetest.StartOn(t, &tracetest.Config{Filter: fmt.Sprintf("tcp port %d", port), Patience: 10 * time.Second})
	echoOnce(t, other, "other")
	echoOnce(t, ln, "wanted")
	tr.Conn(t, ln.Addr().String()).Bytes(t, 6, 6)
	tr.Conns(t, other.Addr().String(), 0)
}

func TestAnyInterfaceSeesLoopback(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	port := ln.Addr().(*net.TCPAddr).Port
	tr := tracetest.StartOn(t, &tracetest.Config{Interface: "any", Filter: fmt.Sprintf("port %d", port)})
	echoOnce(t, ln, "once")
	c := tr.Conn(t, ln.Addr().String())
	c.Bytes(t, 4, 4)
	if n := c.Verdict().Duplicates; n != [2]uint32{} {
		t.Errorf("%d packets are there twice", n)
	}
}

func TestConfigThatCannotBe(t *testing.T) {
	t.Parallel()
	tracetest.Start(t) // or skip
	wantFailure(t, func(t testing.TB) { tracetest.StartOn(t, &tracetest.Config{Interface: "nowhere0"}) },
		"open live nowhere0: no such interface")
	wantFailure(t, func(t testing.TB) { tracetest.StartOn(t, &tracetest.Config{Filter: "tcp prot 80"}) }, "prot")
}

func TestIPv6(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	echoOnce(t, ln.(*net.TCPListener), "six")
	for _, addr := range []string{ln.Addr().String(), strings.Replace(ln.Addr().String(), "[::1]", "localhost", 1)} {
		c := tr.Conn(t, addr)
		c.Bytes(t, 3, 3)
		c.Orderly(t)
	}
}

// A payload longer than what is kept of a frame is cut there; its length is not.
func TestSnaplenCutsThePayload(t *testing.T) {
	t.Parallel()
	tr := tracetest.StartOn(t, &tracetest.Config{Snaplen: 14 + 20 + 32 + 100}) // headers with timestamps
	ln := listen(t)
	echoOnce(t, ln, strings.Repeat("x", 1000))
	c := tr.Conn(t, ln.Addr().String())
	c.Bytes(t, 1000, 1000)
	c.Orderly(t)
	if n := len(c.Payload(trace.Client)); n != 100 {
		t.Errorf("%d bytes are there, want 100", n)
	}
}

// A test that fails for reasons of its own keeps its capture as well.
func TestAFailedTestKeepsItsCapture(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	text := failure(t, func(tb testing.TB) {
		tr := tracetest.Start(tb)
		echoOnce(t, ln, "hello")
		tr.Conn(tb, ln.Addr().String())
		tb.Errorf("something else")
	})
	names := captures(text)
	if len(names) != 1 || framesIn(t, names[0]) < 8 {
		t.Errorf("want the capture of a connection, got %q:\n%s", names, text)
	}
	f := &fake{TB: t}
	if text := f.run(func(tb testing.TB) { tracetest.Start(tb) }); text != "" {
		t.Errorf("a test that does not fail says %q", text)
	}
}

// A long connection is shown without its middle, but with the marked packet.
func TestALongLadderIsCut(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	client, server := pair(t)
	b := make([]byte, 1)
	for range 100 {
		for _, c := range [][2]net.Conn{{client, server}, {server, client}} {
			if _, err := c[0].Write(b); err != nil {
				t.Fatal(err)
			}
			if _, err := c[1].Read(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := client.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	client.Close()
	c := tr.Conn(t, server.LocalAddr().String())
	text := failure(t, func(t testing.TB) { c.Orderly(t) })
	if n := strings.Count(text, "\n"); n > 70 || !strings.Contains(text, " packets\n") || !strings.Contains(text, "\n>> ") {
		t.Errorf("%d lines:\n%s", n, text)
	}
}

func TestTheNetworkIsPrivate(t *testing.T) {
	tracetest.Start(t) // or skip
	ifaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range ifaces {
		if i.Name != "lo" && !strings.HasPrefix(i.Name, "wire-") {
			t.Errorf("interface %s", i.Name)
		}
	}
	if os.Getpid() == 1 {
		t.Error("a PID namespace, too")
	}
}

// Parallel tests share loopback; each finds its own.
func TestParallelTestsFindTheirOwn(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			tr := tracetest.Start(t)
			ln := listen(t)
			echoOnce(t, ln, strings.Repeat("x", 10+i))
			c := tr.Conn(t, ln.Addr().String())
			c.Bytes(t, uint64(10+i), uint64(10+i))
			c.ClosedBy(t, trace.Client)
			c.Orderly(t)
		})
	}
}
