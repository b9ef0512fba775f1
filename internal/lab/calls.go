package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// calls is what programs called and what it returned, in order, written as
// strace(1) does: the scenario says it, and each line must be what was expected.
type calls struct{ lines []string }

// did notes a call with the number that it returned, or its errno.
func (c *calls) did(call string, n int, err error) {
	c.lines = append(c.lines, call+" = "+returned(n, err))
}

// returned is what a call returned, as a C program sees it.
func returned(n int, err error) string {
	if err == nil {
		return strconv.Itoa(n)
	}
	if errors.Is(err, io.EOF) {
		return "0"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return "-1 " + errnoName(errno)
	}
	return "-1 " + err.Error()
}

// write notes a write of text.
func (c *calls) write(who string, w io.Writer, text string) {
	n, err := w.Write([]byte(text))
	c.did(fmt.Sprintf("%s: write(%q)", who, text), n, err)
}

// reader is a socket that can be read with patience.
type reader interface {
	io.Reader
	SetReadDeadline(time.Time) error
	SyscallConn() (syscall.RawConn, error)
}

// usualRoom is how many bytes a read has room for, where it does not matter.
const usualRoom = 64

// read notes a read, which waits for what must come.
func (c *calls) read(who string, r reader) { c.readInto(who, r, usualRoom) }

// readInto is read with room for so many bytes.
func (c *calls) readInto(who string, r reader, room int) {
	buf := make([]byte, room)
	err := r.SetReadDeadline(time.Now().Add(stagePatience))
	n := 0
	if err == nil {
		n, err = r.Read(buf)
	}
	var args []string
	if n > 0 {
		args = append(args, strconv.Quote(string(buf[:n])))
	}
	if room != usualRoom {
		args = append(args, strconv.Itoa(room))
	}
	c.did(who+": read("+strings.Join(args, ", ")+")", n, err)
}

// tryRead notes a read that does not wait: EAGAIN says that one which does would.
func (c *calls) tryRead(who string, r reader) {
	var n int
	rc, err := r.SyscallConn()
	if err == nil {
		rerr := rc.Read(func(fd uintptr) bool {
			n, err = syscall.Read(int(fd), make([]byte, usualRoom))
			return true
		})
		err = errors.Join(rerr, err)
	}
	c.did(who+": recv(MSG_DONTWAIT)", n, err)
}

// close notes a close.
func (c *calls) close(who string, f io.Closer) { c.did(who+": close()", 0, f.Close()) }

// tell has the scenario say the calls since the last time, a line each behind a
// title, and checks that they are what was expected.
func (s *stage) tell(title string, c *calls, want ...string) error {
	got := c.lines
	c.lines = nil
	s.say(title + "\n" + strings.Join(got, "\n"))
	if !slices.Equal(got, want) {
		return checkf("%s: %s; want %s", title, strings.Join(got, "; "), strings.Join(want, "; "))
	}
	return nil
}

// answer notes that a datagram is received and sent back.
func (c *calls) answer(who string, conn *net.UDPConn) {
	buf := make([]byte, usualRoom)
	err := conn.SetReadDeadline(time.Now().Add(stagePatience))
	var n int
	var from net.Addr
	if err == nil {
		n, from, err = conn.ReadFrom(buf)
	}
	c.did(fmt.Sprintf("%s: recvfrom(%q)", who, buf[:n]), n, err)
	if err == nil {
		c.sendTo(who, conn, string(buf[:n]), from)
	}
}

// sendTo notes a datagram that is sent to an address.
func (c *calls) sendTo(who string, conn *net.UDPConn, text string, to net.Addr) {
	n, err := conn.WriteTo([]byte(text), to)
	c.did(fmt.Sprintf("%s: sendto(%q)", who, text), n, err)
}
