package tracetest_test

import (
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
func serveHTTP(t *testing.T, handler http.HandlerFunc, change func(*http.Server)) (server *http.Server, addr string, client *http.Client) {
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
	return server, ln.Addr().String(), &http.Client{Transport: transport}
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

// Requests share a connection, and who keeps it idle closes it: TIME_WAIT is the
// client's.
func TestHTTPKeepAliveIsClosedByTheClient(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	_, addr, client := serveHTTP(t, hello, nil)
	for range 3 {
		get(t, client, addr)
	}
	client.CloseIdleConnections()
	c := tr.Conns(t, addr, 1)[0]
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

// Asked to, the server closes first, and TIME_WAIT piles up there. (That is
// where the client reads to the end of the stream. Go's own client closes as soon
// as it has the whole body: then either may be the first.)
func TestHTTPConnectionCloseIsClosedByTheServer(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	_, addr, _ := serveHTTP(t, hello, nil)
	for range 2 {
		c, err := net.Dial("tcp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
		if err == nil {
			_, err = io.ReadAll(c)
		}
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range tr.Conns(t, addr, 2) {
		c.ClosedBy(t, trace.Server)
		c.Orderly(t)
		c.States(t, trace.Closed, trace.TimeWait)
	}
}

// Shutdown closes what is idle with FIN, and the client's transport, which reads
// the end of the stream, answers with its own.
func TestHTTPShutdownClosesIdleConnections(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	server, addr, client := serveHTTP(t, hello, nil)
	get(t, client, addr)
	if err := server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := tr.Conn(t, addr)
	c.ClosedBy(t, trace.Server)
	c.Orderly(t)
	c.Match(t, `server > client FIN,ACK … client > server FIN,ACK`)
}

// A server with an idle timeout closes first, and so collects TIME_WAIT.
func TestHTTPIdleTimeoutIsClosedByTheServer(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	_, addr, client := serveHTTP(t, hello, func(s *http.Server) { s.IdleTimeout = 20 * time.Millisecond })
	get(t, client, addr)
	c := tr.Conn(t, addr)
	c.ClosedBy(t, trace.Server)
	c.Orderly(t)
	if idle := c.Verdict().Idle; idle < 15*time.Millisecond {
		t.Errorf("closed after %v of silence", idle)
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
	giveUp(t, client, addr, asked)
	c := tr.Conn(t, addr)
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
	giveUp(t, client, addr, asked)
	c := tr.Conn(t, addr)
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
