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
// they are full, and after a millisecond at the latest.
type Live struct {
	cfg    LiveConfig
	link   decode.LinkType
	cooked bool // SOCK_DGRAM: no link header; one of LINUX_SLL2 is made
	conn   *raw.Conn
	raw    syscall.RawConn
	closed atomic.Bool

	mu     sync.Mutex // held while a frame is read: the ring stays mapped
	ring   []byte     // nil when unmapped
	blocks int
	block  int // the one being read, or awaited
	left   int // frames left in it
	off    int // of the next frame, in the ring

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
	l := &Live{}
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
	return l, nil
}

// open makes the socket, in packet(7)'s order: options, filter, ring, bind.
func (l *Live) open(filter []bpf.RawInstruction) error {
	index := 0
	sock := raw.Socket{Domain: raw.AF_PACKET, Type: raw.SOCK_DGRAM}
	l.cooked, l.link = true, decode.LinkSLL2
	if !l.cfg.any() {
		ifi, err := net.InterfaceByName(l.cfg.Interface)
		if err != nil {
			return ErrNoInterface
		}
		index = ifi.Index
		if hasEthernetHeader(l.cfg.Interface) {
			sock.Type, l.cooked, l.link = raw.SOCK_RAW, false, decode.LinkEthernet
		}
	}
	var err error
	if l.conn, err = raw.Open(sock, &raw.Config{Filter: filter}); err != nil {
		return err
	}
	if l.raw, err = l.conn.SyscallConn(); err != nil {
		return err
	}
	var operr error
	err = l.raw.Control(func(fd uintptr) { operr = l.mapRing(int(fd)) })
	if err = errors.Join(err, operr); err != nil {
		return err
	}
	return l.conn.Bind(&raw.Addr{Interface: index, Protocol: raw.ETH_P_ALL})
}

// hasEthernetHeader reports whether frames of an interface begin with an
// Ethernet header; those of other kinds are captured cooked.
func hasEthernetHeader(name string) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil || unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, ifr) != nil {
		return false
	}
	hatype := ifr.Uint16() // of a sockaddr, the family: an ARPHRD_ value (netdevice(7))
	return hatype == unix.ARPHRD_ETHER || hatype == unix.ARPHRD_LOOPBACK
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
	l.ring = ring
	return nil
}

func opError(call string, err error) error {
	return &net.OpError{Op: "capture", Net: "packet", Err: os.NewSyscallError(call, err)}
}

// ReadFrame implements Source. Frames that are at hand are returned even when
// the deadline has passed.
func (l *Live) ReadFrame(f *decode.Frame) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.closed.Load() {
			return net.ErrClosed
		}
		if l.left == 0 {
			if err := l.await(); err != nil {
				return err
			}
			continue
		}
		if l.take(f) {
			l.frames.Add(1)
			return nil
		}
		l.loCopies.Add(1)
	}
}

// Buffered reports whether a frame is at hand, so that ReadFrame would not
// block. It is for the reading goroutine.
func (l *Live) Buffered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left > 0 || l.ring != nil && l.ready()
}

// ready reports whether the kernel has handed the awaited block over.
func (l *Live) ready() bool {
	return loadStatus(l.ring, l.block*blockSize+blockStatus)&unix.TP_STATUS_USER != 0
}

// await waits for the next block and goes to its first frame.
func (l *Live) await() error {
	if !l.ready() {
		var down error
		err := l.raw.Read(func(fd uintptr) bool {
			if l.ready() {
				return true
			}
			down = socketError(int(fd))
			return down != nil
		})
		if err = errors.Join(err, down); err != nil {
			return unjoin(err)
		}
	}
	base := l.block * blockSize
	l.left = int(native.Uint32(l.ring[base+blockNumPkts:]))
	l.off = base + int(native.Uint32(l.ring[base+blockFirstPkt:]))
	if l.left == 0 {
		l.handBack()
	}
	return nil
}

// unjoin returns the only error of a join.
func unjoin(err error) error {
	if j, ok := err.(interface{ Unwrap() []error }); ok && len(j.Unwrap()) == 1 {
		return j.Unwrap()[0]
	}
	return err
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

// handBack gives the block back to the kernel and goes to the next one.
func (l *Live) handBack() {
	storeStatus(l.ring, l.block*blockSize+blockStatus, unix.TP_STATUS_KERNEL)
	l.block = (l.block + 1) % l.blocks
}

// take copies the frame at l.off and goes to the next. It returns false for
// the loopback's second copies: there every packet passes twice, and the
// outgoing one is left out.
func (l *Live) take(f *decode.Frame) bool {
	hdr := l.ring[l.off:]
	sll := hdr[hdrSize:]
	pkttype := sll[sllPkttype]
	hatype := native.Uint16(sll[sllHatype:])
	keep := pkttype != unix.PACKET_OUTGOING || hatype != unix.ARPHRD_LOOPBACK
	if keep {
		l.fill(f, hdr, sll)
	}
	l.left--
	if l.left == 0 {
		l.handBack()
	} else {
		l.off += int(native.Uint32(hdr[hdrNext:]))
	}
	return keep
}

// fill makes a Frame of what the ring holds.
func (l *Live) fill(f *decode.Frame, hdr, sll []byte) {
	sec, nsec := native.Uint32(hdr[hdrSec:]), native.Uint32(hdr[hdrNsec:])
	f.Time = decode.Timestamp(int64(sec)*1e9 + int64(nsec))
	f.Link = l.link
	f.Iface = native.Uint32(sll[sllIfindex:])
	f.Wire = int(native.Uint32(hdr[hdrLen:]))
	status := native.Uint32(hdr[hdrStatus:])
	mac := int(native.Uint16(hdr[hdrMac:]))
	data := hdr[mac : mac+int(native.Uint32(hdr[hdrSnaplen:]))]

	switch sll[sllPkttype] {
	case unix.PACKET_OUTGOING:
		f.Dir = decode.DirOutbound
	case unix.PACKET_OTHERHOST:
		f.Dir = decode.DirOther
	default:
		f.Dir = decode.DirInbound
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
	tci, tpid := uint16(native.Uint32(hdr[hdrVLAN:])), uint16(unix.ETH_P_8021Q)
	if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = native.Uint16(hdr[hdrVLAN+4:])
	}
	f.Data = f.Data[:0]
	be := binary.BigEndian
	switch {
	case l.cooked:
		// LINUX_SLL2: protocol, reserved, ifindex, hatype, pkttype, halen, address.
		proto := be.Uint16(sll[sllProtocol:])
		first := proto
		if tagged {
			first = tpid
		}
		f.Data = be.AppendUint16(f.Data, first)
		f.Data = append(f.Data, 0, 0)
		f.Data = be.AppendUint32(f.Data, f.Iface)
		f.Data = be.AppendUint16(f.Data, native.Uint16(sll[sllHatype:]))
		f.Data = append(f.Data, sll[sllPkttype:sllSize]...)
		if tagged {
			f.Data = be.AppendUint16(f.Data, tci)
			f.Data = be.AppendUint16(f.Data, proto)
		}
		f.Data = append(f.Data, data...)
		f.Wire += sllSize
	case tagged && len(data) >= 12:
		f.Data = append(f.Data, data[:12]...)
		f.Data = be.AppendUint16(f.Data, tpid)
		f.Data = be.AppendUint16(f.Data, tci)
		f.Data = append(f.Data, data[12:]...)
	default:
		f.Data = append(f.Data, data...)
		return
	}
	if tagged {
		f.Wire += 4
	}
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
		l.ring = nil
	}
	return err
}
