// Package lab makes the cases of a connection's life happen on real sockets,
// in a private network, and shows them.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"finack/internal/echo"
	"finack/internal/render"
	"finack/trace"
)

// Config says how a scenario is shown; nil is plain text.
type Config struct {
	Color bool
	JSON  bool // JSON Lines instead of text, where the scenario has them
	// Record is a directory that Run keeps the packets in: NAME.pcapng, NAME.json
	// (JSON Lines) and NAME.txtar (a fixture) of each scenario; "": it keeps none.
	Record string
}

// CheckError says that the kernel did something else than what a scenario shows.
type CheckError struct{ Text string }

func (e *CheckError) Error() string { return e.Text }

func checkf(format string, args ...any) error { return &CheckError{fmt.Sprintf(format, args...)} }

const (
	echoPort   = "127.0.0.1:7" // RFC 862
	closeDelay = 80 * time.Millisecond
	patience   = 2 * time.Second // for what takes milliseconds
	message    = 64              // bytes of an echoed message
)

// demo is one run of Demo.
type demo struct {
	ctx      context.Context
	out      io.Writer
	text     render.Text
	rec      *recorder
	counters []*counter
}

// Demo opens stream, datagram, Unix and raw sockets beside each other, has them
// echo, and shows every packet with the states that it proves for both ends,
// then what each transport cost and what each capturing socket saw. It must run
// in a private network: it takes the echo port on loopback. An error that is a
// *CheckError means that not everything was as shown.
func Demo(ctx context.Context, w io.Writer, cfg *Config) (err error) {
	d := &demo{ctx: ctx, out: w}
	if cfg != nil {
		d.text.Color = cfg.Color
	}
	if d.counters, err = openCounters(); err != nil {
		return err
	}
	defer func() {
		for _, c := range d.counters {
			err = errors.Join(err, c.Close())
		}
	}()
	if d.rec, err = record(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.rec.stop()) }()

	fmt.Fprintf(w, "A private network: no root needed, and nothing leaves it. Beside the echo\nsockets a raw one listens: %s.\n\n", d.counters[0].Socket)
	stream, err := d.streams()
	if err != nil {
		return err
	}
	datagram, err := d.datagrams()
	if err != nil {
		return err
	}
	unix, err := d.unixStream()
	if err != nil {
		return err
	}
	return d.tables(stream, datagram, unix)
}

// transport is what the comparison says of one.
type transport struct {
	name       string
	packets    int
	bytes      int
	roundTrips int
	end        string
	boundaries string
	conn       *trace.Conn
}

// streams shows three TCP teardowns.
func (d *demo) streams() (transport, error) {
	late, err := d.tcp("TCP echo", "The client closes first, the server 80 ms later: four steps.",
		&echo.ServerConfig{CloseDelay: closeDelay}, &echo.ClientConfig{},
		want{trace.FourStep, trace.ClosedByClient, trace.TimeWait, trace.Closed}, 1)
	if err != nil {
		return transport{}, err
	}
	if _, err := d.tcp("TCP echo", "The server closes first, the client 80 ms later: TIME_WAIT is the server's now.",
		&echo.ServerConfig{CloseAfter: message}, &echo.ClientConfig{ServerCloses: true, CloseDelay: closeDelay},
		want{trace.FourStep, trace.ClosedByServer, trace.Closed, trace.TimeWait}, 1); err != nil {
		return transport{}, err
	}
	// The kernel sends FIN and ACK in one segment when the program closes at
	// once; a busy machine now and then makes that two.
	if _, err := d.tcp("TCP echo", "The client closes, the server at once: its FIN rides on the ACK, three steps.",
		nil, &echo.ClientConfig{},
		want{trace.ThreeStep, trace.ClosedByClient, trace.TimeWait, trace.Closed}, 20); err != nil {
		return transport{}, err
	}
	bounds, err := streamBoundaries(d.ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return transport{}, err
	}
	if err := d.drain(); err != nil {
		return transport{}, err
	}
	n, bytes := d.counters[1].of(late.Client, late.Server)
	return transport{"TCP stream", n, bytes, 1, "EOF", bounds, late}, nil
}

// want is what a TCP scenario must show.
type want struct {
	kind           trace.TeardownKind
	closer         trace.Closer
	client, server trace.State
}

