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
	"finack/raw"
)

// Live captures from an interface, or from all, through a ring that the kernel
// fills (packet(7), TPACKET_V3). The kernel hands the ring's blocks over when
// they are full, and after a millisecond at the latest. A reader that is late
// would so lose frames after as many milliseconds as there are blocks, however
// empty they are: what waits for it is moved out of the ring before that.
type Live struct {
	cfg    LiveConfig
	link   decode.LinkType // of all frames
	conn   *raw.Conn
	raw    syscall.RawConn
	poll   func(fd uintptr) bool // l.readyOrFailed; made once, so that waiting allocates nothing
	closed atomic.Bool

	mu     sync.Mutex // held while a frame is read: the ring stays mapped
	ring   []byte     // nil when unmapped
	blocks int
	block  int           // of the ring: the next to be read or awaited
	at     []byte        // the block being read, in the ring or moved out of it
	inRing bool          // at is the ring's
	left   int           // frames left in at
	off    int           // of the next frame, in at
	moved  [][]byte      // blocks moved out of the ring, before those in it
	room   int           // bytes that may still be moved out
	failed error         // what poll found on the socket
	done   chan struct{} // closed by Close

	frames   atomic.Uint64
	loCopies atomic.Uint64

	statsMu  sync.Mutex // held while the counters are read
	received uint64
	dropped  uint64
}

const (
	blockSize = 128 << 10 // holds the largest frame of a segmentation offload
	retireMS  = 1

	// Offsets in tpacket_block_desc and tpacket3_hdr (linux/if_packet.h).
	blockStatus   = 8
	blockNumPkts  = 12
	blockFirstPkt = 16
	blockLen      = 20
	hdrNext       = 0
	hdrSec        = 4
	hdrNsec       = 8
	hdrSnaplen    = 12
	hdrLen        = 16
	hdrStatus     = 20
	hdrMac        = 24
	hdrVLAN       = 32 // tp_vlan_tci, a u32, then tp_vlan_tpid, a u16
	hdrSize       = 48 // aligned; sockaddr_ll follows
	sllProtocol   = 2
	sllIfindex    = 4
	sllHatype     = 8
	sllPkttype    = 10
	sllSize       = 20
)

var native = binary.NativeEndian

// OpenLive opens a capture. It needs CAP_NET_RAW in the network namespace; the
// error for that satisfies errors.Is(err, os.ErrPermission). The filter is in
// place before the socket is bound: nothing unfiltered slips in.
func OpenLive(cfg *LiveConfig) (*Live, error) {
	l := &Live{done: make(chan struct{})}
	l.poll = l.readyOrFailed
	if cfg != nil {
		l.cfg = *cfg
	}
	filter, err := l.cfg.defaults()
	if err != nil {
		return nil, err
	}
	prog, err := filter.Live(uint32(l.cfg.Snaplen))
	if err != nil {
		return nil, err
	}
	if err := l.open(prog); err != nil {
		l.closeAll()
		return nil, fmt.Errorf("open live %s: %w", l.cfg.name(), err)
	}
	go l.relieve()
	return l, nil
}

// open makes the socket, in packet(7)'s order: options, filter, ring, bind.
func (l *Live) open(filter []bpf.RawInstruction) error {
	index, typ := 0, raw.SOCK_DGRAM
	l.link = decode.LinkSLL2
	if !l.cfg.any() {
		var err error
		if index, err = interfaceIndex(l.cfg.Interface); err != nil {
			return err
		}
		if typ, l.link, err = linkOf(l.cfg.Interface); err != nil {
			return err
		}
	}
	sock := raw.Socket{Domain: raw.AF_PACKET, Type: typ}
	var err error
	if l.conn, err = raw.Open(sock, &raw.Config{Filter: filter}); err != nil {
		return err
	}
	if l.raw, err = l.conn.SyscallConn(); err != nil {
		return err
	}
	var operr error
	err = l.raw.Control(func(fd uintptr) {
		if operr = l.mapRing(int(fd)); operr == nil && l.cfg.Promiscuous && index != 0 {
			operr = promiscuous(int(fd), index)
		}
	})
	if err == nil {
		err = operr
	}
	if err != nil {
		return err
	}
	return l.conn.Bind(&raw.Addr{Interface: index, Protocol: raw.ETH_P_ALL})
}

// interfaceIndex returns the index of an interface, ErrNoInterface where there
// is none of that name.
func interfaceIndex(name string) (int, error) {
	iface, err := net.InterfaceByName(name)
	if sys := (*os.SyscallError)(nil); errors.As(err, &sys) {
		return 0, err
	}
	if err != nil {
		return 0, ErrNoInterface
	}
	return iface.Index, nil
}

