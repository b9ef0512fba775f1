package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"finack/decode"
	"finack/internal/pcapfilter"
	"finack/raw"
)

// Socket captures from sockets with an explicit protocol, one system call a
// frame. What a socket sees is for the kernel to say:
//
//   - SOCK_RAW of AF_INET sees the packets of its protocol that are delivered
//     to this host, put together where they were fragmented: none that the host
//     sends on a real link, each one once on loopback (raw(7)). Frames are IPv4
//     packets as they came.
//   - SOCK_RAW of AF_INET6 sees the same, but no IP header (RFC 3542 section 3).
//     The frame's header is rebuilt: addresses, hop limit, traffic class and
//     flow label are the packet's own, by the sender's address and control
//     messages; the length is what was received and the next header is the
//     protocol. Extension headers are lost.
//   - AF_PACKET sees frames as Live does, and with another protocol than
//     ETH_P_ALL only those received (packet(7)). SOCK_DGRAM's are cooked
//     (LINUX_SLL2).
//
// Frames of AF_INET and AF_INET6 have link type RAW, and say nothing about
// checksums.
type Socket struct {
	cfg    SocketConfig
	socks  []*tap
	ready  syscall.RawConn // waits for any of them
	epoll  *os.File        // where there are several; ready is its
	poll   func(fd uintptr) bool
	next   *tap  // whose frame is the next to be returned; nil: not known
	failed error // what poll found
	closed atomic.Bool
	frames atomic.Uint64
	copies atomic.Uint64

	statsMu sync.Mutex // held while the counters are read
	dropped uint64
}

// tap is one socket, and the message that was received last from it.
type tap struct {
	socket raw.Socket
	conn   *raw.Conn
	rc     syscall.RawConn
	filter *pcapfilter.Program // AF_INET6's; nil: everything is wanted
	recv   func(fd uintptr)

	msg   message
	buf   []byte // headroom for an IPv6 header, then the message
	n     int    // the message's length, as far as it is there
	wire  int    // the whole of it
	err   error  // of receiving; EAGAIN: nothing there
	full  bool   // the message waits to be returned
	time  decode.Timestamp
	iface uint32 // by IP_PKTINFO or IPV6_PKTINFO
	dst   [16]byte
	hops  uint8
	flow  uint32 // the first word of an IPv6 header, without the version
	about packetInfo

	drops uint32 // the kernel's counter when it was read last
}

// ip6Header is the length of an IPv6 header (RFC 8200 section 3).
const ip6Header = 40

// maxRefused is how many messages that the filter refuses are taken in one go,
// before a deadline is looked at.
const maxRefused = 64

// OpenSocket opens the sockets. Nothing that the filter refuses, or that came
// before the options were set, is ever returned. Errors are those of OpenLive;
// that of a refused socket says the call.
func OpenSocket(cfg *SocketConfig) (*Socket, error) {
	s := &Socket{}
	s.poll = s.found
	if cfg != nil {
		s.cfg = *cfg
	}
	filter, err := s.cfg.defaults()
	if err != nil {
		return nil, err
	}
	if err := s.open(filter); err != nil {
		s.closeAll()
		return nil, err
	}
	return s, nil
}

func (s *Socket) open(filter *pcapfilter.Filter) error {
	index := 0
	if name := s.cfg.Interface; name != "" && name != "any" {
		var err error
		if index, err = interfaceIndex(name); err != nil {
			return fmt.Errorf("capture from %s: %w", name, err)
		}
	}
	var programs [][]bpf.RawInstruction
	var nothing error // the filter's complaint, where it can match nothing
	for _, sock := range s.cfg.Sockets {
		prog, err := tapFilterFor(sock, filter, s.cfg.Snaplen)
		if errors.Is(err, pcapfilter.ErrRejectsAll) {
			nothing = err
			continue
		}
		if err != nil {
			return err
		}
		t := &tap{socket: sock, filter: prog.user, buf: make([]byte, ip6Header+max(s.cfg.Snaplen, defaultSnaplen))}
		t.recv = t.receive
		s.socks = append(s.socks, t)
		programs = append(programs, prog.kernel)
		if err := t.open(&s.cfg, index); err != nil {
			return err
		}
	}
	if len(s.socks) == 0 {
		return nothing
	}
	settle()
	for i, t := range s.socks {
		if err := t.begin(programs[i], index); err != nil {
			return err
		}
	}
	return s.watch()
}