// tcp has one echo over TCP and shows its ladder. Where timing decides, it is
// tried up to tries times, and the first that shows what is wanted is shown.
func (d *demo) tcp(title, text string, srv *echo.ServerConfig, cli *echo.ClientConfig, w want, tries int) (*trace.Conn, error) {
	var v *trace.Conn
	for range tries {
		events, err := d.tcpOnce(srv, cli)
		if err != nil {
			return nil, err
		}
		for i := range events {
			if events[i].Kind == trace.ConnClosed {
				v = events[i].Verdict
			}
		}
		got := want{v.Teardown, v.Closer, v.States[trace.Client], v.States[trace.Server]}
		if got == w && v.Complete && v.Handshake == trace.ThreeWay {
			buf := append([]byte(text), '\n')
			buf = d.text.AppendLadder(buf, title, events)
			how, where, _ := strings.Cut(string(d.text.AppendOutcome(nil, v)), "; ")
			buf = fmt.Appendf(buf, " %s\n %s\n\n", how, where)
			_, err := d.out.Write(buf)
			return v, err
		}
	}
	return nil, checkf("%s: the kernel did something else: %s", text,
		strings.TrimSpace(string((&render.Text{}).AppendConn(nil, v))))
}

// tcpOnce has one echo and returns its events, ConnClosed among them.
func (d *demo) tcpOnce(srv *echo.ServerConfig, cli *echo.ClientConfig) (events []trace.Event, err error) {
	stop, err := serve(d.ctx, srv, "tcp4://"+echoPort)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	ep, err := echo.ParseEndpoint("tcp4://" + echoPort)
	if err != nil {
		return nil, err
	}
	c := *cli
	c.Count, c.Size, c.Timeout = 1, message, patience
	res, err := echo.Send(d.ctx, ep, &c, nil)
	if err != nil {
		return nil, err
	}
	if res.Received != 1 || res.End != echo.EndEOF {
		return nil, checkf("TCP echo: %d answers and then %v, want 1 and EOF", res.Received, res.End)
	}
	return d.rec.wait(d.ctx, res.Local, trace.ConnClosed)
}

// serve starts an echo server; stop ends it.
func serve(ctx context.Context, cfg *echo.ServerConfig, urls ...string) (stop func() error, err error) {
	eps := make([]echo.Endpoint, len(urls))
	for i, url := range urls {
		if eps[i], err = echo.ParseEndpoint(url); err != nil {
			return nil, err
		}
	}
	s, err := echo.Listen(ctx, eps, cfg)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		s.Serve()
		close(done)
	}()
	return func() error {
		err := s.Close()
		<-done
		return err
	}, nil
}

// withTempDir runs f with a directory that is gone afterwards.
func withTempDir(f func(dir string) error) error {
	dir, err := os.MkdirTemp("", "finack")
	if err != nil {
		return err
	}
	err = f(dir)
	if rmErr := os.RemoveAll(dir); err == nil {
		err = rmErr
	}
	return err
}

// datagrams shows a UDP exchange, and what is left when the server is gone.
func (d *demo) datagrams() (transport, error) {
	stop, err := serve(d.ctx, nil, "udp4://"+echoPort)
	if err != nil {
		return transport{}, err
	}
	defer func() { _ = stop() }()
	c, err := net.Dial("udp4", echoPort)
	if err != nil {
		return transport{}, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return transport{}, err
	}
	msg, buf := make([]byte, message), make([]byte, 2*message)
	if _, err := c.Write(msg); err != nil {
		return transport{}, err
	}
	if n, err := c.Read(buf); err != nil || n != message {
		return transport{}, checkf("UDP echo: %d bytes, %v; want %d", n, err, message)
	}
	events, err := d.rec.wait(d.ctx, c.LocalAddr(), trace.DatagramSeen, trace.DatagramSeen)
	if err != nil {
		return transport{}, err
	}
	if err := d.drain(); err != nil {
		return transport{}, err
	}
	packets, bytes := d.counters[1].of(events[0].Client, events[0].Server)

	// The server goes, and nothing on the wire says so until somebody sends.
	if err := stop(); err != nil {
		return transport{}, err
	}
	if _, err := c.Write(msg); err != nil {
		return transport{}, err
	}
	_, err = c.Read(buf)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return transport{}, checkf("UDP to a closed port: %v, want ECONNREFUSED", err)
	}
	events, err = d.rec.wait(d.ctx, c.LocalAddr(), trace.ICMPSeen)
	if err != nil {
		return transport{}, err
	}
	out := append([]byte(nil), "No handshake, no teardown: only the next datagram finds the server gone.\n"...)
	out = d.text.AppendLadder(out, "UDP echo", events)
	if _, err := d.out.Write(append(out, '\n')); err != nil {
		return transport{}, err
	}
	bounds, err := datagramBoundaries()
	return transport{"UDP datagram", packets, bytes, 0, "nothing; later ECONNREFUSED", bounds, nil}, err
}

