package lab

import (
	"net"
	"path/filepath"
)

func unixStream() *Scenario {
	return &Scenario{
		Name:  "unix-stream",
		Title: "A Unix stream ends as TCP does, without a packet",
		Life: "A database or a proxy at the same host. What TCP says with FIN and RST the kernel does at once: the peer of a socket " +
			"that was closed reads what is left, then 0, the end, and its very first write fails with EPIPE. Closed with something unread, " +
			"the peer is told ECONNRESET, behind the data that it has still to read.",
		Cure: "ECONNRESET says that the peer has not read all: read to the end before close, and nobody gets it. " +
			"No capture shows any of this: strace(1) and ss -x do.",
		silent: true,
		run:    func(s *stage) error { return s.inTempDir(endsOfUnixStream) },
	}
}

func unixSeqpacket() *Scenario {
	return &Scenario{
		Name:  "unix-seqpacket",
		Title: "SOCK_SEQPACKET: messages, in order, with an end",
		Life: "Control sockets that want whole messages and still want to know when the peer goes (udev, some container runtimes). " +
			"A read returns one message and no more, and what there was no room for is gone.",
		Cure:   "Room for the longest message; MSG_TRUNC tells of a longer one. An empty message looks like the end: do not send one.",
		silent: true,
		run:    func(s *stage) error { return s.inTempDir(endsOfUnixSeqpacket) },
	}
}

// inTempDir runs a scenario of Unix sockets, which have paths, and checks that
// nothing of it was on the wire.
func (s *stage) inTempDir(run func(s *stage, dir string) error) error {
	if err := withTempDir(func(dir string) error { return run(s, dir) }); err != nil {
		return err
	}
	s.rec.mu.Lock()
	defer s.rec.mu.Unlock()
	if len(s.rec.events) > 0 {
		return checkf("the capture shows packets of Unix sockets")
	}
	return nil
}

// unixPair connects two Unix sockets of a network of package net.
func (s *stage) unixPair(network, path string) (client, server *net.UnixConn, err error) {
	c, sv, err := connectedPair(s.ctx, network, path)
	if err != nil {
		return nil, nil, err
	}
	client, server = c.(*net.UnixConn), sv.(*net.UnixConn)
	s.atEnd(client)
	s.atEnd(server)
	return client, server, nil
}

func endsOfUnixStream(s *stage, dir string) error {
	client, server, err := s.unixPair("unix", filepath.Join(dir, "read"))
	if err != nil {
		return err
	}
	var c calls
	c.write("client", client, "hello")
	c.write("client", client, "world")
	c.close("client", client)
	c.read("server", server)
	c.read("server", server)
	c.write("server", server, "answer")
	if err := s.tell("The client closes; the server reads all, and then the end:", &c,
		`client: write("hello") = 5`,
		`client: write("world") = 5`,
		`client: close() = 0`,
		`server: read("helloworld") = 10`,
		`server: read() = 0`,
		`server: write("answer") = -1 EPIPE`); err != nil {
		return err
	}
	if client, server, err = s.unixPair("unix", filepath.Join(dir, "unread")); err != nil {
		return err
	}
	c.write("client", client, "hello")
	c.write("server", server, "answer")
	c.close("server", server)
	c.read("client", client)
	c.read("client", client)
	c.read("client", client)
	c.write("client", client, "world")
	return s.tell("The server closes with something unread:", &c,
		`client: write("hello") = 5`,
		`server: write("answer") = 6`,
		`server: close() = 0`,
		`client: read("answer") = 6`,
		`client: read() = -1 ECONNRESET`,
		`client: read() = 0`,
		`client: write("world") = -1 EPIPE`)
}

func endsOfUnixSeqpacket(s *stage, dir string) error {
	client, server, err := s.unixPair("unixpacket", filepath.Join(dir, "read"))
	if err != nil {
		return err
	}
	var c calls
	c.write("client", client, "hello")
	c.write("client", client, "world")
	c.write("client", client, "again")
	c.close("client", client)
	c.read("server", server)
	c.readInto("server", server, 2)
	c.read("server", server)
	c.read("server", server)
	c.write("server", server, "answer")
	if err := s.tell("Three messages, each read on its own, of one only what there is room for:", &c,
		`client: write("hello") = 5`,
		`client: write("world") = 5`,
		`client: write("again") = 5`,
		`client: close() = 0`,
		`server: read("hello") = 5`,
		`server: read("wo", 2) = 2`,
		`server: read("again") = 5`,
		`server: read() = 0`,
		`server: write("answer") = -1 EPIPE`); err != nil {
		return err
	}
	if client, server, err = s.unixPair("unixpacket", filepath.Join(dir, "unread")); err != nil {
		return err
	}
	c.write("client", client, "hello")
	c.close("server", server)
	c.read("client", client)
	c.read("client", client)
	return s.tell("The server closes with a message unread:", &c,
		`client: write("hello") = 5`,
		`server: close() = 0`,
		`client: read() = -1 ECONNRESET`,
		`client: read() = 0`)
}
