package capture

import (
	"fmt"

	"golang.org/x/net/bpf"

	"finack/decode"
	"finack/internal/pcapfilter"
	"finack/raw"
)

// SocketConfig says which sockets to capture from; nil and zero values mean
// the defaults.
type SocketConfig struct {
	// Sockets are read as one, their frames in the order of their timestamps:
	// SOCK_RAW of AF_INET and AF_INET6, SOCK_RAW and SOCK_DGRAM of AF_PACKET.
	// Default: TCP of AF_INET and of AF_INET6.
	Sockets []raw.Socket
	// Interface bounds them to one interface (SO_BINDTODEVICE, or bind(2) of
	// AF_PACKET); "" and "any" mean all.
	Interface string
	// Filter is an expression in tcpdump's language, pcap-filter(7). A socket
	// where it can match nothing is not opened. The kernel runs it, but for
	// AF_INET6, where it has no header to run it on: there every packet is
	// received, its header rebuilt, and the filter run in user space.
	Filter string
	// Snaplen is how many bytes of a frame are kept at most. Default 262144.
	Snaplen int
	// Buffer is the size of each receive buffer in bytes, see
	// raw.Config.ReceiveBuffer. Default 8 MiB, which the kernel cuts to
	// net.core.rmem_max for those without CAP_NET_ADMIN.
	Buffer int
	// LoCopies keeps what AF_PACKET with ETH_P_ALL sees twice: the frames that
	// leave for loopback, beside the same ones arriving.
	LoCopies bool
}

const defaultSocketBuffer = 8 << 20

func (c *SocketConfig) defaults() (*pcapfilter.Filter, error) {
	if len(c.Sockets) == 0 {
		c.Sockets = []raw.Socket{
			{Domain: raw.AF_INET, Type: raw.SOCK_RAW, Protocol: raw.IPPROTO_TCP},
			{Domain: raw.AF_INET6, Type: raw.SOCK_RAW, Protocol: raw.IPPROTO_TCP},
		}
	}
	if c.Snaplen <= 0 {
		c.Snaplen = defaultSnaplen
	}
	if c.Buffer <= 0 {
		c.Buffer = defaultSocketBuffer
	}
	for _, s := range c.Sockets {
		inet := s.Domain == raw.AF_INET || s.Domain == raw.AF_INET6
		packet := s.Domain == raw.AF_PACKET && s.Type == raw.SOCK_DGRAM
		if s.Type != raw.SOCK_RAW && !packet || !inet && s.Domain != raw.AF_PACKET {
			return nil, fmt.Errorf("capture from %v: only SOCK_RAW, and SOCK_DGRAM of AF_PACKET, receive what is not sent to them", s)
		}
	}
	return pcapfilter.Parse(c.Filter)
}

// tapFilter is a filter for one socket: for the kernel, or for user space.
type tapFilter struct {
	kernel []bpf.RawInstruction
	user   *pcapfilter.Program
}

// tapFilterFor compiles a filter. What it sees from offset 0 is what raw.Conn's
// SetBPF says.
func tapFilterFor(s raw.Socket, filter *pcapfilter.Filter, snaplen int) (p tapFilter, err error) {
	if filter.String() == "" && s.Domain != raw.AF_PACKET {
		return p, nil
	}
	switch s.Domain {
	case raw.AF_PACKET:
		p.kernel, err = filter.Live(uint32(snaplen))
	case raw.AF_INET:
		var prog *pcapfilter.Program
		if prog, err = filter.ForLink(uint16(decode.LinkIPv4)); err == nil {
			p.kernel = prog.Instructions()
		}
	default:
		p.user, err = filter.ForLink(uint16(decode.LinkIPv6))
	}
	return p, err
}