// settle waits, about 10 ms, until no core is at a packet that it began with
// before the options were set (membarrier(2): synchronize_rcu). Meanwhile the
// kernel begins to stamp packets when they arrive; until then it stamps them
// when they are read.
func settle() {
	const membarrierCmdGlobal = 1
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierCmdGlobal, 0, 0)
}

// open makes the socket, which refuses everything yet.
func (t *tap) open(cfg *SocketConfig, index int) error {
	unbound := t.socket
	if unbound.Domain == raw.AF_PACKET {
		unbound.Protocol = 0
	}
	var err error
	refuse := []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K}}
	t.conn, err = raw.Open(unbound, &raw.Config{Filter: refuse, ReceiveBuffer: cfg.Buffer})
	if err != nil {
		return err
	}
	if t.rc, err = t.conn.SyscallConn(); err != nil {
		return err
	}
	if cerr := t.rc.Control(func(fd uintptr) { err = t.setOptions(int(fd), cfg, index) }); cerr != nil {
		err = cerr
	}
	return err
}

// begin lets the socket receive what filter accepts.
func (t *tap) begin(filter []bpf.RawInstruction, index int) error {
	var err error
	if t.drops, err = t.conn.Drops(); err == nil {
		err = t.conn.SetBPF(filter)
	}
	if err == nil && t.socket.Domain == raw.AF_PACKET && t.socket.Protocol != 0 {
		err = t.conn.Bind(&raw.Addr{Interface: index, Protocol: t.socket.Protocol})
	}
	return err
}

// setOptions asks for a timestamp, and for what the message does not tell.
func (t *tap) setOptions(fd int, cfg *SocketConfig, index int) error {
	type option struct {
		name       string
		level, opt int
	}
	options := []option{{"SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW}}
	switch t.socket.Domain {
	case raw.AF_PACKET:
		options = append(options, option{"PACKET_AUXDATA", unix.SOL_PACKET, unix.PACKET_AUXDATA})
	case raw.AF_INET:
		options = append(options, option{"IP_PKTINFO", unix.SOL_IP, unix.IP_PKTINFO})
	default:
		options = append(options,
			option{"IPV6_RECVPKTINFO", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO},
			option{"IPV6_RECVHOPLIMIT", unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT},
			option{"IPV6_FLOWINFO", unix.SOL_IPV6, ipv6FlowInfo})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, 1); err != nil {
			return opError("setsockopt("+o.name+")", err)
		}
	}
	if index != 0 && t.socket.Domain != raw.AF_PACKET {
		if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, cfg.Interface); err != nil {
			return opError("setsockopt(SO_BINDTODEVICE)", err)
		}
	}
	return nil
}

// ipv6FlowInfo is IPV6_FLOWINFO of linux/in6.h: traffic class and flow label of
// what is received, unless both are zero.
const ipv6FlowInfo = 11

// watch makes it possible to wait for any of the sockets: an epoll descriptor
// is itself one that the poller can wait for (epoll(7)).
func (s *Socket) watch() (err error) {
	if len(s.socks) == 1 {
		s.ready = s.socks[0].rc
		return nil
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return opError("epoll_create1", err)
	}
	s.epoll = os.NewFile(uintptr(fd), "epoll")
	for _, t := range s.socks {
		var operr error
		err := t.rc.Control(func(sock uintptr) {
			operr = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, int(sock), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(sock)})
		})
		if err == nil && operr != nil {
			err = opError("epoll_ctl", operr)
		}
		if err != nil {
			return err
		}
	}
	s.ready, err = s.epoll.SyscallConn()
	return err
}

// Sockets returns the sockets that were opened.
func (s *Socket) Sockets() []raw.Socket {
	var list []raw.Socket
	for _, t := range s.socks {
		list = append(list, t.socket)
	}
	return list
}

// ReadFrame implements Source. Frames that are at hand are returned even when
// the deadline has passed. After ErrInterfaceDown, which only AF_PACKET tells,
// it may be called again.
func (s *Socket) ReadFrame(f *decode.Frame) error {
	for {
		if err := s.look(); err != nil || s.closed.Load() {
			return s.readError(err)
		}
		if s.next != nil {
			s.next.fill(f, s.cfg.Snaplen)
			s.next.full, s.next = false, nil
			s.frames.Add(1)
			return nil
		}
		err := s.ready.Read(s.poll)
		if err == nil {
			err, s.failed = s.failed, nil
		}
		if err != nil {
			return s.readError(err)
		}
	}
}

