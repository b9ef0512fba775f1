package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"finack/internal/kernel"
	"finack/trace"
)

func zeroWindow() *Scenario {
	return &Scenario{
		Name:  "zero-window",
		Title: "The reader stops: window 0, probes, and on it goes",
		Life: "A consumer slower than its producer, or one that hangs. Its receive buffer fills, it announces a window " +
			"of 0, and the sender may send no more than a probe now and then, less and less often. As long as " +
			"probes are answered this may last for ever: no timeout of TCP ends it.",
		Cure: "Find out what the reader waits for: a large receive queue at its end (ss -tn), a large send queue at " +
			"the other. It is not the network. A larger buffer only moves the moment. The sender's guard is a " +
			"timeout of its own: SO_SNDTIMEO, a write deadline, TCP_USER_TIMEOUT.",
		run: starve,
	}
}

// starveBuffer is the reader's receive buffer, which the kernel doubles for its
// bookkeeping, and starveBytes more than fits.
const (
	starveBuffer = 3000
	starveBytes  = 4000
	starveProbes = 2
	starveRTO    = 400 * time.Millisecond // the first probe comes then
)

func starve(s *stage) error {
	if err := s.unhurried(starveRTO); err != nil {
		return err
	}
	ln, err := s.listen(s.server, serverPort)
	if err != nil {
		return err
	}
	if err := setReceiveBuffer(ln, starveBuffer); err != nil { // those that it accepts have the same
		return err
	}
	client, server, err := s.meet(ln)
	if err != nil {
		return err
	}
	p := pipeOf(client)
	if _, err := client.Write(make([]byte, starveBytes)); err != nil { // into its send buffer
		return err
	}
	if err := s.until(p, "probes of the window", func(events []trace.Event) bool { return windowProbes(events) == starveProbes }); err != nil {
		return err
	}
	if err := s.ends("the reader sleeps", p, trace.Established, trace.Established); err != nil {
		return err
	}
	if err := s.sayStarved(p); err != nil {
		return err
	}
	if err := server.SetReadDeadline(time.Now().Add(stagePatience)); err != nil {
		return err
	}
	if _, err := io.ReadFull(server, make([]byte, starveBytes)); err != nil {
		return err
	}
	s.expect("Slow", p, outcome{
		handshake: trace.ThreeWay, teardown: trace.NoTeardown,
		states: states{trace.Established, trace.Established},
		also:   starved,
	})
	return s.ends("it has read all", p, trace.Established, trace.Established)
}

// starved checks that probes were seen as what they are.
func starved(v *trace.Conn) error {
	if v.ZeroWindowProbes[trace.Client] < starveProbes || v.Retransmits != [2]uint32{} || v.Bytes != [2]uint64{starveBytes, 0} {
		return checkf("zero-window probes %v, retransmissions %v, bytes %v; want %d or more of the client, none, and %d by the client", v.ZeroWindowProbes, v.Retransmits, v.Bytes, starveProbes, starveBytes)
	}
	return nil
}

// windowProbes counts the probes of a window of 0.
func windowProbes(events []trace.Event) (n int) {
	for i := range events {
		if events[i].Kind == trace.SegmentSeen && events[i].Note&trace.ZeroWindowProbe != 0 {
			n++
		}
	}
	return n
}

// sayStarved says what both kernels have while the window is 0.
func (s *stage) sayStarved(p pipe) error {
	sender, err := s.socket(s.client, p)
	if err != nil {
		return err
	}
	reader, err := s.socket(s.server, p.reverse())
	if err != nil {
		return err
	}
	if sender.Timer != kernel.TimerProbe || sender.WriteQueue == 0 || sender.WriteQueue+reader.ReadQueue != starveBytes {
		return checkf("the sender has timer %v and %d bytes, the reader %d; want timer persist, and %d bytes in both", sender.Timer, sender.WriteQueue, reader.ReadQueue, starveBytes)
	}
	s.say(fmt.Sprintf("Client: %d bytes in the send queue, the timer %v runs: %.1f s to the next probe.", sender.WriteQueue, sender.Timer, sender.Expires.Seconds()))
	s.say(fmt.Sprintf("Server: %d bytes in the receive queue, unread.", reader.ReadQueue))
	return nil
}

// setReceiveBuffer sets SO_RCVBUF of a listener.
func setReceiveBuffer(ln *net.TCPListener, bytes int) error {
	rc, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = rc.Control(func(fd uintptr) {
		failed = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, bytes))
	})
	return errors.Join(err, failed)
}
