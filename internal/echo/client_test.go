package echo

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// udpServer answers as answer says: nil for nothing.
func udpServer(t *testing.T, answer func(in []byte) [][]byte) Endpoint {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, maxUDP)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			for _, out := range answer(buf[:n]) {
				if _, err := c.WriteTo(out, from); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return Endpoint{"udp", c.LocalAddr().String()}
}

// tcpServer handles one connection; done is closed when t ends.
func tcpServer(t *testing.T, handle func(c *net.TCPConn, done <-chan struct{})) Endpoint {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(longest))
		handle(c.(*net.TCPConn), t.Context().Done())
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return Endpoint{"tcp", ln.Addr().String()}
}

// told collects replies as the sequence number and what became of the message.
type told struct {
	Seq uint64
	Err error
}

func collect(list *[]told) func(Reply) {
	return func(r Reply) {
		err := r.Err
		for _, sentinel := range []error{ErrNoAnswer, ErrLate, ErrDuplicate, ErrWrong, syscall.ECONNREFUSED} {
			if errors.Is(err, sentinel) {
				err = sentinel
			}
		}
		*list = append(*list, told{r.Seq, err})
	}
}

func checkTold(t *testing.T, want, got []told) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b error) bool { return a == b })); diff != "" {
		t.Errorf("replies: %s", diff)
	}
}

// counts are the parts of a Result that do not depend on the clock.
type counts struct{ Sent, Received, Lost, Late, Duplicates, Wrong int }

func (r Result) counts() counts {
	return counts{r.Sent, r.Received, r.Lost, r.Late, r.Duplicates, r.Wrong}
}

func TestLostLateDuplicateAndWrongDatagrams(t *testing.T) {
	nothingLeft(t)
	ep := udpServer(t, func(in []byte) [][]byte {
		message := func(seq uint64) []byte {
			b := make([]byte, len(in))
			fill(b, seq)
			return b
		}
		bad := message(binary.BigEndian.Uint64(in))
		bad[len(bad)-1] ^= 1
		switch binary.BigEndian.Uint64(in) {
		case 2: // lost
			return nil
		case 3: // 2 comes late, and once more
			return [][]byte{message(2), message(2), message(3)}
		case 4: // twice; the second answer shows while 5 waits
			return [][]byte{message(4), message(4)}
		case 5: // damaged, cut, too long, empty, then right
			return [][]byte{bad, bad[:10], append(message(5), 0), nil, message(5)}
		case 6: // damaged only
			return [][]byte{bad}
		case 7: // a message that was not sent yet
			return [][]byte{message(8), message(7)}
		}
		return [][]byte{message(binary.BigEndian.Uint64(in))}
	})
	var got []told
	res, err := Send(t.Context(), ep, &ClientConfig{Count: 8, Timeout: 100 * time.Millisecond}, collect(&got))
	if err != nil {
		t.Fatal(err)
	}
	checkTold(t, []told{
		{1, nil},
		{2, ErrNoAnswer},
		{2, ErrLate},
		{2, ErrDuplicate},
		{3, nil},
		{4, nil},
		{4, ErrDuplicate},
		{5, ErrWrong},
		{5, ErrWrong},
		{5, ErrWrong},
		{5, ErrWrong},
		{5, nil},
		{6, ErrWrong},
		{6, ErrNoAnswer},
		{7, ErrWrong},
		{7, nil},
		{8, nil},
	}, got)
	want := counts{Sent: 8, Received: 6, Lost: 2, Late: 1, Duplicates: 2, Wrong: 6}
	if res.counts() != want {
		t.Errorf("%+v, want %+v", res.counts(), want)
	}
	if res.RTT.Max >= 100*time.Millisecond {
		t.Errorf("the late answer counts among the times: %+v", res.RTT)
	}
}