// linkOf returns what frames of an interface begin with, and the socket type
// that gives them so. Of interfaces that it does not know, SOCK_DGRAM gives what
// follows the link header, and the frames are cooked.
func linkOf(name string) (raw.Type, decode.LinkType, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, opError("socket", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, ifr); err != nil {
		return 0, 0, opError("ioctl(SIOCGIFHWADDR)", err)
	}
	switch link := linkOfHardware(ifr.Uint16()); link { // of a sockaddr, the family (netdevice(7))
	case decode.LinkEthernet:
		return raw.SOCK_RAW, link, nil
	default:
		return raw.SOCK_DGRAM, link, nil
	}
}

// linkOfHardware returns what frames of a hardware type, an ARPHRD_ value,
// begin with; LinkSLL2, which has a header of its own, where that is not known.
func linkOfHardware(hatype uint16) decode.LinkType {
	switch hatype {
	case unix.ARPHRD_ETHER, unix.ARPHRD_LOOPBACK:
		return decode.LinkEthernet
	case unix.ARPHRD_NONE, unix.ARPHRD_RAWIP, unix.ARPHRD_PPP, unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6, unix.ARPHRD_SIT:
		return decode.LinkRaw
	default:
		return decode.LinkSLL2
	}
}

// promiscuous has the interface receive everything until the socket is closed.
func promiscuous(fd, index int) error {
	mreq := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq)
	if err != nil {
		return opError("setsockopt(PACKET_ADD_MEMBERSHIP)", err)
	}
	return nil
}

// mapRing makes the ring and maps it, a smaller one where memory is short.
func (l *Live) mapRing(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return opError("setsockopt(PACKET_VERSION)", err)
	}
	for l.blocks = max(2, (l.cfg.Buffer+blockSize-1)/blockSize); ; l.blocks /= 2 {
		err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
			Block_size: blockSize, Block_nr: uint32(l.blocks),
			Frame_size: blockSize, Frame_nr: uint32(l.blocks),
			Retire_blk_tov: retireMS,
		})
		if err == unix.ENOMEM && l.blocks > 2 {
			continue
		}
		if err != nil {
			return opError("setsockopt(PACKET_RX_RING)", err)
		}
		break
	}
	ring, err := unix.Mmap(fd, 0, l.blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return opError("mmap", err)
	}
	l.ring, l.room = ring, len(ring)
	return nil
}

// relieve looks now and then whether half of the ring waits for the reader,
// and then moves that out. It ends with Close.
func (l *Live) relieve() {
	tick := time.NewTicker(max(1, time.Duration(l.blocks)/8) * retireMS * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
		}
		// A reader that is at it needs no help, or waits for the kernel.
		if !l.mu.TryLock() {
			continue
		}
		if l.ring != nil && l.readyAt((l.block+l.blocks/2)%l.blocks) {
			l.moveOut()
		}
		l.mu.Unlock()
	}
}

// moveOut copies the blocks that the kernel has handed over, as far as there
// is room, and gives them back.
func (l *Live) moveOut() {
	for l.ready() {
		base := l.block * blockSize
		n := int(native.Uint32(l.ring[base+blockLen:]))
		if n > l.room {
			return
		}
		block := append([]byte(nil), l.ring[base:base+n]...)
		if l.inRing { // it is being read: off stays the same
			l.at, l.inRing = block, false
		} else {
			l.moved = append(l.moved, block)
		}
		l.room -= n
		l.handBack()
	}
}

func opError(call string, err error) error {
	return &net.OpError{Op: "capture", Net: "packet", Err: os.NewSyscallError(call, err)}
}

// ReadFrame implements Source. Frames that are at hand are returned even when
// the deadline has passed. After ErrInterfaceDown it may be called again.
func (l *Live) ReadFrame(f *decode.Frame) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed.Load() {
		if l.next() {
			l.fill(f)
			l.advance()
			l.frames.Add(1)
			return nil
		}
		if err := l.await(); err != nil {
			return err
		}
	}
	return net.ErrClosed
}

// Buffered reports whether the next ReadFrame returns without waiting. It is
// for the reading goroutine.
func (l *Live) Buffered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed.Load() || l.next()
}

// next goes to the next frame to be returned, and reports whether the kernel
// has handed over one.
func (l *Live) next() bool {
	for {
		for l.left == 0 {
			if len(l.moved) > 0 {
				l.at = l.moved[0]
				l.moved[0], l.moved = nil, l.moved[1:]
			} else if l.ready() {
				base := l.block * blockSize
				l.at, l.inRing = l.ring[base:base+blockSize], true
			} else {
				return false
			}
			l.left = int(native.Uint32(l.at[blockNumPkts:]))
			l.off = int(native.Uint32(l.at[blockFirstPkt:]))
			if l.left == 0 {
				l.leave()
			}
		}
		if !l.loCopy() {
			return true
		}
		l.loCopies.Add(1)
		l.advance()
	}
}

