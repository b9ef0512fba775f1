package lab

import (
	"fmt"
	"net"
	"slices"
	"time"

	"finack/internal/kernel"
	"finack/trace"
)

// Of the leak's connections the server reads the end of so many, and of the
// others nothing.
const leakRead, leakUnread = 30, 20

func closeWaitLeak() *Scenario {
	return &Scenario{
		Name:  "close-wait-leak",
		Title: "A server ignores recv() == 0: CLOSE_WAIT piles up",
		Life: "A read loop that treats 0 as \"nothing yet\", an error path that returns without close(2), a worker that " +
			"hangs and reads no more. Each costs a descriptor, until accept(2) gives EMFILE. The peers are long " +
			"gone: a client's FIN_WAIT_2 without a program ends by itself, by tcp_fin_timeout; CLOSE_WAIT never does.",
		Cure: "Mend the program that holds the sockets in CLOSE_WAIT (ss -tnp state close-wait): close when recv " +
			"returns 0. No sysctl helps, and restarting it only begins anew. A receive queue of 1 is the FIN: this " +
			"program does not even read. With 0 it has read the end, and ignored it.",
		run: leak,
	}
}

func leak(s *stage) error {
	const n = leakRead + leakUnread
	if err := s.unhurried(crowdRTO); err != nil {
		return err
	}
	ln, err := s.listen(s.server, serverPort)
	if err != nil {
		return err
	}
	c, err := s.crowd(ln, n-1)
	if err != nil {
		return err
	}
	if err := s.count("49 are answered", counts{trace.Established: n - 1}, counts{trace.Established: n - 1}); err != nil {
		return err
	}
	if err := closeAll(c.clients); err != nil {
		return err
	}
	if err := s.count("they have closed", counts{trace.FinWait2: n - 1}, counts{trace.CloseWait: n - 1}); err != nil {
		return err
	}
	for _, server := range c.servers[:leakRead] {
		got, err := recvNow(server)
		if err != nil {
			return err
		}
		if got != "0" {
			return checkf("recv from %v gives %s, want 0", server.RemoteAddr(), got)
		}
	}
	if err := s.leakOutlives(ln); err != nil {
		return err
	}
	if err := s.count("so has the 50th", counts{trace.FinWait2: n - 1}, counts{trace.CloseWait: n}); err != nil {
		return err
	}
	return s.sayLeak()
}

// leakOutlives has one more client come and go, whose kernel forgets it soon.
func (s *stage) leakOutlives(ln *net.TCPListener) error {
	if err := s.setSysctl(s.client, "net.ipv4.tcp_fin_timeout", "1"); err != nil {
		return err
	}
	// The kernel keeps FIN_WAIT_2 for 3.5 times the retransmission timeout at least.
	if err := s.unhurried(linuxRTO); err != nil {
		return err
	}
	client, _, err := s.visit(ln)
	if err != nil {
		return err
	}
	p := pipeOf(client)
	if err := client.Close(); err != nil {
		return err
	}
	s.expect("The 50th", p, outcome{
		handshake: trace.ThreeWay, teardown: trace.HalfClosed, closer: trace.ClosedByClient,
		states: states{trace.FinWait2, trace.CloseWait},
	})
	return s.endsDiffer("the 50th, 1 s later", p, states{trace.FinWait2, trace.CloseWait}, states{trace.Closed, trace.CloseWait})
}

// sayLeak says what both kernels have of the leak.
func (s *stage) sayLeak() error {
	orphans, err := s.inState(s.client, trace.FinWait2)
	if err != nil {
		return err
	}
	leaked, err := s.inState(s.server, trace.CloseWait)
	if err != nil {
		return err
	}
	open, err := openDescriptors(leaked)
	if err != nil {
		return err
	}
	queues := map[int]int{}
	for i := range leaked {
		queues[leaked[i].ReadQueue]++
	}
	if queues[0] != leakRead || queues[1] != leakUnread || open != len(leaked) {
		return checkf("receive queues %v of %d sockets, want 0 in %d and 1 in %d; %d descriptors are open, want all", queues, len(leaked), leakRead, leakUnread, open)
	}
	if i := slices.IndexFunc(orphans, func(k kernel.Socket) bool { return k.Inode != 0 }); i >= 0 {
		return checkf("FIN_WAIT_2 at %v belongs to a program", orphans[i].Local)
	}
	oldest, median := ages(leaked)
	s.say(fmt.Sprintf("Server: %d sockets in CLOSE_WAIT, the oldest for %.1f s, the median %.1f s; %d descriptors are open for them.", len(leaked), oldest.Seconds(), median.Seconds(), open))
	s.say(fmt.Sprintf("Server: the receive queue is 0 in %d, whose end was read, and 1 in %d: the FIN, unread.", queues[0], queues[1]))
	s.say(fmt.Sprintf("Client: %d in FIN_WAIT_2, inode 0: no program has them. The 50th, of tcp_fin_timeout 1 s, is gone without a packet.", len(orphans)))
	return nil
}

// ages returns how long ago sockets heard of their peer, here its FIN: the
// longest and the middle one. There must be some.
func ages(list []kernel.Socket) (oldest, median time.Duration) {
	var all []time.Duration
	for i := range list {
		all = append(all, list[i].SinceACK)
	}
	slices.Sort(all)
	return all[len(all)-1], all[len(all)/2]
}
