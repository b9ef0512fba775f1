package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"finack/internal/privnet"
)

// echoServer is a "finack echo serve" of its own process.
type echoServer struct {
	*process
	addr string
}

// startEcho starts program with arguments that serve 127.0.0.1, and returns
// when it echoes.
func startEcho(t *testing.T, program string, args ...string) echoServer {
	t.Helper()
	p := start(t, program, nil, args...)
	line := p.await("echoing on tcp4://")
	return echoServer{p, line[strings.Index(line, "://")+3:]}
}

// descriptors counts what the server has open.
func (s echoServer) descriptors() int {
	s.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	return len(entries)
}

// resident returns the server's RSS in bytes.
func (s echoServer) resident() int {
	s.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	var kib int
	if _, rest, ok := strings.Cut(string(b), "VmRSS:"); ok {
		fmt.Sscan(rest, &kib)
	}
	if kib == 0 {
		s.t.Fatalf("no VmRSS in\n%s", b)
	}
	return kib << 10
}

// goroutines ends the server by SIGQUIT and returns where its goroutines are:
// "[select]" and the function that each began with.
func (s echoServer) goroutines() []string {
	s.t.Helper()
	s.signal(syscall.SIGQUIT)
	s.wait()
	var began []string
	for _, block := range strings.Split(strings.Join(s.seen, "\n"), "\n\n") {
		if strings.HasPrefix(block, "goroutine ") && strings.Contains(block, "finack/internal/echo") {
			_, by, _ := strings.Cut(block, "created by ")
			by, _, _ = strings.Cut(by, " in goroutine")
			began = append(began, by)
		}
	}
	return began
}

// eventually polls a condition that gives no event.
func eventually(ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// manyConns is how many connections the test has with the server, fewer where
// a process may not have so many descriptors.
func manyConns(t *testing.T) int {
	t.Helper()
	const want = 10_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := int(min(limit.Max, 1<<20)) - 200 // what else a process has open
	if n >= want {
		return want
	}
	t.Logf("%d connections: a process may have %d descriptors", n, limit.Max)
	return n
}

// inParallel calls f for each number below n. Its goroutines are few: a program
// with the race detector may not have 8,128.
func inParallel(n int, f func(i int) error) error {
	const workers = 32
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += workers {
				if err := f(i); err != nil {
					errs[w] = fmt.Errorf("connection %d: %w", i, err)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// talker is a client's connection and what it has sent.
type talker struct {
	*net.TCPConn
	rng  *rand.ChaCha8
	sent bytes.Buffer
}

// connectMany opens n connections, and has an echo on each.
func connectMany(t *testing.T, addr string, n int) []*talker {
	t.Helper()
	talkers := make([]*talker, n)
	t.Cleanup(func() { closeAll(talkers) })
	err := inParallel(n, func(i int) error {
		// An address for every thousand: ports in TIME_WAIT do not run out.
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i/1000))}}
		c, err := d.Dial("tcp4", addr)
		if err != nil {
			return err
		}
		k := &talker{TCPConn: c.(*net.TCPConn), rng: rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)})}
		talkers[i] = k
		if err := errors.Join(k.SetDeadline(time.Now().Add(2*patience)), k.say(64)); err != nil {
			return err
		}
		return k.hear()
	})
	if err != nil {
		t.Fatal(err)
	}
	return talkers
}

// say sends n bytes.
func (k *talker) say(n int) error {
	b := make([]byte, n)
	_, _ = k.rng.Read(b)
	k.sent.Write(b)
	_, err := k.Write(b)
	return err
}

// hear reads the answer to everything that was sent.
func (k *talker) hear() error {
	in := make([]byte, k.sent.Len())
	if _, err := io.ReadFull(k, in); err != nil {
		return err
	}
	if !bytes.Equal(in, k.sent.Next(len(in))) {
		return errors.New("another answer")
	}
	return nil
}

// arrived waits until the server's kernel has everything that was sent.
func (k *talker) arrived() error {
	rc, err := k.SyscallConn()
	if err != nil {
		return err
	}
	left := -1
	if !eventually(func() bool {
		err = control(rc, func(fd int) (err error) {
			left, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
			return err
		})
		return err != nil || left == 0
	}) {
		return fmt.Errorf("%d bytes are not acknowledged", left)
	}
	return err
}

func closeAll(talkers []*talker) {
	for _, k := range talkers {
		if k != nil {
			k.Close()
		}
	}
}

