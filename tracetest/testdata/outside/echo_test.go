package outside

import (
	"io"
	"net"
	"testing"

	"finack/trace"
	"finack/tracetest"
)

func TestMain(m *testing.M) { tracetest.Main(m) }

// exchange has a text echoed, and returns the server's address.
func exchange(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go Echo(ln)
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	return ln.Addr().String()
}

func TestEchoAnswersFINWithFIN(t *testing.T) {
	tr := tracetest.Start(t)
	c := tr.Conn(t, exchange(t))
	c.ClosedBy(t, trace.Client)
	c.Orderly(t)
	c.Bytes(t, 5, 5)
	c.Match(t, `client > server FIN,* … server > client FIN,* within 1s`)
}
