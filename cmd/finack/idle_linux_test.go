package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"finack/internal/privnet"
)

// A server of net/http closes what is idle: the summary says how long it waits.
func TestWatchFindsIdleTimeout(t *testing.T) {
	privnet.Require(t)
	const conns, timeout = 12, 600 * time.Millisecond
	l := listenTCP(t)
	srv := &http.Server{
		IdleTimeout: timeout, ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") }),
	}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })
	watch := startWatch(t, "-i", "lo", "tcp", "port", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))

	closed := make(chan error, conns)
	for range conns {
		go func() {
			closed <- func() error {
				c, err := net.DialTimeout("tcp4", l.Addr().String(), patience)
				if err != nil {
					return err
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					return err
				}
				in := bufio.NewReader(c)
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, resp.Body)
				if err == nil {
					_, err = io.Copy(io.Discard, in) // until the server's FIN
				}
				return err
			}()
		}()
	}
	for range conns {
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
	settledStates(t)
	out := watch.end()
	want := regexp.MustCompile(fmt.Sprintf(`(?m)^  %d of %d closes by %s came 0\.[67]\d* ± 0\.0\d+ s after the last data: an idle timeout$`,
		conns, conns, regexp.QuoteMeta(l.Addr().String())))
	if !want.MatchString(out) {
		t.Errorf("no line matches %s in\n%s", want, out)
	}
}