// checkMemory is the bound of what 10,000 open connections may take.
func (s echoServer) checkMemory(conns int) {
	s.t.Helper()
	rss := s.resident()
	s.t.Logf("%d connections: %d MB resident", conns, rss>>20)
	if rss >= 200<<20 {
		s.t.Errorf("%d connections take %d MB, want less than 200", conns, rss>>20)
	}
}

// SIGTERM: every client gets the rest of its answers, then a FIN; none is reset.
func TestTermAnswersTenThousandConnections(t *testing.T) {
	privnet.Require(t)
	srv := startEcho(t, build(t), "echo", "serve", "tcp4://127.0.0.1:0")
	before := srv.descriptors()
	n := manyConns(t)
	talkers := connectMany(t, srv.addr, n)
	if got := srv.descriptors(); got != before+n {
		t.Errorf("the server has %d descriptors open, %d before %d connections", got, before, n)
	}
	srv.checkMemory(n)

	// A third stays idle, a third has answers to read, and some of those many.
	err := inParallel(n, func(i int) error {
		size := 0
		switch {
		case i%300 == 0:
			size = 100_000
		case i%3 == 0:
			size = 2000
		case i%3 == 1:
			size = 1
		}
		if size == 0 {
			return nil
		}
		return errors.Join(talkers[i].say(size), talkers[i].arrived())
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.signal(syscall.SIGTERM)
	err = inParallel(n, func(i int) error {
		k := talkers[i]
		defer k.Close()
		if err := k.hear(); err != nil {
			return err
		}
		if n, err := k.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			return fmt.Errorf("its end: %d, %w, want EOF", n, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if status := srv.wait(); status != 0 {
		t.Errorf("exit status %d after SIGTERM", status)
	}
	// Late peers it may mention; nothing else went wrong.
	for _, line := range srv.seen[1:] {
		if !strings.Contains(line, "had not closed") {
			t.Errorf("stderr: %s", line)
		}
	}
}

// The clients leave, twice: nothing of them stays, and the second time takes no
// more than the first.
func TestTenThousandConnectionsLeaveNothing(t *testing.T) {
	privnet.Require(t)
	program := build(t)
	idle := startEcho(t, program, "echo", "serve", "tcp4://127.0.0.1:0")
	before := idle.descriptors()
	closeAll(connectMany(t, idle.addr, 1)) // now it serves
	if !eventually(func() bool { return idle.descriptors() == before }) {
		t.Fatalf("%d descriptors after a connection, %d before", idle.descriptors(), before)
	}
	want := idle.goroutines()
	if len(want) < 2 {
		t.Fatalf("goroutines of an idle server: %q", want)
	}

	srv := startEcho(t, program, "echo", "serve", "tcp4://127.0.0.1:0")
	before = srv.descriptors()
	n := manyConns(t)
	var resident [2]int
	for round := range resident {
		talkers := connectMany(t, srv.addr, n)
		srv.checkMemory(n)
		resident[round] = srv.resident()
		closeAll(talkers)
		if !eventually(func() bool { return srv.descriptors() == before }) {
			t.Fatalf("%d descriptors after %d connections, %d before", srv.descriptors(), n, before)
		}
	}
	if resident[1] > resident[0]*3/2 {
		t.Errorf("%d MB with the first %d connections, %d MB with the next", resident[0]>>20, n, resident[1]>>20)
	}
	// A connection's goroutine ends just after its descriptor: a few may still be at it.
	if got := srv.goroutines(); len(got) > len(want)+10 {
		t.Errorf("%d goroutines, %d before:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
}

// The server has few descriptors: it says so once, serves whom it can, and the
// others as soon as there is room.
func TestServerWithoutDescriptors(t *testing.T) {
	privnet.Require(t)
	const limit, clients = 60, 150
	srv := startEcho(t, "sh", "-c", fmt.Sprintf("ulimit -n %d; exec finack echo serve tcp4://127.0.0.1:0", limit))
	var conns []net.Conn
	answers := make(chan int, clients)
	for i := range clients {
		c, err := net.DialTimeout("tcp4", srv.addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		go func() {
			c.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Errorf("client %d: %v", i, err)
				i = -1
			}
			answers <- i
		}()
	}
	srv.await("too many open files (ulimit -n): connections wait until one is closed")
	// Each that is answered leaves, and makes room for another.
	for range clients {
		i := <-answers
		if i < 0 {
			t.FailNow()
		}
		conns[i].Close()
	}
	srv.end()
	if n := strings.Count(strings.Join(srv.seen, "\n"), "too many open files"); n != 1 {
		t.Errorf("it says %d times that descriptors are missing, want once", n)
	}
}
