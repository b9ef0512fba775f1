package byhand

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/bpf"

	"finack/decode"
	"finack/internal/craft"
	"finack/raw"
	"finack/trace"
)

// HostConfig says which address lives in this program, and how its connections
// behave. Addr is needed.
type HostConfig struct {
	// Addr is an address that packets find their way to here and that is none
	// of the kernel's: routed to lo, or to this host by its neighbours.
	Addr netip.Addr
	// Interface is where answers come in; "" is any.
	Interface string
	// CheckSums drops what has a wrong TCP checksum. It is for links where all
	// checksums are there: on loopback, and between veth interfaces that
	// leave them to hardware, nobody fills them in.
	CheckSums bool
	// Ports are the first and last port that Dial takes; zero: IANA's dynamic
	// ones, 49152 to 65535.
	Ports [2]uint16
	// Conn are the settings of connections; Local, Remote and ISS mean nothing
	// here: the ISS is random.
	Conn MachineConfig
	// CloseTimeout is how long Conn.Close waits for the peer's FIN. 10 s.
	CloseTimeout time.Duration
	// OnStep is called with every segment of every connection, in order, as it
	// is sent or heard. It must not call the connection. Nil: nobody is told.
	OnStep func(*Conn, *Step)
}

const defaultCloseTimeout = 10 * time.Second

// Host is an address in user space. One goroutine hears what comes for it;
// that, and whoever calls a connection, send.
//
// Connections in TIME_WAIT stay with it, to answer a peer that did not get the
// last ACK: Close ends that, Wait waits for their end.
type Host struct {
	cfg   HostConfig
	out   *raw.Conn // SOCK_RAW: whole packets
	in    *raw.Conn // AF_PACKET, SOCK_DGRAM: from the IP header on
	heard chan struct{}

	mu      sync.Mutex
	conns   map[connKey]*Conn
	port    uint16 // the last one that Dial took
	ipID    uint16
	packet  []byte
	err     error // what ended it
	due     time.Time
	emptied chan struct{} // closed when the last connection is gone; nil: nobody waits
	strays  uint64
}

type connKey struct {
	port   uint16
	remote netip.AddrPort
}

// Listen opens the sockets of an address; it needs CAP_NET_RAW.
func Listen(cfg *HostConfig) (*Host, error) {
	h := &Host{cfg: *cfg, conns: map[connKey]*Conn{}, heard: make(chan struct{})}
	setDefault(&h.cfg.CloseTimeout, defaultCloseTimeout)
	setDefault(&h.cfg.Ports, [2]uint16{49152, 65535})
	h.port = h.cfg.Ports[0] - 1
	h.ipID = uint16(random())
	domain, proto := raw.AF_INET, raw.Protocol(raw.ETH_P_IP)
	if !h.cfg.Addr.Is4() {
		domain, proto = raw.AF_INET6, raw.ETH_P_IPV6
	}
	filter, err := addressFilter(h.cfg.Addr)
	if err != nil {
		return nil, err
	}
	bind := &raw.Addr{}
	if h.cfg.Interface != "" {
		ifi, err := net.InterfaceByName(h.cfg.Interface)
		if err != nil {
			return nil, fmt.Errorf("hear %v: %w", h.cfg.Addr, err)
		}
		bind.Interface = ifi.Index
	}
	// IPPROTO_RAW is for sending only (raw(7)).
	if h.out, err = raw.Open(raw.Socket{Domain: domain, Type: raw.SOCK_RAW, Protocol: raw.IPPROTO_RAW}, nil); err != nil {
		return nil, err
	}
	h.in, err = raw.Open(raw.Socket{Domain: raw.AF_PACKET, Type: raw.SOCK_DGRAM, Protocol: proto},
		&raw.Config{Filter: filter, ReceiveBuffer: 1 << 20, Bind: bind})
	if err != nil {
		return nil, errors.Join(err, h.out.Close())
	}
	go h.run()
	return h, nil
}

