package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"time"

	"finack/decode"
	"finack/internal/render"
	"finack/trace"
)

const (
	duplexBytes    = 4_000_000 // each way at once
	duplexMore     = 1_000_000 // one way, when the other has ended
	duplexChunk    = 50_000    // a write
	duplexBuffer   = 128 << 10 // of a socket: no writer runs far ahead of its reader
	duplexPatience = 30 * time.Second
)

// duplexResult is what became of one pair of sockets.
type duplexResult struct {
	Type       string       `json:"type"`
	Transport  string       `json:"transport"`  // "tcp4" or "unix"
	Directions []*oneWay    `json:"directions"` // the client's, the server's
	Segments   *duplexTrace `json:"segments,omitempty"`
}

// oneWay is one direction of a pair of sockets.
type oneWay struct {
	From    string  `json:"from"`
	Bytes   int     `json:"bytes"`       // while both flow
	Seconds float64 `json:"duration"`    // of these, in seconds until the last is read
	Alone   int     `json:"bytes_alone"` // after the other direction's end

	from, to net.Conn
	data     *rand.ChaCha8 // what its writer sends
	want     *rand.ChaCha8 // the same for its reader
	ended    chan struct{} // closed when its reader has read to the end
}

// duplexTrace is what the packets say of it.
type duplexTrace struct {
	Data      [2]int `json:"data"`  // segments with payload, the client's and the server's
	Turns     int    `json:"turns"` // how often one side's data follow the other's
	Teardown  string `json:"teardown"`
	Closer    string `json:"active_closer"`
	HalfClose struct {
		By       string  `json:"by"`
		Bytes    uint64  `json:"bytes"` // of the server, after the client's FIN had come
		Duration float64 `json:"duration"`
	} `json:"half_close"`
}

// Duplex shows that a stream socket is two independent pipes: on each of two
// connected sockets one goroutine writes and another reads, at once and without
// a lock; then one direction ends and the other goes on. It does so with Unix
// sockets and with TCP, whose packets it shows. It must run in a private
// network, where nobody else uses loopback. An error that is a *CheckError
// means that it was not so.
func Duplex(ctx context.Context, w io.Writer, cfg *Config) (err error) {
	if cfg == nil {
		cfg = &Config{}
	}
	rec, err := record(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rec.stop()) }()
	unix, _, err := duplex(ctx, "unix", "") // an abstract name of the kernel's choice
	if err != nil {
		return err
	}
	tcp, client, err := duplex(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	events, err := rec.wait(ctx, client, trace.ConnClosed)
	if err != nil {
		return err
	}
	verdict, err := tcp.traced(events)
	if err != nil {
		return err
	}
	rec.mu.Lock()
	others := len(rec.events) - 1
	rec.mu.Unlock()
	if others != 0 {
		return checkf("Unix sockets: %d connections on the wire, want none", others)
	}
	if cfg.JSON {
		enc := json.NewEncoder(w)
		return errors.Join(enc.Encode(tcp), enc.Encode(unix))
	}
	return duplexText(w, cfg, tcp, unix, events, verdict)
}

// duplex connects two sockets and has data flow, until both directions have
// ended. It returns the client's address, too.
func duplex(ctx context.Context, network, address string) (*duplexResult, net.Addr, error) {
	c, s, err := connectedPair(ctx, network, address)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	defer s.Close()
	for _, conn := range []net.Conn{c, s} {
		sized := conn.(interface {
			SetReadBuffer(bytes int) error
			SetWriteBuffer(bytes int) error
		})
		err := errors.Join(conn.SetDeadline(time.Now().Add(duplexPatience)),
			sized.SetReadBuffer(duplexBuffer), sized.SetWriteBuffer(duplexBuffer))
		if err != nil {
			return nil, nil, err
		}
	}
	defer context.AfterFunc(ctx, func() { _ = errors.Join(c.Close(), s.Close()) })()

	there := newOneWay("client", c, s, 1)
	back := newOneWay("server", s, c, 2)
	back.Alone = duplexMore
	// Neither ends before both have begun.
	var begun, done sync.WaitGroup
	begun.Add(2)
	errs := make(chan error, 4)
	for _, f := range []func() error{
		func() error { return there.write(&begun, nil) },
		func() error { return back.write(&begun, there.ended) },
		there.read,
		back.read,
	} {
		done.Go(func() {
			if err := f(); err != nil {
				errs <- err
				_ = errors.Join(c.Close(), s.Close()) // the others need not wait for it
			}
		})
	}
	done.Wait()
	select {
	case err := <-errs:
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, nil, fmt.Errorf("%s: %w", network, err)
	default:
	}
	return &duplexResult{Type: "duplex", Transport: network, Directions: []*oneWay{there, back}}, c.LocalAddr(), nil
}

func newOneWay(name string, from, to net.Conn, seed byte) *oneWay {
	return &oneWay{
		From: name, Bytes: duplexBytes, from: from, to: to, ended: make(chan struct{}),
		data: rand.NewChaCha8([32]byte{seed}), want: rand.NewChaCha8([32]byte{seed}),
	}
}

// write writes what is to flow at once, and more when the other direction has
// ended, and ends its own. It writes the first of it before begun is over.
func (o *oneWay) write(begun *sync.WaitGroup, other <-chan struct{}) error {
	buf := make([]byte, duplexChunk)
	for sent := 0; sent < o.Bytes+o.Alone; sent += len(buf) {
		if sent == o.Bytes {
			<-other
		}
		_, _ = o.data.Read(buf) // it always fills it
		_, err := o.from.Write(buf)
		if sent == 0 {
			begun.Done()
			begun.Wait()
		}
		if err != nil {
			return err
		}
		runtime.Gosched() // where cores are few, too, all four move on
	}
	return o.from.(interface{ CloseWrite() error }).CloseWrite()
}