// readError is the error of ReadFrame for err.
func (s *Socket) readError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	case s.closed.Load():
		return net.ErrClosed
	case errors.Is(err, unix.ENETDOWN):
		return fmt.Errorf("read %s: %w", s.cfg.Interface, ErrInterfaceDown)
	default:
		return err
	}
}

// Buffered reports whether the next ReadFrame returns without waiting. It is
// for the reading goroutine.
func (s *Socket) Buffered() bool {
	return s.look() != nil || s.next != nil
}

// found reports whether there is something to be told, or to be looked at again.
func (s *Socket) found(uintptr) bool {
	s.failed = s.look()
	return s.failed != nil || s.next != nil || s.busy()
}

// busy reports whether a socket may have more, which look left there.
func (s *Socket) busy() bool {
	for _, t := range s.socks {
		if t.err == nil && !t.full {
			return true
		}
	}
	return false
}

// look sets next to the socket with the oldest message, if there is one. Those
// that were found empty are asked once more: something may have come before
// the message that another one has.
func (s *Socket) look() error {
	if s.next != nil {
		return nil
	}
	for range min(len(s.socks), 2) {
		for _, t := range s.socks {
			if err := t.take(s); err != nil {
				return err
			}
		}
	}
	for _, t := range s.socks {
		if t.full && (s.next == nil || t.time < s.next.time) {
			s.next = t
		}
	}
	return nil
}

// take receives a message that is wanted, unless there is one already. Of many
// that are not wanted it leaves the rest for later.
func (t *tap) take(s *Socket) error {
	for range maxRefused {
		if t.full {
			return nil
		}
		if err := t.rc.Control(t.recv); err != nil {
			return err
		}
		switch {
		case t.err == unix.EAGAIN:
			return nil
		case t.err != nil:
			return opError("recvmsg", t.err)
		case t.socket.Domain == raw.AF_PACKET && !s.cfg.LoCopies && loCopy(t.about.sll):
			s.copies.Add(1)
		case t.wanted():
			t.full = true
		}
	}
	return nil
}

// receive receives one message, if there is one, and understands its control
// messages.
func (t *tap) receive(fd uintptr) {
	t.wire, t.err = t.msg.receive(int(fd), t.buf[ip6Header:])
	if t.err != nil {
		return
	}
	t.n = min(t.wire, len(t.buf)-ip6Header)
	t.time, t.iface, t.dst, t.hops, t.flow = 0, 0, [16]byte{}, 0, 0
	t.about = packetInfo{sll: t.msg.name[:sllSize]}
	for b := t.msg.controlMessages(); len(b) > 0; {
		hdr, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			break
		}
		t.understand(int(hdr.Level), int(hdr.Type), data)
		b = rest
	}
	if t.socket.Domain == raw.AF_INET6 {
		t.rebuild()
	}
}

// understand takes one control message.
func (t *tap) understand(level, typ int, data []byte) {
	switch {
	case level == unix.SOL_SOCKET && typ == unix.SO_TIMESTAMPNS_NEW && len(data) >= 16:
		sec, nsec := int64(native.Uint64(data)), int64(native.Uint64(data[8:]))
		t.time = decode.Timestamp(sec*1e9 + nsec)
	case level == unix.SOL_IP && typ == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		t.iface = native.Uint32(data)
	case level == unix.SOL_IPV6 && typ == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		t.dst, t.iface = [16]byte(data), native.Uint32(data[16:])
	case level == unix.SOL_IPV6 && typ == unix.IPV6_HOPLIMIT && len(data) >= 4:
		t.hops = uint8(native.Uint32(data))
	case level == unix.SOL_IPV6 && typ == ipv6FlowInfo && len(data) >= 4:
		t.flow = binary.BigEndian.Uint32(data) &^ (0xf << 28)
	case level == unix.SOL_PACKET && typ == unix.PACKET_AUXDATA && len(data) >= auxSize:
		t.about.status = native.Uint32(data[auxStatus:])
		t.wire = int(native.Uint32(data[auxLen:])) // the filter cuts it to the snaplen
		t.about.tci, t.about.tpid = native.Uint16(data[auxVLAN:]), native.Uint16(data[auxVLAN+2:])
	}
}