// addressFilter lets TCP to addr pass, from the IP header on.
func addressFilter(addr netip.Addr) ([]bpf.RawInstruction, error) {
	at, size, proto := uint32(16), 4, uint32(9)
	if addr.Is6() {
		at, size, proto = 24, 16, 6
	}
	b := addr.AsSlice()
	words := size / 4
	prog := []bpf.Instruction{
		bpf.LoadAbsolute{Off: proto, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(decode.ProtoTCP), SkipTrue: uint8(2*words + 1)},
	}
	for i := range words {
		prog = append(prog,
			bpf.LoadAbsolute{Off: at + uint32(4*i), Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(b[4*i:]), SkipTrue: uint8(2*(words-i) - 1)})
	}
	prog = append(prog, bpf.RetConstant{Val: 1 << 18}, bpf.RetConstant{})
	return bpf.Assemble(prog)
}

// random is a number that nobody can guess, as an ISS should be (RFC 6528).
func random() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint32(b[:])
}

// Dial connects to remote: SYN, SYN-ACK, ACK.
func (h *Host) Dial(ctx context.Context, remote netip.AddrPort) (*Conn, error) {
	c, err := h.Conn(remote, nil)
	if err != nil {
		return nil, err
	}
	if err := c.Connect(ctx); err != nil {
		c.forget()
		return nil, err
	}
	return c, nil
}

// Conn returns a connection that is CLOSED, for Connect, or to send segments by
// hand. cfg may be nil; of it Local's port and ISS are random where they are
// zero, and Remote is not looked at. It is the Host's until it is closed or aborted.
func (h *Host) Conn(remote netip.AddrPort, cfg *MachineConfig) (*Conn, error) {
	if cfg == nil {
		cfg = &h.cfg.Conn
	}
	mc := *cfg
	if mc.ISS == 0 {
		mc.ISS = random()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return nil, h.err
	}
	key := connKey{mc.Local.Port(), remote}
	if key.port == 0 {
		var err error
		if key.port, err = h.freePort(remote); err != nil {
			return nil, err
		}
	} else if h.conns[key] != nil {
		return nil, fmt.Errorf("port %d of %v is in use towards %v", key.port, h.cfg.Addr, remote)
	}
	c := &Conn{host: h, key: key, changed: make(chan struct{})}
	mc.Local, mc.Remote = c.local(), remote
	c.m = NewMachine(&mc)
	h.conns[key] = c
	return c, nil
}

// freePort returns a port that has no connection to remote. Where there is none
// it takes the one that has been in TIME_WAIT for longest, as the ports go round.
func (h *Host) freePort(remote netip.AddrPort) (uint16, error) {
	first, last := h.cfg.Ports[0], h.cfg.Ports[1]
	var old *Conn
	for range int(last-first) + 1 {
		if h.port++; h.port < first || h.port > last {
			h.port = first
		}
		c := h.conns[connKey{h.port, remote}]
		if c == nil {
			return h.port, nil
		}
		if old == nil && c.m.state == trace.TimeWait {
			old = c
		}
	}
	if old == nil {
		return 0, fmt.Errorf("no port of %v is free towards %v", h.cfg.Addr, remote)
	}
	old.m.Fail(nil)
	h.remove(old)
	old.wake()
	h.port = old.key.port
	return h.port, nil
}

// forget takes c from its host.
func (c *Conn) forget() {
	c.host.mu.Lock()
	defer c.host.mu.Unlock()
	c.host.remove(c)
}

func (h *Host) remove(c *Conn) {
	if h.conns[c.key] == c {
		delete(h.conns, c.key)
	}
	if len(h.conns) == 0 && h.emptied != nil {
		close(h.emptied)
		h.emptied = nil
	}
}

// pass sends what c has to send, and wakes who waits for it. The lock is held.
func (h *Host) pass(c *Conn) {
	stepped := false
	c.m.Steps(func(s *Step) {
		stepped = true
		if s.Sent {
			h.send(c, &s.Segment)
		}
		if h.cfg.OnStep != nil {
			h.cfg.OnStep(c, s)
		}
	})
	if c.m.Over() || c.closed && c.m.state == trace.Closed {
		h.remove(c)
	}
	if next := c.m.Next(); !next.IsZero() && (h.due.IsZero() || next.Before(h.due)) {
		h.due = next
		_ = h.in.SetReadDeadline(next)
	}
	if stepped || c.m.Over() {
		c.wake()
	}
}

