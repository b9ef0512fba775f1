package tracetest_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"finack/trace"
	"finack/tracetest"
)

// serveHTTP starts a server, after a last change to it, and returns its address
// and a client of its own.
func serveHTTP(t *testing.T, handler http.HandlerFunc, change func(*http.Server)) (server *http.Server, addr net.Addr, client *http.Client) {
	t.Helper()
	ln := listen(t)
	server = &http.Server{Handler: handler}
	if change != nil {
		change(server)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
		if err := <-done; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	return server, ln.Addr(), &http.Client{Transport: transport}
}

func get(t *testing.T, client *http.Client, addr string) {
	t.Helper()
	resp, err := client.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") }

// keeper is a client that keeps its connection. (Go's own keeps it only where all
// goes well: on a busy machine it may close one that it could use again.)
type keeper struct {
	*net.TCPConn
	r *bufio.Reader
}

func keep(t *testing.T, addr net.Addr) keeper {
	t.Helper()
	c := dial(t, addr)
	return keeper{c, bufio.NewReader(c)}
}

// get asks once more, with another header line.
func (k keeper) get(t *testing.T, header string) {
	t.Helper()
	if _, err := io.WriteString(k, "GET / HTTP/1.1\r\nHost: example.com\r\n"+header+"\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(k.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); string(b) != "hello\n" || err != nil {
		t.Fatalf("got %q, %v", b, err)
	}
}

// end waits until the server has closed, and closes.
func (k keeper) end(t *testing.T) {
	t.Helper()
	if b, err := io.ReadAll(k.r); len(b) > 0 || err != nil {
		t.Errorf("got %q, %v, want the end", b, err)
	}
	k.Close()
}

// Requests share a connection, and the client, which keeps it, closes it:
// TIME_WAIT is the client's.
func TestHTTPKeepAliveIsClosedByTheClient(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	_, addr, _ := serveHTTP(t, hello, nil)
	k := keep(t, addr)
	for range 3 {
		k.get(t, "")
	}
	k.Close()
	c := tr.Conns(t, addr.String(), 1)[0]
	c.ClosedBy(t, trace.Client)
	c.Orderly(t)
	c.States(t, trace.TimeWait, trace.Closed)
	c.HandshakeIs(t, trace.ThreeWay)
	c.Match(t, `
		client > server data … server > client data …
		client > server data … server > client data …
		client > server data … server > client data …
		client > server FIN,ACK`)
}

// Asked to, the server closes first, and TIME_WAIT piles up there.
func TestHTTPConnectionCloseIsClosedByTheServer(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	_, addr, _ := serveHTTP(t, hello, nil)
	for range 2 {
		k := keep(t, addr)
		k.get(t, "Connection: close\r\n")
		k.end(t)
	}
	for _, c := range tr.Conns(t, addr.String(), 2) {
		c.ClosedBy(t, trace.Server)
		c.Orderly(t)
		c.States(t, trace.Closed, trace.TimeWait)
	}
}

// Shutdown closes what is idle with FIN, not with RST.
func TestHTTPShutdownClosesIdleConnections(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	server, addr, _ := serveHTTP(t, hello, nil)
	k := keep(t, addr)
	k.get(t, "")
	if err := server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.end(t)
	c := tr.Conn(t, addr.String())
	c.ClosedBy(t, trace.Server)
	c.Orderly(t)
	c.Match(t, `server > client FIN,ACK … client > server FIN,ACK`)
}

// A server with an idle timeout closes first, and so collects TIME_WAIT.
func TestHTTPIdleTimeoutIsClosedByTheServer(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	_, addr, _ := serveHTTP(t, hello, func(s *http.Server) { s.IdleTimeout = 20 * time.Millisecond })
	k := keep(t, addr)
	k.get(t, "")
	k.end(t)
	c := tr.Conn(t, addr.String())
	c.ClosedBy(t, trace.Server)
	c.Orderly(t)
	if d := c.Verdict().Duration(); d < 20*time.Millisecond {
		t.Errorf("it lasted %v, want the idle timeout at least", d)
	}
}

// A client that gives up, as after its Timeout, closes its connection. The handler learns of it by its
// context; what the server still answers comes to a socket that is gone.
func TestHTTPClientThatGivesUpEndsInAReset(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	asked := make(chan bool, 1)
	_, addr, client := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- true
		<-r.Context().Done()
		hello(w, r)
	}, nil)
	giveUp(t, client, addr.String(), asked)
	c := tr.Conn(t, addr.String())
	c.ClosedBy(t, trace.Client)
	c.ResetBy(t, trace.Client)
	c.Match(t, `client > server FIN,ACK … server > client data … client > server RST`)
	wantFailure(t, func(t testing.TB) { c.Orderly(t) }, "want an orderly close, got RST from the client", "reset by client after half-closed close")
}

// A handler that aborts instead answers nothing: the close is an orderly one.
func TestHTTPClientThatGivesUpOnAnAbortedHandlerIsOrderly(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	asked := make(chan bool, 1)
	_, addr, client := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- true
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}, nil)
	giveUp(t, client, addr.String(), asked)
	c := tr.Conn(t, addr.String())
	c.ClosedBy(t, trace.Client)
	c.Orderly(t)
	c.NoMatch(t, `server > client data`)
}

// giveUp asks a handler and gives up when it is at it, as a timeout would.
func giveUp(t *testing.T, client *http.Client, addr string, asked <-chan bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-asked
		cancel()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
		t.Fatalf("got %v, want no answer in time", resp.Status)
	}
}

// httptest.Server.Close closes idle connections as Shutdown does; its own
// client's are closed by the client, which is told first.
func TestHTTPTestServersOwnClientClosesFirst(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	server := httptest.NewServer(http.HandlerFunc(hello))
	addr := server.Listener.Addr().String()
	get(t, server.Client(), addr)
	server.Close()
	tr.Conn(t, addr).Orderly(t)
}
