package lab

import (
	"fmt"
	"net"
	"path/filepath"
)

func unixDatagram() *Scenario {
	return &Scenario{
		Name:  "unix-datagram",
		Title: "A Unix datagram socket has no end: its reader waits",
		Life: "A log daemon on /dev/log. When a sender closes, the receiver hears nothing: there is no end to read, and a read waits " +
			"for ever. When the receiver closes, its senders learn it from their next write, at once: ECONNREFUSED, later ENOTCONN. " +
			"The path stays: to it nobody connects any more until somebody removes it and binds it again.",
		Cure: "A message that says goodbye, or SOCK_SEQPACKET, which has an end. After ECONNREFUSED connect again: the daemon may have " +
			"a new socket at the path.",
		silent: true,
		run:    func(s *stage) error { return s.inTempDir(endlessUnixDatagrams) },
	}
}

func endlessUnixDatagrams(s *stage, dir string) error {
	path := &net.UnixAddr{Name: filepath.Join(dir, "log"), Net: "unixgram"}
	server, err := net.ListenUnixgram("unixgram", path)
	if err != nil {
		return err
	}
	s.atEnd(server)
	clients := make([]*net.UnixConn, 2)
	for i := range clients {
		if clients[i], err = net.DialUnix("unixgram", nil, path); err != nil {
			return err
		}
		s.atEnd(clients[i])
	}
	var c calls
	c.write("first", clients[0], "hello")
	c.close("first", clients[0])
	c.read("server", server)
	c.tryRead("server", server)
	if err := s.tell("A sender closes, and the server is told nothing:", &c,
		`first: write("hello") = 5`,
		`first: close() = 0`,
		`server: read("hello") = 5`,
		`server: recv(MSG_DONTWAIT) = -1 EAGAIN`); err != nil {
		return err
	}
	c.write("second", clients[1], "unread")
	c.close("server", server)
	c.write("second", clients[1], "hello?")
	c.write("second", clients[1], "hello?")
	_, err = net.DialUnix("unixgram", nil, path)
	c.did(fmt.Sprintf("third: connect(%q)", filepath.Base(path.Name)), 0, err)
	return s.tell("The server closes; what it had not read is lost, and only the next write says so:", &c,
		`second: write("unread") = 6`,
		`server: close() = 0`,
		`second: write("hello?") = -1 ECONNREFUSED`,
		`second: write("hello?") = -1 ENOTCONN`,
		`third: connect("log") = -1 ECONNREFUSED`)
}
