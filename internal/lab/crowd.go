package lab

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"finack/internal/kernel"
)

// crowdRTO is for scenarios in which nothing is lost.
const crowdRTO = 5 * time.Second

// crowd is many connections: the sockets of the same place belong together.
type crowd struct{ clients, servers []*net.TCPConn }

// crowd connects n clients to a listener of the server. Each has asked
// something and has its answer.
func (s *stage) crowd(ln *net.TCPListener, n int) (c crowd, err error) {
	for range n {
		client, server, err := s.visit(ln)
		if err != nil {
			return c, err
		}
		c.clients, c.servers = append(c.clients, client), append(c.servers, server)
	}
	return c, nil
}

// visit connects one client to a listener, who asks and is answered.
func (s *stage) visit(ln *net.TCPListener) (client, server *net.TCPConn, err error) {
	if client, server, err = s.meet(ln); err != nil {
		return nil, nil, err
	}
	if err := s.pass(client, server, "ask\n"); err != nil {
		return nil, nil, err
	}
	return client, server, s.pass(server, client, "answer\n")
}

// meet connects the client to a listener, which accepts.
func (s *stage) meet(ln *net.TCPListener) (client, server *net.TCPConn, err error) {
	if client, err = s.dial(s.client, ln.Addr()); err != nil {
		return nil, nil, err
	}
	server, err = s.accept(ln)
	return client, server, err
}

// closeAll closes sockets in their order.
func closeAll(list []*net.TCPConn) error {
	for _, c := range list {
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

// openDescriptors counts the descriptors of this program that are sockets of a list.
func openDescriptors(list []kernel.Socket) (n int, err error) {
	const dir = "/proc/self/fd"
	inodes := map[string]bool{}
	for i := range list {
		if list[i].Inode != 0 {
			inodes[strconv.FormatUint(uint64(list[i].Inode), 10)] = true
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		target, _ := os.Readlink(dir + "/" + e.Name()) // "": closed meanwhile
		if inode, ok := strings.CutPrefix(target, "socket:["); ok && inodes[strings.TrimSuffix(inode, "]")] {
			n++
		}
	}
	return n, nil
}

// recvNow tells what a recv(2) that does not wait gives: a number of bytes, 0 at
// the end, EAGAIN, or another error's text.
func recvNow(c *net.TCPConn) (got string, err error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return "", err
	}
	err = rc.Control(func(fd uintptr) {
		n, err := syscall.Read(int(fd), make([]byte, 64))
		switch {
		case errors.Is(err, syscall.EAGAIN):
			got = "EAGAIN"
		case err != nil:
			got = err.Error()
		default:
			got = strconv.Itoa(n)
		}
	})
	return got, err
}