// Offsets in tpacket_auxdata (linux/if_packet.h), and its size.
const (
	auxStatus = 0
	auxLen    = 4
	auxVLAN   = 16 // tp_vlan_tci, then tp_vlan_tpid
	auxSize   = 20
)

// rebuild writes the IPv6 header (RFC 8200 section 3) before the message.
func (t *tap) rebuild() {
	b, be := t.buf[:ip6Header], binary.BigEndian
	be.PutUint32(b, 6<<28|t.flow)
	be.PutUint16(b[4:], uint16(min(t.wire, 1<<16-1)))
	b[6], b[7] = uint8(t.socket.Protocol), t.hops
	copy(b[8:24], t.msg.name[8:24]) // sockaddr_in6's sin6_addr
	copy(b[24:40], t.dst[:])
}

// bytes returns the message, with the header that was rebuilt.
func (t *tap) bytes() []byte {
	if t.socket.Domain == raw.AF_INET6 {
		return t.buf[:ip6Header+t.n]
	}
	return t.buf[ip6Header : ip6Header+t.n]
}

// wanted reports whether the filter, where user space has to run it, accepts
// the message.
func (t *tap) wanted() bool {
	data := t.bytes()
	return t.filter == nil || t.filter.Match(data, t.wire+len(data)-t.n)
}

// fill makes a Frame of the message.
func (t *tap) fill(f *decode.Frame, snaplen int) {
	data := t.bytes()
	f.Time, f.Wire = t.time, t.wire+len(data)-t.n
	if t.socket.Domain == raw.AF_PACKET {
		f.Link = t.link()
		t.about.fill(f, data, snaplen)
		return
	}
	f.Link, f.Dir, f.Checksums, f.Iface = decode.LinkRaw, decode.DirInbound, decode.ChecksumsUnknown, t.iface
	f.Data = append(f.Data[:0], data[:min(len(data), snaplen)]...)
}

// link returns what the frame of an AF_PACKET socket begins with.
func (t *tap) link() decode.LinkType {
	if t.socket.Type == raw.SOCK_DGRAM {
		return decode.LinkSLL2
	}
	link := linkOfHardware(native.Uint16(t.about.sll[sllHatype:]))
	if link == decode.LinkSLL2 {
		return linkUnknown // it has its own header, whatever that is
	}
	return link
}

// linkUnknown is LINKTYPE_USER0, which says nothing.
const linkUnknown decode.LinkType = 147

// SetReadDeadline implements Source.
func (s *Socket) SetReadDeadline(t time.Time) error {
	if s.epoll == nil {
		return s.socks[0].conn.SetReadDeadline(t)
	}
	err := s.epoll.SetReadDeadline(t)
	if err != nil && s.closed.Load() {
		return net.ErrClosed // the poller's error is not that
	}
	return err
}

// Stats implements Source. Dropped is what the kernel threw away because a
// receive buffer was full, or a checksum wrong (SO_MEMINFO); Received is that and
// what was returned: what waits is not counted by the kernel.
func (s *Socket) Stats() (Stats, error) {
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	var err error
	if !s.closed.Load() {
		err = s.readDrops()
	}
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	frames := s.frames.Load()
	return Stats{Frames: frames, Received: frames + s.dropped, Dropped: s.dropped, LoCopies: s.copies.Load()}, err
}

// readDrops adds what the kernel has dropped since the last time; its counters
// have 32 bits.
func (s *Socket) readDrops() error {
	for _, t := range s.socks {
		n, err := t.conn.Drops()
		if err != nil {
			return err
		}
		s.dropped += uint64(n - t.drops)
		t.drops = n
	}
	return nil
}

// Close implements Source.
func (s *Socket) Close() error {
	s.statsMu.Lock()
	defer s.statsMu.Unlock()
	if s.closed.Swap(true) {
		return nil
	}
	return errors.Join(s.readDrops(), s.closeAll())
}

func (s *Socket) closeAll() error {
	var errs []error
	if s.epoll != nil {
		errs = append(errs, s.epoll.Close())
	}
	for _, t := range s.socks {
		if t.conn != nil {
			errs = append(errs, t.conn.Close())
		}
	}
	return errors.Join(errs...)
}
