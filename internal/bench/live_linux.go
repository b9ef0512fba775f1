package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"finack/internal/privnet"
)

// settle is how long a watcher is given to take what waits for it. (Some tell
// nobody that they have done so.)
const settle = 500 * time.Millisecond

// watching is a Watcher that runs.
type watching struct {
	w      *Watcher
	cmd    *exec.Cmd
	out    *os.File // its stdout
	stderr strings.Builder
	read   chan struct{} // closed when stderr has ended
}

// watch starts w and returns when it captures.
func watch(ctx context.Context, w *Watcher, iface string) (*watching, error) {
	if _, err := exec.LookPath(w.Argv[0]); err != nil {
		return nil, exec.ErrNotFound
	}
	var argv []string
	for _, arg := range w.Argv {
		argv = append(argv, strings.ReplaceAll(arg, "IFACE", iface))
	}
	out, err := os.CreateTemp("", "finack-bench-live-")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(out.Name()) // it lives on while it is open
	x := &watching{w: w, cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), out: out, read: make(chan struct{})}
	x.cmd.Stdout = out
	pipe, err := x.cmd.StderrPipe()
	if err == nil {
		err = x.cmd.Start()
	}
	if err != nil {
		out.Close()
		return nil, err
	}
	ready := make(chan struct{})
	go func() {
		defer close(x.read)
		for sc := bufio.NewScanner(pipe); sc.Scan(); {
			fmt.Fprintln(&x.stderr, sc.Text())
			if ready != nil && strings.Contains(sc.Text(), w.Ready) {
				close(ready)
				ready = nil
			}
		}
	}()
	select {
	case <-ready:
		return x, nil
	case <-x.read:
		return nil, errors.Join(fmt.Errorf("%s has ended: %s", argv[0], strings.TrimSpace(x.stderr.String())), x.end())
	}
}

// end interrupts the watcher and waits for its end.
func (x *watching) end() error {
	defer x.out.Close()
	_ = x.cmd.Process.Signal(os.Interrupt)
	<-x.read
	return x.cmd.Wait()
}

// account ends the watcher and returns its own account.
func (x *watching) account() (r LiveResult) {
	time.Sleep(settle)
	if r.Err = x.cmd.Process.Signal(os.Interrupt); r.Err != nil {
		return r
	}
	<-x.read
	defer x.out.Close()
	if r.Err = x.cmd.Wait(); r.Err != nil {
		r.Err = fmt.Errorf("%w: %s", r.Err, strings.TrimSpace(x.stderr.String()))
		return r
	}
	r.CPU = x.cmd.ProcessState.UserTime() + x.cmd.ProcessState.SystemTime()
	if usage, ok := x.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.MaxRSS = int64(usage.Maxrss) << 10
	}
	text := x.stderr.String() + tail(x.out)
	var ok bool
	if r.Received, ok = number(x.w.Received, text); !ok {
		r.Err = fmt.Errorf("%s does not say what it received: %s", x.w.Name, text)
	}
	r.Dropped, _ = number(x.w.Dropped, text)
	return r
}

// tail returns the end of a file.
func tail(f *os.File) string {
	const most = 16 << 10
	size, _ := f.Seek(0, io.SeekEnd)
	_, _ = f.Seek(max(0, size-most), io.SeekStart)
	b, _ := io.ReadAll(f)
	return string(b)
}

// Live has w capture on the interface to, while packets of short connections
// are sent on from, its peer (see privnet.Veth).
func Live(ctx context.Context, w *Watcher, from, to string, cfg *LiveConfig) LiveResult {
	c, err := newCrowd()
	if err != nil {
		return LiveResult{Err: err}
	}
	sender, err := privnet.NewSender(from)
	if err != nil {
		return LiveResult{Err: err}
	}
	defer sender.Close()
	x, err := watch(ctx, w, to)
	if err != nil {
		return LiveResult{Err: err}
	}
	var sent uint64
	begin := time.Now()
	err = c.each(cfg.Packets, func(frames [][]byte) error {
		for cfg.Rate > 0 && float64(sent) > time.Since(begin).Seconds()*float64(cfg.Rate) {
			// It is not long, and this core has nothing else to do.
		}
		n, err := sender.Send(frames)
		sent += uint64(n)
		return errors.Join(err, ctx.Err())
	})
	took := time.Since(begin)
	r := x.account()
	r.Offered, r.Took = sent, took
	if r.Err == nil {
		r.Err = err
	}
	return r
}

// Echo makes conns connections on loopback, one after the other: connect, send
// 64 bytes, have them back, close. w, if not nil, captures there meanwhile.
func Echo(ctx context.Context, w *Watcher, conns int) EchoResult {
	r := EchoResult{Conns: conns}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		r.Err = err
		return r
	}
	defer l.Close()
	go serveEcho(l)
	var x *watching
	if w != nil {
		if x, r.Err = watch(ctx, w, "lo"); r.Err != nil {
			return r
		}
	}
	before := ownTime()
	for range conns {
		if err := echoOnce(l.Addr().String()); err != nil || ctx.Err() != nil {
			r.Err = errors.Join(err, ctx.Err())
			break
		}
	}
	r.Workload = ownTime() - before
	if x != nil {
		account := x.account()
		r.Watcher, r.Dropped = account.CPU, account.Dropped
		if r.Err == nil {
			r.Err = account.Err
		}
	}
	return r
}

const echoSize = 64

// serveEcho answers one connection after the other, until l is closed.
func serveEcho(l net.Listener) {
	buf := make([]byte, echoSize)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if _, err = io.ReadFull(c, buf); err == nil {
			_, _ = c.Write(buf)
			_, _ = c.Read(buf) // until the client closes
		}
		c.Close()
	}
}

func echoOnce(addr string) error {
	c, err := net.Dial("tcp4", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	var buf [echoSize]byte
	if _, err = c.Write(buf[:]); err == nil {
		_, err = io.ReadFull(c, buf[:])
	}
	return err
}

// ownTime is the user and system time of this process.
func ownTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