// wake has everybody who waits for c look again.
func (c *Conn) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// send sends a segment of c. What the kernel has no room for is lost, as on any
// way; other errors end the connection.
func (h *Host) send(c *Conn, s *Segment) {
	h.ipID++
	ip := craft.IP{Src: h.cfg.Addr, Dst: c.key.remote.Addr(), ID: h.ipID, DF: true}
	tcp := craft.TCP{
		SrcPort: c.key.port, DstPort: c.key.remote.Port(), Seq: s.Seq, Ack: s.Ack, Flags: s.Flags, Window: s.Window,
	}
	if s.MSS != 0 {
		tcp.Options = craft.Options{craft.MSS(s.MSS)}
	}
	var err error
	if h.packet, err = craft.AppendTCP(h.packet[:0], &ip, &tcp, s.Payload); err == nil {
		_, err = h.out.WriteTo(h.packet, &net.IPAddr{IP: ip.Dst.AsSlice()})
	}
	if err != nil && !errors.Is(err, syscall.ENOBUFS) {
		c.m.Fail(err)
	}
}

// fail ends the host.
func (h *Host) fail(err error) {
	if h.err == nil {
		h.err = err
		_ = h.in.Close()
	}
}

// run hears until the sockets are closed.
func (h *Host) run() {
	defer close(h.heard)
	var (
		decoder decode.Decoder
		p       decode.Packet
		buf     = make([]byte, 1<<16)
		sums    = decode.ChecksumsUnknown
	)
	if h.cfg.CheckSums {
		sums = decode.ChecksumsComplete
	}
	for {
		n, _, err := h.in.ReadFrom(buf)
		now := time.Now()
		h.mu.Lock()
		switch {
		case err == nil:
			f := decode.Frame{Time: decode.TimestampOf(now), Link: decode.LinkRaw, Checksums: sums, Wire: n, Data: buf[:n]}
			if decoder.Decode(&f, &p) == nil {
				h.hear(now, &p)
			}
		case !errors.Is(err, os.ErrDeadlineExceeded):
			h.fail(err)
			for _, c := range h.conns {
				c.wake()
			}
			h.mu.Unlock()
			return
		}
		h.advance(now)
		h.mu.Unlock()
	}
}

// hear gives a packet to the connection that it belongs to. To others a host
// would answer with RST; this one only counts them.
func (h *Host) hear(now time.Time, p *decode.Packet) {
	c := h.conns[connKey{p.Dst.Port, p.Src.AddrPort()}]
	if c == nil || !c.m.Receive(now, p) {
		h.strays++
		return
	}
	h.pass(c)
}

// advance does what is due, and makes the next timer the deadline of hearing.
func (h *Host) advance(now time.Time) {
	if h.due.IsZero() || now.Before(h.due) {
		return
	}
	h.due = time.Time{}
	for _, c := range h.conns {
		next := c.m.Next()
		switch {
		case next.IsZero():
		case !now.Before(next):
			c.m.Advance(now)
			h.pass(c)
		case h.due.IsZero() || next.Before(h.due):
			h.due = next
		}
	}
	_ = h.in.SetReadDeadline(h.due)
}

// Strays is how many segments came for the address that belong to no connection.
func (h *Host) Strays() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.strays
}

// Wait waits until every connection is gone, TIME_WAIT over.
func (h *Host) Wait(ctx context.Context) error {
	h.mu.Lock()
	if len(h.conns) == 0 || h.err != nil {
		defer h.mu.Unlock()
		return h.err
	}
	if h.emptied == nil {
		h.emptied = make(chan struct{})
	}
	emptied := h.emptied
	h.mu.Unlock()
	select {
	case <-emptied:
		return nil
	case <-h.heard:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends the host and its connections; it sends nothing for them. Its
// connections return net.ErrClosed.
func (h *Host) Close() error {
	h.mu.Lock()
	ended := h.err
	h.fail(net.ErrClosed)
	h.mu.Unlock()
	<-h.heard
	err := h.out.Close()
	if errors.Is(ended, net.ErrClosed) {
		return nil
	}
	return errors.Join(ended, err)
}