func TestWrongAnswersSayWhere(t *testing.T) {
	for _, test := range []struct{ got, sent, want string }{
		{"abc", "abc", ""},
		{"abx", "abc", "wrong answer: byte 2 is 0x78, 0x63 was sent"},
		{"ab", "abc", "wrong answer: 2 bytes, 3 were sent"},
		{"", "a", "wrong answer: 0 bytes, 1 were sent"},
	} {
		err := compare([]byte(test.got), []byte(test.sent))
		if test.want == "" && err != nil || test.want != "" && (err == nil || err.Error() != test.want) {
			t.Errorf("compare(%q, %q): %v, want %q", test.got, test.sent, err, test.want)
		}
	}
}

func TestMessagesDiffer(t *testing.T) {
	for _, size := range []int{4, 7, 8, 9, 64, 1000} {
		seen := map[string]uint64{}
		for seq := uint64(1); seq <= 1000; seq++ {
			b := make([]byte, size)
			fill(b, seq)
			if other, ok := seen[string(b)]; ok {
				t.Errorf("size %d: messages %d and %d are equal", size, other, seq)
			}
			seen[string(b)] = seq
		}
	}
}

// Nobody listens: each datagram draws an ICMP port unreachable, and that is
// what the report says, at once.
func TestUDPRefused(t *testing.T) {
	nothingLeft(t)
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ep := Endpoint{"udp", c.LocalAddr().String()}
	c.Close()
	var replies []Reply
	begin := time.Now()
	res, err := Send(t.Context(), ep, &ClientConfig{Count: 3, Timeout: longest}, func(r Reply) { replies = append(replies, r) })
	if err != nil || res.counts() != (counts{Sent: 3, Lost: 3}) || res.End != EndRefused || res.End.String() != "ECONNREFUSED" {
		t.Errorf("%+v, %v", res, err)
	}
	if took := time.Since(begin); took > longest/2 {
		t.Errorf("it took %v: waited for answers that cannot come", took)
	}
	const want = "connection refused: an ICMP port unreachable answered an earlier datagram"
	for _, r := range replies {
		if !errors.Is(r.Err, syscall.ECONNREFUSED) || r.Err.Error() != want {
			t.Errorf("message %d: %v, want %q", r.Seq, r.Err, want)
		}
	}
	if len(replies) != 3 {
		t.Errorf("%d replies", len(replies))
	}
}

func TestRefusedConnections(t *testing.T) {
	nothingLeft(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr().String()
	ln.Close()
	stale := Endpoint{"unix", filepath.Join(t.TempDir(), "s")}
	leaveStale(t, stale)
	staleGram := Endpoint{"unixgram", filepath.Join(t.TempDir(), "d")}
	leaveStale(t, staleGram)
	for _, ep := range []Endpoint{{"tcp", dead}, stale, staleGram} {
		res, err := Send(t.Context(), ep, nil, nil)
		var opErr *net.OpError
		if !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &opErr) || res.End != EndRefused || res.Sent != 0 {
			t.Errorf("%v: %+v, %v", ep, res, err)
		} else if strings.Contains(err.Error(), "ICMP") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v", ep, err)
		}
	}
}