// unixStream has an echo over a Unix socket: the same calls, and no packet.
func (d *demo) unixStream() (t transport, err error) {
	err = withTempDir(func(dir string) error {
		t, err = d.unixStreamIn(dir)
		return err
	})
	return t, err
}

// unixStreamIn does so with a socket in dir.
func (d *demo) unixStreamIn(dir string) (t transport, err error) {
	url := "unix://" + filepath.Join(dir, "echo.sock")
	stop, err := serve(d.ctx, nil, url)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	ep, err := echo.ParseEndpoint(url)
	if err != nil {
		return t, err
	}
	if err := d.drain(); err != nil {
		return t, err
	}
	before := d.counters[1].Total()
	res, err := echo.Send(d.ctx, ep, &echo.ClientConfig{Count: 1, Size: message, Timeout: patience}, nil)
	if err != nil {
		return t, err
	}
	if res.Received != 1 || res.End != echo.EndEOF {
		return t, checkf("Unix stream echo: %d answers and then %v, want 1 and EOF", res.Received, res.End)
	}
	if err := d.drain(); err != nil {
		return t, err
	}
	packets := d.counters[1].Total() - before
	if packets != 0 {
		return t, checkf("Unix stream echo: %d packets on the wire, want none", packets)
	}
	fmt.Fprintf(d.out, "Unix stream echo: %d bytes there and back, then EOF, and not one packet.\n\n", message)
	bounds, err := streamBoundaries(d.ctx, "unix", filepath.Join(dir, "bounds.sock"))
	return transport{"Unix stream", packets, 0, 0, "EOF", bounds, nil}, err
}

// drain waits until every capturing socket has seen what was sent so far.
func (d *demo) drain() error {
	for _, c := range d.counters {
		if err := c.Drain(); err != nil {
			return err
		}
	}
	return nil
}

// tables prints the comparison and what each capturing socket saw.
func (d *demo) tables(all ...transport) error {
	var b strings.Builder
	b.WriteString("One echo of " + strconv.Itoa(message) + " bytes, side by side:\n\n")
	row := func(name string, cell func(t transport) string) {
		fmt.Fprintf(&b, " %-25s", name)
		for _, t := range all {
			fmt.Fprintf(&b, " %-16s", cell(t))
		}
		b.WriteString("\n")
	}
	row("", func(t transport) string { return t.name })
	row("packets", func(t transport) string { return strconv.Itoa(t.packets) })
	row("bytes with IP headers", func(t transport) string { return strconv.Itoa(t.bytes) })
	row("round trips before data", func(t transport) string { return strconv.Itoa(t.roundTrips) })
	row("message boundaries", func(t transport) string { return t.boundaries })
	row("the peer's end shows as", func(t transport) string { return strings.Split(t.end, "; ")[0] })
	row("", func(t transport) string { _, more, _ := strings.Cut(t.end, "; "); return more })

	conn := all[0].conn
	if err := d.drain(); err != nil {
		return err
	}
	segments := int(conn.Packets[0] + conn.Packets[1])
	fmt.Fprintf(&b, "\nThe first TCP connection, %s → %s, as seen by:\n\n", conn.Client, conn.Server)
	for _, c := range d.counters {
		n, _ := c.of(conn.Client, conn.Server)
		if n != segments*c.times {
			return checkf("%s saw %d packets of the first connection, want %d", c.Socket, n, segments*c.times)
		}
		fmt.Fprintf(&b, " %-40s %3d  %s\n", c.Socket, n, c.why)
	}
	fmt.Fprintf(&b, " %-40s %3d  %s\n", "finack (AF_PACKET ring, ETH_P_ALL)", segments, "once: lo's copies are left out")
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(d.out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}