// loCopy reports whether the frame at l.off is the loopback's second copy:
// there every packet passes twice, and the outgoing one is left out.
func (l *Live) loCopy() bool {
	return loCopy(l.at[l.off+hdrSize:])
}

// loCopy reports whether sll is the address of an outgoing frame on loopback.
func loCopy(sll []byte) bool {
	return sll[sllPkttype] == unix.PACKET_OUTGOING && native.Uint16(sll[sllHatype:]) == unix.ARPHRD_LOOPBACK
}

// advance leaves the frame at l.off behind; with the last one, its block.
func (l *Live) advance() {
	l.left--
	if l.left == 0 {
		l.leave()
		return
	}
	l.off += int(native.Uint32(l.at[l.off+hdrNext:]))
}

// leave is done with the block that was read.
func (l *Live) leave() {
	if l.inRing {
		l.inRing = false
		l.handBack()
	} else {
		l.room += len(l.at)
	}
	l.at = nil
}

// handBack gives the ring's block back to the kernel and goes to the next one.
func (l *Live) handBack() {
	storeStatus(l.ring, l.block*blockSize+blockStatus, unix.TP_STATUS_KERNEL)
	l.block = (l.block + 1) % l.blocks
}

// ready reports whether the kernel has handed the awaited block over.
func (l *Live) ready() bool { return l.readyAt(l.block) }

func (l *Live) readyAt(block int) bool {
	return loadStatus(l.ring, block*blockSize+blockStatus)&unix.TP_STATUS_USER != 0
}

// await waits for the next block, at most to the deadline.
func (l *Live) await() error {
	err := l.raw.Read(l.poll)
	if err == nil {
		err, l.failed = l.failed, nil
	}
	if err == ErrInterfaceDown {
		return fmt.Errorf("read live %s: %w", l.cfg.name(), err)
	}
	return err
}

// readyOrFailed reports whether there is something to be told, a block or an error.
func (l *Live) readyOrFailed(fd uintptr) bool {
	if l.ready() {
		return true
	}
	l.failed = socketError(int(fd))
	return l.failed != nil
}

// socketError returns what is pending on the socket: ENETDOWN when its
// interface went down.
func socketError(fd int) error {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return opError("getsockopt(SO_ERROR)", err)
	case errno == 0:
		return nil
	case unix.Errno(errno) == unix.ENETDOWN:
		return ErrInterfaceDown
	default:
		return opError("recv", unix.Errno(errno))
	}
}

// fill makes a Frame of the one at l.off.
func (l *Live) fill(f *decode.Frame) {
	hdr := l.at[l.off:]
	sec, nsec := native.Uint32(hdr[hdrSec:]), native.Uint32(hdr[hdrNsec:])
	f.Time = decode.Timestamp(int64(sec)*1e9 + int64(nsec))
	f.Link = l.link
	f.Wire = int(native.Uint32(hdr[hdrLen:]))
	mac := int(native.Uint16(hdr[hdrMac:]))
	about := packetInfo{
		sll:    hdr[hdrSize:],
		status: native.Uint32(hdr[hdrStatus:]),
		tci:    uint16(native.Uint32(hdr[hdrVLAN:])),
		tpid:   native.Uint16(hdr[hdrVLAN+4:]),
	}
	about.fill(f, hdr[mac:mac+int(native.Uint32(hdr[hdrSnaplen:]))], l.cfg.Snaplen)
}

// packetInfo is what packet(7) tells of a frame beside its bytes.
type packetInfo struct {
	sll       []byte // sockaddr_ll
	status    uint32 // TP_STATUS_…
	tci, tpid uint16 // of the VLAN tag that was taken out
}

