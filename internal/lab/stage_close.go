package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"finack/internal/privnet"
	"finack/trace"
)

// tcpRepair is TCP_REPAIR by its number on Linux, with which CRIU takes a socket
// away and brings it back.
const tcpRepair = 19

// pureACK is the filter for segments that are an ACK and nothing else: where data
// is that little, it has PSH, too.
const pureACK = "tcp[tcpflags] = tcp-ack"

// reverse is the connection seen from the server, as its socket has it.
func (p pipe) reverse() pipe { return pipe{p.server, p.client} }

// caught waits until the wire has lost, or holds, a frame by each of these rules:
// the capture and the sender's kernel know of it before that.
func (s *stage) caught(rules ...int) error {
	return await(s.ctx, s.patience(), func() error {
		stats, err := s.wire.Stats()
		if err != nil {
			return err
		}
		for _, rule := range rules {
			if r := &stats.Rules[rule]; r.Dropped+r.Held == 0 {
				return checkf("the wire has lost no frame, and holds none, by its rule %d", rule)
			}
		}
		return nil
	})
}

// lift lifts rules of the wire.
func (s *stage) lift(rules ...int) error {
	for _, rule := range rules {
		if err := s.wire.Lift(rule); err != nil {
			return err
		}
	}
	return nil
}

// receive reads so many bytes.
func (s *stage) receive(c *net.TCPConn, n int) error {
	if err := c.SetReadDeadline(time.Now().Add(s.patience())); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, n))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return checkf("read at %v has not returned in %v", c.LocalAddr(), s.patience())
	}
	return err
}

// ask has the client send a request, and the server its answer.
func (s *stage) ask(client, server *net.TCPConn) error {
	if err := s.pass(client, server, "request"); err != nil {
		return err
	}
	return s.pass(server, client, "answer")
}

// pass has one end of a connection send a text and the other read it.
func (s *stage) pass(from, to net.Conn, text string) error {
	if _, err := io.WriteString(from, text); err != nil {
		return checkf("write %q: %v; want it to go through", text, err)
	}
	return s.arrives(to, text)
}

// arrives reads a text.
func (s *stage) arrives(c net.Conn, text string) error {
	if err := c.SetReadDeadline(time.Now().Add(s.patience())); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != text {
		return checkf("read %q, %v; want %q", got[:n], err, text)
	}
	return nil
}

// receiveEnd reads the end of file.
func (s *stage) receiveEnd(c *net.TCPConn) error {
	if err := s.receive(c, 1); !errors.Is(err, io.EOF) {
		return checkf("read at %v: %v; want the end of file", c.LocalAddr(), err)
	}
	return nil
}

// received waits until a host's socket has so many bytes that nobody has read.
func (s *stage) received(h *privnet.Host, p pipe, n int) error {
	return await(s.ctx, s.patience(), func() error {
		k, err := s.socket(h, p)
		if err == nil && k.ReadQueue != n {
			err = checkf("%v has %d bytes to read, want %d", p.client, k.ReadQueue, n)
		}
		return err
	})
}

// acknowledged waits until a host's socket has nothing left that is not acknowledged.
func (s *stage) acknowledged(h *privnet.Host, p pipe) error {
	return await(s.ctx, s.patience(), func() error {
		k, err := s.socket(h, p)
		if err == nil && (k.State == trace.Closed || k.WriteQueue != 0) {
			err = checkf("%v in %v has %d bytes that are not acknowledged, want 0", p.client, k.State, k.WriteQueue)
		}
		return err
	})
}

// failed checks that a call has failed with an errno, and says so.
func (s *stage) failed(call string, err error, want syscall.Errno) error {
	if !errors.Is(err, want) {
		return checkf("%s: %v; want %s", call, err, errnoName(want))
	}
	s.say(fmt.Sprintf("%s failed with %s: %v.", call, errnoName(want), want))
	return nil
}

// errnoName is the name of an errno, as errno(3) has it, of those that the calls
// of a scenario give.
func errnoName(e syscall.Errno) string {
	switch e {
	case syscall.EAGAIN:
		return "EAGAIN"
	case syscall.ECONNREFUSED:
		return "ECONNREFUSED"
	case syscall.ECONNRESET:
		return "ECONNRESET"
	case syscall.EMSGSIZE:
		return "EMSGSIZE"
	case syscall.ENOENT:
		return "ENOENT"
	case syscall.ENOTCONN:
		return "ENOTCONN"
	case syscall.EPIPE:
		return "EPIPE"
	default:
		return fmt.Sprintf("errno %d", int(e))
	}
}

// counted waits until a counter of a host has come to this value, and says so.
func (s *stage) counted(whose string, h *privnet.Host, name string, least int64) error {
	var got int64
	err := await(s.ctx, s.patience(), func() error {
		c, err := s.counters(h)
		if got = c[name]; err == nil && got < least {
			err = checkf("%s of the %s's host is %d, want %d", name, whose, got, least)
		}
		return err
	})
	if err == nil {
		s.say(fmt.Sprintf("%s of the %s's host: %d.", name, whose, got))
	}
	return err
}

// resetBy is the outcome of a connection that one side has reset, with so many
// RSTs, and one for each segment that a busy machine makes the peer send again.
func resetBy(by trace.Side, after trace.TeardownKind, closer trace.Closer, rsts uint32) outcome {
	return outcome{
		handshake: trace.ThreeWay, teardown: trace.Reset, closer: closer,
		states: states{trace.Closed, trace.Closed},
		also: func(v *trace.Conn) error {
			peer := by.Peer()
			if v.ResetBy != by || v.ResetAfter != after || v.RST[by] < rsts || v.RST[by] > rsts+v.Retransmits[peer] || v.RST[peer] != 0 {
				return checkf("reset by %v after %v, RSTs %v; want it by %v after %v, %d RSTs", v.ResetBy, v.ResetAfter, v.RST, by, after, rsts)
			}
			return nil
		},
	}
}
