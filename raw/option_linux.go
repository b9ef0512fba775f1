package raw

import (
	"bytes"
	"encoding/binary"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

// Options returns the options that matter for this kind of socket, as the
// kernel has them now (socket(7), ip(7), ipv6(7), tcp(7), packet(7)). One that
// this kernel does not know is left out.
func (c *Conn) Options() ([]Option, error) {
	var list []Option
	err := c.control("options", nil, func(fd int) error {
		r := optionReader{fd: fd, socket: c.socket}
		r.read()
		list = r.list
		return os.NewSyscallError("getsockopt", r.err)
	})
	return list, err
}

// optionReader reads one option after the other; the first error that is more
// than "no such option here" stays.
type optionReader struct {
	fd     int
	socket Socket
	list   []Option
	err    error
}

func (r *optionReader) read() {
	r.socketOptions()
	switch r.socket.Domain {
	case AF_INET:
		r.toggle(unix.SOL_IP, unix.IP_HDRINCL, "IP_HDRINCL", "what is sent begins with an IP header", r.socket.Type == SOCK_RAW)
		r.number(unix.SOL_IP, unix.IP_TTL, "IP_TTL", "hops that what is sent may take")
	case AF_INET6:
		r.number(unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS", "hops that what is sent may take")
		r.toggle(unix.SOL_IPV6, unix.IPV6_V6ONLY, "IPV6_V6ONLY", "no IPv4 through this socket", r.socket.Type != SOCK_RAW)
		if v, ok := r.get(unix.SOL_IPV6, unix.IPV6_CHECKSUM); ok && r.socket.Type == SOCK_RAW {
			o := number("IPV6_CHECKSUM", v, "offset where the kernel does the checksum")
			if v < 0 {
				o.Text, o.Meaning = "off", "checksums are the program's own"
			}
			r.list = append(r.list, o)
		}
	case AF_PACKET:
		if v, ok := r.get(unix.SOL_PACKET, unix.PACKET_VERSION); ok {
			o := number("PACKET_VERSION", v, "frame format of a ring, when there is one")
			if v >= unix.TPACKET_V1 && v <= unix.TPACKET_V3 {
				o.Text = "TPACKET_V" + strconv.Itoa(v+1)
			}
			r.list = append(r.list, o)
		}
	}
	if inet := r.socket.Domain == AF_INET || r.socket.Domain == AF_INET6; inet && r.socket.Type == SOCK_STREAM {
		r.number(unix.SOL_TCP, unix.TCP_MAXSEG, "TCP_MAXSEG", "bytes a segment; the connection changes it")
		r.text(unix.SOL_TCP, unix.TCP_CONGESTION, "TCP_CONGESTION", "congestion control")
	}
}

func (r *optionReader) socketOptions() {
	domain := -1
	if v, ok := r.get(unix.SOL_SOCKET, unix.SO_DOMAIN); ok {
		domain = v
		r.list = append(r.list, Option{"SO_DOMAIN", v, Domain(v).String(), ""})
	}
	if v, ok := r.get(unix.SOL_SOCKET, unix.SO_TYPE); ok {
		o := Option{"SO_TYPE", v, Type(v).String(), ""}
		if Type(v) != r.socket.Type {
			o.Meaning = "not what was asked for"
		}
		r.list = append(r.list, o)
	}
	if v, ok := r.get(unix.SOL_SOCKET, unix.SO_PROTOCOL); ok {
		r.list = append(r.list, r.protocol(Domain(domain), Protocol(v)))
	}
	r.buffer(unix.SO_RCVBUF, "SO_RCVBUF")
	r.buffer(unix.SO_SNDBUF, "SO_SNDBUF")
	r.toggle(unix.SOL_SOCKET, unix.SO_REUSEADDR, "SO_REUSEADDR", "bind where TIME_WAIT still is", true)
	r.toggle(unix.SOL_SOCKET, unix.SO_REUSEPORT, "SO_REUSEPORT", "several sockets on one address", true)
	r.toggle(unix.SOL_SOCKET, unix.SO_KEEPALIVE, "SO_KEEPALIVE", "probe a silent peer", r.socket.Type == SOCK_STREAM)
	r.toggle(unix.SOL_SOCKET, unix.SO_BROADCAST, "SO_BROADCAST", "send to broadcast addresses", r.socket.Type != SOCK_STREAM)
	r.linger()
}

// protocol is SO_PROTOCOL, which AF_PACKET tells in network byte order.
func (r *optionReader) protocol(d Domain, p Protocol) Option {
	if d == AF_PACKET {
		p = ntohs(uint16(p))
	}
	o := Option{"SO_PROTOCOL", int(p), d.ProtocolName(p), ""}
	switch {
	case p == r.socket.Protocol:
	case r.socket.Protocol == 0:
		o.Meaning = "the default of the type"
	case d == AF_PACKET:
		o.Meaning = "until bound, to " + d.ProtocolName(r.socket.Protocol)
	}
	return o
}

// buffer is the size of a buffer: the kernel doubles what a program asks for,
// for its own bookkeeping, and tells it doubled (socket(7)).
func (r *optionReader) buffer(opt int, name string) {
	if v, ok := r.get(unix.SOL_SOCKET, opt); ok {
		r.list = append(r.list, number(name, v, "bytes; who asks for N gets 2 N, bookkeeping"))
	}
}

func (r *optionReader) linger() {
	// struct linger is two ints.
	b := make([]byte, 8)
	n, ok := r.bytes(unix.SOL_SOCKET, unix.SO_LINGER, b)
	if !ok || n < 8 {
		return
	}
	o := Option{"SO_LINGER", int(native.Uint32(b[4:])), "off", "close(2) does not wait"}
	switch {
	case native.Uint32(b) != 0 && o.Value == 0:
		o.Text, o.Meaning = "0 s", "close(2) resets the connection"
	case native.Uint32(b) != 0:
		o.Text, o.Meaning = strconv.Itoa(o.Value)+" s", "close(2) waits as long for what is queued"
	}
	r.list = append(r.list, o)
}

// get reads an int.
func (r *optionReader) get(level, opt int) (int, bool) {
	v, err := unix.GetsockoptInt(r.fd, level, opt)
	return v, r.fine(err)
}

// fine notes what is wrong; an option that does not exist is only left out.
func (r *optionReader) fine(err error) bool {
	switch err {
	case nil:
		return true
	case unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EINVAL:
		return false
	}
	if r.err == nil {
		r.err = err
	}
	return false
}

func (r *optionReader) number(level, opt int, name, meaning string) {
	if v, ok := r.get(level, opt); ok {
		r.list = append(r.list, number(name, v, meaning))
	}
}

// toggle is an option that is on or off; where it does not matter it is not read.
func (r *optionReader) toggle(level, opt int, name, meaning string, matters bool) {
	if !matters {
		return
	}
	if v, ok := r.get(level, opt); ok {
		r.list = append(r.list, toggle(name, v, meaning))
	}
}

func (r *optionReader) text(level, opt int, name, meaning string) {
	b := make([]byte, 64)
	n, ok := r.bytes(level, opt, b)
	if !ok {
		return
	}
	value, _, _ := bytes.Cut(b[:n], []byte{0})
	r.list = append(r.list, Option{name, 0, string(value), meaning})
}

// bytes reads an option that is no int.
func (r *optionReader) bytes(level, opt int, b []byte) (int, bool) {
	n, err := getsockopt(r.fd, level, opt, b)
	return n, r.fine(err)
}

// CanOpenRaw reports whether this thread has CAP_NET_RAW in its own user
// namespace (capabilities(7)): enough where that owns the network namespace.
func CanOpenRaw() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // capget fills both
	return unix.Capget(&hdr, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_NET_RAW) != 0
}

// Drops returns how many packets the kernel has thrown away because the
// receive buffer was full, or their checksum was wrong, since the socket was
// opened (SO_MEMINFO, SK_MEMINFO_DROPS). Unlike SO_RXQ_OVFL it tells at once.
func (c *Conn) Drops() (uint32, error) {
	var info [4 * unix.SK_MEMINFO_VARS]byte
	err := c.control("drops", nil, func(fd int) error {
		n, err := getsockopt(fd, unix.SOL_SOCKET, unix.SO_MEMINFO, info[:])
		if err == nil && n < 4*(unix.SK_MEMINFO_DROPS+1) {
			err = unix.ENOPROTOOPT
		}
		return os.NewSyscallError("getsockopt(SO_MEMINFO)", err)
	})
	return native.Uint32(info[4*unix.SK_MEMINFO_DROPS:]), err
}