// fill makes of f, whose Time, Link and Wire are set, the frame whose bytes are
// data, at most snaplen of them.
func (p *packetInfo) fill(f *decode.Frame, data []byte, snaplen int) {
	sll, status := p.sll, p.status
	f.Iface = native.Uint32(sll[sllIfindex:])

	switch sll[sllPkttype] {
	case unix.PACKET_HOST, unix.PACKET_BROADCAST, unix.PACKET_MULTICAST:
		f.Dir = decode.DirInbound
	case unix.PACKET_OUTGOING:
		f.Dir = decode.DirOutbound
	case unix.PACKET_OTHERHOST:
		f.Dir = decode.DirOther
	default:
		f.Dir = decode.DirUnknown
	}
	switch {
	case status&unix.TP_STATUS_CSUMNOTREADY != 0:
		f.Checksums = decode.ChecksumsPartial
	case status&unix.TP_STATUS_CSUM_VALID != 0:
		f.Checksums = decode.ChecksumsComplete
	default:
		f.Checksums = decode.ChecksumsUnknown
	}

	// The kernel takes a VLAN tag out of the frame; it goes back in.
	tagged := status&unix.TP_STATUS_VLAN_VALID != 0
	tci, tpid := p.tci, uint16(unix.ETH_P_8021Q)
	if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = p.tpid
	}
	head := f.Data[:0]
	be := binary.BigEndian
	switch {
	case f.Link == decode.LinkSLL2:
		// Protocol, reserved, ifindex, hatype, pkttype, halen, address. A tag's
		// own type is the protocol; the rest of it begins the payload.
		proto := be.Uint16(sll[sllProtocol:])
		if beginsWithTag(proto, data) {
			proto = unix.ETH_P_8021Q
		}
		if tagged {
			head = be.AppendUint16(head, tpid)
		} else {
			head = be.AppendUint16(head, proto)
		}
		head = append(head, 0, 0)
		head = be.AppendUint32(head, f.Iface)
		head = be.AppendUint16(head, native.Uint16(sll[sllHatype:]))
		head = append(head, sll[sllPkttype:sllSize]...)
		if tagged {
			head = be.AppendUint16(head, tci)
			head = be.AppendUint16(head, proto)
		}
	case f.Link == decode.LinkEthernet && tagged && len(data) >= 12:
		head = append(head, data[:12]...) // both addresses
		head = be.AppendUint16(head, tpid)
		head = be.AppendUint16(head, tci)
		f.Wire -= 12
		data = data[12:]
	}
	f.Wire += len(head)
	f.Data = append(head, data...)
	f.Data = f.Data[:min(len(f.Data), snaplen)]
}

// beginsWithTag reports whether data, that SOCK_DGRAM gave for proto, begins
// with a VLAN tag instead. Linux since 6.11 tells the protocol behind all tags,
// although it leaves inner ones in place; and who sends a tagged frame through
// a packet socket may call it anything. The tag's own type is not told: 802.1Q.
func beginsWithTag(proto uint16, data []byte) bool {
	version := byte(4)
	if proto == unix.ETH_P_IPV6 {
		version = 6
	} else if proto != unix.ETH_P_IP {
		return false
	}
	if len(data) < 4 || data[0]>>4 == version {
		return false
	}
	next := binary.BigEndian.Uint16(data[2:])
	return next == proto || next == unix.ETH_P_8021Q || next == unix.ETH_P_8021AD
}

// SetReadDeadline implements Source.
func (l *Live) SetReadDeadline(t time.Time) error { return l.conn.SetReadDeadline(t) }

// Stats implements Source. The kernel's counters begin anew at each reading;
// these are totals.
func (l *Live) Stats() (Stats, error) {
	l.statsMu.Lock()
	defer l.statsMu.Unlock()
	var err error
	if !l.closed.Load() {
		err = l.readStats()
	}
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return Stats{
		Frames: l.frames.Load(), Received: l.received, Dropped: l.dropped, LoCopies: l.loCopies.Load(),
	}, err
}

// readStats adds the kernel's counters; "packets" includes the drops.
func (l *Live) readStats() error {
	var st *unix.TpacketStatsV3
	var operr error
	err := l.raw.Control(func(fd uintptr) {
		st, operr = unix.GetsockoptTpacketStatsV3(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	})
	if err != nil {
		return err
	}
	if operr != nil {
		return opError("getsockopt(PACKET_STATISTICS)", operr)
	}
	l.received += uint64(st.Packets)
	l.dropped += uint64(st.Drops)
	return nil
}

// Close implements Source. A ReadFrame under way returns, then the ring is
// unmapped.
func (l *Live) Close() error {
	l.statsMu.Lock()
	defer l.statsMu.Unlock()
	if l.closed.Swap(true) {
		return nil
	}
	close(l.done)
	serr := l.readStats()
	return errors.Join(serr, l.closeAll())
}

// closeAll closes the socket, which ends a reader, and unmaps the ring.
func (l *Live) closeAll() error {
	var err error
	if l.conn != nil {
		err = l.conn.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ring != nil {
		if merr := unix.Munmap(l.ring); merr != nil {
			err = errors.Join(err, opError("munmap", merr))
		}
		l.ring, l.at, l.moved = nil, nil, nil
	}
	return err
}