// A Unix datagram server goes away between two messages.
func TestUnixDatagramServerGoesAway(t *testing.T) {
	nothingLeft(t)
	s, eps := serve(t, nil, Endpoint{"unixgram", filepath.Join(t.TempDir(), "s")})
	res, err := Send(t.Context(), eps[0], &ClientConfig{Count: 2}, func(Reply) { s.Close() })
	if !errors.Is(err, syscall.ECONNREFUSED) || res.counts() != (counts{Sent: 1, Received: 1}) || res.End != EndRefused {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestHowAStreamCanFail(t *testing.T) {
	read := func(c net.Conn, n int) { _, _ = io.ReadFull(c, make([]byte, n)) }
	// Not io.Copy from the connection to itself: package net would splice and
	// keep the pipe for later.
	answerAll := func(c net.Conn) { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }
	answer := func(c net.Conn, n int64) { _, _ = io.CopyN(struct{ io.Writer }{c}, struct{ io.Reader }{c}, n) }
	for name, test := range map[string]struct {
		handle func(*net.TCPConn, <-chan struct{})
		cfg    ClientConfig
		is     error
		says   string
		end    End
		counts counts
	}{
		"closed in the middle of an answer": {
			handle: func(c *net.TCPConn, _ <-chan struct{}) { read(c, 100); c.Write(make([]byte, 40)) },
			cfg:    ClientConfig{Size: 100},
			is:     io.ErrUnexpectedEOF, says: "message 1: the server closed after 40 of 100 bytes: unexpected EOF",
			end: EndEOF, counts: counts{Sent: 1, Lost: 1},
		},
		"closed before the answer": {
			handle: func(c *net.TCPConn, _ <-chan struct{}) { read(c, 100) },
			cfg:    ClientConfig{Size: 100},
			is:     io.ErrUnexpectedEOF, says: "closed after 0 of 100 bytes",
			end: EndEOF, counts: counts{Sent: 1, Lost: 1},
		},
		"reset": {
			handle: func(c *net.TCPConn, _ <-chan struct{}) { read(c, 100); c.SetLinger(0) },
			cfg:    ClientConfig{Size: 100},
			is:     syscall.ECONNRESET, says: "message 1: read tcp 127.0.0.1:",
			end: EndReset, counts: counts{Sent: 1, Lost: 1},
		},
		"reset while a long message is written": {
			handle: func(c *net.TCPConn, _ <-chan struct{}) { read(c, 100); c.SetLinger(0) },
			cfg:    ClientConfig{Size: 50 << 20},
			is:     syscall.ECONNRESET, says: "message 1: ",
			end: EndReset,
		},
		"no answer": {
			handle: func(c *net.TCPConn, _ <-chan struct{}) { io.Copy(io.Discard, c) },
			cfg:    ClientConfig{Size: 100, Timeout: 50 * time.Millisecond},
			is:     ErrNoAnswer, says: "message 1: no answer in time: 0 of 100 bytes after 50ms",
			end: EndNothing, counts: counts{Sent: 1, Lost: 1},
		},
		"a server that does not even read": {
			handle: func(c *net.TCPConn, done <-chan struct{}) { io.Copy(io.Discard, io.LimitReader(c, 1)); <-done },
			cfg:    ClientConfig{Size: 50 << 20, Timeout: 50 * time.Millisecond},
			is:     ErrNoAnswer, says: "message 1: no answer in time",
			end: EndNothing,
		},
		"a wrong byte": {
			handle: func(c *net.TCPConn, _ <-chan struct{}) {
				read(c, 100)
				c.Write(make([]byte, 100))
				io.Copy(io.Discard, c)
			},
			cfg: ClientConfig{Size: 100, Count: 2},
			is:  ErrWrong, says: "message 1: wrong answer: byte 7 is 0x00, 0x01 was sent",
			end: EndNothing, counts: counts{Sent: 1, Lost: 1, Wrong: 1},
		},
		"more than was sent": {
			handle: func(c *net.TCPConn, _ <-chan struct{}) { answerAll(c); c.Write([]byte("bye")) },
			cfg:    ClientConfig{Size: 100, Count: 2},
			is:     ErrWrong, says: "wrong answer: 3 bytes more than were sent",
			end: EndEOF, counts: counts{Sent: 2, Received: 2, Wrong: 1},
		},
		"reset instead of an end": {
			handle: func(c *net.TCPConn, _ <-chan struct{}) { answerAll(c); c.SetLinger(0) },
			cfg:    ClientConfig{Size: 100},
			is:     syscall.ECONNRESET, says: "await the server's end: ",
			end: EndReset, counts: counts{Sent: 1, Received: 1},
		},
		"a server that does not end": {
			handle: func(c *net.TCPConn, done <-chan struct{}) { answer(c, 100); io.Copy(io.Discard, c); <-done },
			cfg:    ClientConfig{Size: 100, Timeout: 500 * time.Millisecond},
			end:    EndNothing, counts: counts{Sent: 1, Received: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			nothingLeft(t)
			var last Reply
			res, err := Send(t.Context(), tcpServer(t, test.handle), &test.cfg, func(r Reply) { last = r })
			if !errors.Is(err, test.is) || test.is != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want …%s…", err, test.says)
			}
			if res.End != test.end || res.counts() != test.counts {
				t.Errorf("%v, %+v, want %v, %+v", res.End, res.counts(), test.end, test.counts)
			}
			if test.counts.Received == 0 && (last.Err == nil || !errors.Is(err, last.Err)) {
				t.Errorf("reported %v, returned %v", last.Err, err)
			}
		})
	}
}

func TestEmptyMessagesAreForDatagrams(t *testing.T) {
	for _, network := range []string{"tcp", "unix", "unixpacket"} {
		if _, err := Send(t.Context(), Endpoint{network, "x"}, &ClientConfig{Size: -1}, nil); err == nil || !strings.Contains(err.Error(), "only datagrams can be empty") {
			t.Errorf("%s: %v", network, err)
		}
	}
}

func TestUDPMessageTooLong(t *testing.T) {
	_, eps := serve(t, nil, Endpoint{"udp4", "127.0.0.1:0"})
	res, err := Send(t.Context(), eps[0], &ClientConfig{Size: 65508}, nil)
	if !errors.Is(err, syscall.EMSGSIZE) || !strings.Contains(err.Error(), "carries 65,507 bytes") || res.Sent != 0 {
		t.Errorf("%+v, %v, want EMSGSIZE", res, err)
	}
}

func TestIntervalIsBetweenBeginnings(t *testing.T) {
	nothingLeft(t)
	_, eps := serve(t, nil, Endpoint{"udp4", "127.0.0.1:0"}, Endpoint{"tcp4", "127.0.0.1:0"})
	const interval = 20 * time.Millisecond
	for _, ep := range eps {
		begin := time.Now()
		var at []time.Duration
		if _, err := Send(t.Context(), ep, &ClientConfig{Count: 4, Interval: interval}, func(Reply) { at = append(at, time.Since(begin)) }); err != nil {
			t.Fatal(err)
		}
		for i, d := range at {
			if d < time.Duration(i)*interval {
				t.Errorf("%v: answer %d after %v, before its message was due", ep, i+1, d)
			}
		}
	}
}

// Ctrl-C in each phase: the result so far is valid, the error is the context's.
func TestTheContextEndsAConversation(t *testing.T) {
	nothingLeft(t)
	deafUDP := udpServer(t, func([]byte) [][]byte { return nil })
	_, eps := serve(t, nil, Endpoint{"tcp4", "127.0.0.1:0"}, Endpoint{"udp4", "127.0.0.1:0"}, Endpoint{"unixgram", filepath.Join(t.TempDir(), "s")})
	for name, test := range map[string]struct {
		ep  Endpoint
		cfg ClientConfig
	}{
		"without end, tcp":      {eps[0], ClientConfig{Count: -1}},
		"without end, udp":      {eps[1], ClientConfig{Count: -1}},
		"without end, unixgram": {eps[2], ClientConfig{Count: -1}},
		"in a long interval":    {eps[0], ClientConfig{Count: 2, Interval: time.Hour}},
		"awaiting a datagram":   {deafUDP, ClientConfig{Timeout: time.Hour}},
		"awaiting the end":      {eps[0], ClientConfig{ServerCloses: true, Timeout: time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			res, err := Send(ctx, test.ep, &test.cfg, nil)
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
				t.Errorf("%v, want the context's error", err)
			}
			if res.Sent == 0 || (res.Received == 0 && test.ep != deafUDP) {
				t.Errorf("%+v", res)
			}
		})
	}
}