// read reads to the end, and holds what comes against what was sent.
func (o *oneWay) read() error {
	defer close(o.ended)
	start := time.Now()
	buf, want := make([]byte, duplexChunk), make([]byte, duplexChunk)
	for got := 0; ; {
		n, err := o.to.Read(buf)
		_, _ = o.want.Read(want[:n])
		if !bytes.Equal(buf[:n], want[:n]) {
			return checkf("the %s's data, from byte %d on: another byte than was sent", o.From, got)
		}
		if got < o.Bytes && got+n >= o.Bytes {
			o.Seconds = time.Since(start).Seconds()
		}
		got += n
		if errors.Is(err, io.EOF) && got != o.Bytes+o.Alone {
			return checkf("the %s's data: the end after %d bytes, want %d", o.From, got, o.Bytes+o.Alone)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// traced holds the packets against what must have happened.
func (d *duplexResult) traced(events []trace.Event) (*trace.Conn, error) {
	t := &duplexTrace{}
	var v *trace.Conn
	var last *trace.Event // the last with data
	for i := range events {
		e := &events[i]
		if e.Kind == trace.ConnClosed {
			v = e.Verdict
		}
		if e.Kind != trace.SegmentSeen || e.Len == 0 {
			continue
		}
		t.Data[e.From]++
		if last != nil && last.From != e.From {
			t.Turns++
		}
		last = e
	}
	t.Teardown, t.Closer = v.Teardown.String(), v.Closer.String()
	t.HalfClose.By, t.HalfClose.Duration, t.HalfClose.Bytes = v.HalfClose.By.String(), v.HalfClose.Duration.Seconds(), v.HalfClose.Bytes
	d.Segments = t
	// Each has begun before either ended: client, server and client again at least.
	if t.Turns < 2 {
		return nil, checkf("TCP: the data of one direction came after the other's, not at once")
	}
	if v.Teardown != trace.FourStep || v.Closer != trace.ClosedByClient || !v.Complete ||
		!v.HalfClose.Seen || v.HalfClose.By != trace.Client || t.HalfClose.Bytes < duplexMore {
		return nil, checkf("TCP: %s, closed by %s, %d bytes by the server after that; want four-step, closed by client, at least %d",
			t.Teardown, t.Closer, t.HalfClose.Bytes, duplexMore)
	}
	return v, nil
}

func (d *duplexResult) appendText(dst []byte, name string) []byte {
	for _, o := range d.Directions {
		to := "server"
		if o.From == to {
			to = "client"
		}
		dst = fmt.Appendf(dst, " %-4s  %s → %s  %13d  %5.1f ms  %4.0f  %22d\n",
			name, o.From, to, o.Bytes, 1e3*o.Seconds, float64(o.Bytes)/1e6/o.Seconds, o.Alone)
	}
	return dst
}

func duplexText(w io.Writer, cfg *Config, tcp, unix *duplexResult, events []trace.Event, v *trace.Conn) error {
	buf := fmt.Appendf(nil, `On each of two connected sockets one goroutine writes and another reads, all at
once. Then the client's direction ends, and the server's goes on for a while.

                          bytes at once           MB/s  bytes alone after that
`)
	buf = tcp.appendText(buf, "TCP")
	buf = unix.appendText(buf, "Unix")
	buf = append(buf, '\n')
	text := render.Text{Color: cfg.Color}
	buf = appendLadderWithoutData(buf, &text, "TCP", events)
	how, where, _ := bytes.Cut(text.AppendOutcome(nil, v), []byte("; "))
	buf = fmt.Appendf(buf, ` %s
 %s

Every byte was what was sent. Two goroutines on one socket, no lock: the
directions are independent; %d segments with data of the client and %d of the
server took %d turns on the wire. FIN, by shutdown(SHUT_WR), ends one direction
only: after it had the client's, the server sent %d bytes. The Unix
sockets did the same without a packet.
`, how, where, tcp.Segments.Data[trace.Client], tcp.Segments.Data[trace.Server], tcp.Segments.Turns, tcp.Segments.HalfClose.Bytes)
	_, err := w.Write(buf)
	return err
}

// appendLadderWithoutData appends a ladder of the segments that change a state,
// and a line for all data between two of them.
func appendLadderWithoutData(dst []byte, text *render.Text, title string, events []trace.Event) []byte {
	dst = text.AppendLadderHead(dst, title, &events[0])
	var segments, size [2]int // of the data between two steps
	step := false
	for i := range events {
		e := &events[i]
		if e.Kind == trace.SegmentSeen {
			step = e.Changed[trace.Client] || e.Changed[trace.Server] || e.Flags.Any(decode.SYN|decode.FIN|decode.RST)
			if !step && e.Len > 0 {
				segments[e.From]++
				size[e.From] += e.Len
			}
		}
		if !step { // nor what is to be said of it
			continue
		}
		for side, n := range segments {
			if n > 0 {
				dst = append(dst, ladderGap(side, n, size[side])...)
			}
		}
		segments, size = [2]int{}, [2]int{}
		dst = text.AppendRung(dst, e)
	}
	return dst
}

// ladderGap is a line of a ladder for data between two rungs.
func ladderGap(side, segments, bytes int) string {
	text := fmt.Sprintf("… %d segments, %.2f MB", segments, float64(bytes)/1e6)
	if trace.Side(side) == trace.Client {
		return fmt.Sprintf("%27s%-26s─▶\n", "", text)
	}
	return fmt.Sprintf("%24s◀─ %s\n", "", text)
}
