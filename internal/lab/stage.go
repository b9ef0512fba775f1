package lab

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"finack/capture"
	"finack/internal/pipeline"
	"finack/internal/privnet"
	"finack/internal/render"
	"finack/trace"
)

// serverPort is where the server of a scenario listens unless it says otherwise.
const serverPort = 7007

// stage is where a scenario happens: two hosts, the wire between them, and a
// capture of it at the client's end.
type stage struct {
	ctx  context.Context
	sc   *Scenario
	cfg  *Config
	text render.Text

	wire           *privnet.Wire
	client, server *privnet.Host
	rec            *recorder

	closers  []func() error
	expected []expectation
	moments  []moment
	tallies  []tally
	seen     []string
	json     bytes.Buffer // the events, as JSON Lines
}

// perform runs the scenario from beginning to end, and checks what came of it.
func (s *stage) perform() (err error) {
	if s.wire, err = privnet.NewWire(&privnet.WireConfig{Rules: s.sc.wire}); err != nil {
		return err
	}
	s.client, s.server = s.wire.A, s.wire.B
	done, err := s.record()
	if err != nil {
		return errors.Join(err, s.wire.Close())
	}
	err = s.sc.run(s)
	if err == nil {
		err = s.settled()
	}
	// What closing does to what is left is no part of the scenario.
	err = errors.Join(err, done())
	if err == nil {
		err = s.check()
	}
	return errors.Join(err, s.close(), s.wire.Close())
}

// record starts the capture; done ends it.
func (s *stage) record() (done func() error, err error) {
	what := &recording{iface: s.client.Tap, whole: true}
	if s.sc.onLo {
		what.iface = "lo"
	}
	if s.cfg.JSON || s.cfg.Record != "" {
		what.renderer, what.out = &withoutTotals{&render.JSON{}}, &s.json
	}
	if s.cfg.Record != "" && !s.sc.silent {
		if what.writer, err = capture.CreateFile(s.file(".pcapng"), nil); err != nil {
			return nil, err
		}
	}
	open := func() (err error) {
		s.rec, err = startRecording(s.ctx, what)
		return err
	}
	if s.sc.onLo {
		err = s.client.Do(open)
	} else {
		err = open()
	}
	done = func() (err error) {
		if s.rec != nil {
			err = s.rec.stop()
		}
		if what.writer != nil {
			err = errors.Join(err, what.writer.Close())
		}
		return err
	}
	if err != nil {
		return nil, errors.Join(err, done())
	}
	return done, nil
}

// withoutTotals leaves out the summary: a scenario's own line is the last.
type withoutTotals struct{ pipeline.Renderer }

func (withoutTotals) AppendTotals(dst []byte, _ *render.Totals) []byte { return dst }

// atEnd has something closed when the scenario has run, the last thing first.
func (s *stage) atEnd(c io.Closer) { s.closers = append(s.closers, c.Close) }

// close closes what the scenario has left open.
func (s *stage) close() error {
	var errs []error
	for _, f := range slices.Backward(s.closers) {
		if err := f(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// listen has a host listen at a TCP port of its address, 0 being any.
func (s *stage) listen(h *privnet.Host, port int) (ln *net.TCPListener, err error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	err = h.Do(func() error {
		l, err := lc.Listen(s.ctx, "tcp4", net.JoinHostPort(h.Addr.String(), strconv.Itoa(port)))
		if err == nil {
			ln = l.(*net.TCPListener)
			s.atEnd(ln)
		}
		return err
	})
	return ln, err
}

// dial connects a host to an address.
func (s *stage) dial(h *privnet.Host, addr net.Addr) (conn *net.TCPConn, err error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	err = h.Do(func() error {
		c, err := d.DialContext(s.ctx, "tcp4", addr.String())
		if err == nil {
			conn = c.(*net.TCPConn)
			s.atEnd(conn)
		}
		return err
	})
	return conn, err
}

// pair connects the client to the server, which has accepted.
func (s *stage) pair() (client, server *net.TCPConn, err error) {
	ln, err := s.listen(s.server, serverPort)
	if err != nil {
		return nil, nil, err
	}
	if client, err = s.dial(s.client, ln.Addr()); err != nil {
		return nil, nil, err
	}
	if server, err = s.accept(ln); err != nil {
		return nil, nil, err
	}
	return client, server, ln.Close()
}

// say notes what was seen beside the packets.
func (s *stage) say(text string) { s.seen = append(s.seen, text) }

// pipe names a connection or flow by its ends.
type pipe struct{ client, server netip.AddrPort }

// pipeOf names the connection of a socket of the client's host.
func pipeOf(client net.Conn) pipe {
	return pipe{addrPort(client.LocalAddr()), addrPort(client.RemoteAddr())}
}

func addrPort(addr net.Addr) netip.AddrPort { return netip.MustParseAddrPort(addr.String()) }

// events returns what the capture has shown of a connection up to here: of the
// last one, where its ends were used again. The recorder must be locked.
func (s *stage) events(p pipe) []trace.Event {
	return s.rec.last(func(e *trace.Event) bool { return e.Client.AddrPort() == p.client && e.Server.AddrPort() == p.server })
}

// until waits until the capture shows something of a connection.
func (s *stage) until(p pipe, what string, holds func([]trace.Event) bool) error {
	return s.rec.until(s.ctx, s.patience(), what, func() bool { return holds(s.events(p)) })
}
