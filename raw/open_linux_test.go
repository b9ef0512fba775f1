package raw_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"finack/internal/privnet"
	"finack/raw"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// open opens s for the duration of the test.
func open(t *testing.T, s raw.Socket, cfg *raw.Config) *raw.Conn {
	t.Helper()
	c, err := raw.Open(s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// withoutCapabilities calls f on a thread that has none; f must not end the test.
func withoutCapabilities(t *testing.T, f func()) {
	t.Helper()
	if err := privnet.WithoutCapabilities(f); err != nil {
		t.Fatal(err)
	}
}

// errno returns the system call's error in err, 0 for none.
func errno(t *testing.T, err error) unix.Errno {
	t.Helper()
	if err == nil {
		return 0
	}
	var op *net.OpError
	var sys *os.SyscallError
	var e unix.Errno
	if !errors.As(err, &op) || !errors.As(op, &sys) || !errors.As(sys, &e) {
		t.Errorf("%v: no *net.OpError around an *os.SyscallError around an errno", err)
	}
	return e
}

// direct asks the kernel for s without this package.
func direct(s raw.Socket) error {
	proto := int(s.Protocol)
	if s.Domain == raw.AF_PACKET {
		proto = int(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, uint16(proto))))
	}
	fd, err := unix.Socket(int(s.Domain), int(s.Type)|unix.SOCK_CLOEXEC, proto)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func TestEverySocketOpensOrFailsAsTheKernelSays(t *testing.T) {
	privnet.Require(t)
	var sockets []raw.Socket
	for _, d := range []raw.Domain{raw.AF_UNIX, raw.AF_INET, raw.AF_INET6, raw.AF_PACKET, 0, 9999} {
		for _, typ := range []raw.Type{raw.SOCK_STREAM, raw.SOCK_DGRAM, raw.SOCK_RAW, raw.SOCK_SEQPACKET, 0, 4, 15} {
			for _, p := range []raw.Protocol{
				0, raw.IPPROTO_ICMP, raw.IPPROTO_IGMP, raw.IPPROTO_TCP, raw.IPPROTO_UDP, raw.IPPROTO_IPV6,
				raw.IPPROTO_ICMPV6, raw.IPPROTO_SCTP, raw.IPPROTO_UDPLITE, 254, raw.IPPROTO_RAW, raw.IPPROTO_MPTCP,
				raw.ETH_P_ALL, raw.ETH_P_IP, raw.ETH_P_IPV6, 0xffff,
			} {
				sockets = append(sockets, raw.Socket{d, typ, p})
			}
		}
	}
	sockets = append(sockets, raw.Socket{raw.AF_INET, raw.SOCK_RAW, -1}, raw.Socket{raw.AF_INET6, raw.SOCK_STREAM, 1 << 20})

	opened := 0
	check := func() {
		for _, s := range sockets {
			c, err := raw.Open(s, nil)
			if got, want := errno(t, err), direct(s); got == 0 && want != nil || got != 0 && got != want {
				t.Errorf("%v: %v, want %v", s, err, want)
			}
			if err == nil {
				opened++
				c.Close()
			}
		}
	}
	check()
	if opened < 60 {
		t.Errorf("only %d of %d sockets opened", opened, len(sockets))
	}
	t.Logf("%d of %d sockets opened", opened, len(sockets))
	opened = 0
	withoutCapabilities(t, check)
	t.Logf("%d without capabilities", opened)
}

func TestProtocolOfPacketSocketIsNotCut(t *testing.T) {
	privnet.Require(t)
	for _, p := range []raw.Protocol{-1, 0x10003} {
		if _, err := raw.Open(raw.Socket{raw.AF_PACKET, raw.SOCK_RAW, p}, nil); errno(t, err) != unix.EINVAL {
			t.Errorf("protocol %d: %v, want EINVAL", p, err)
		}
	}
}

func TestErrorSaysTheCallTheErrnoAndWhatHelps(t *testing.T) {
	privnet.Require(t)
	const help = " (needs CAP_NET_RAW: use sudo, or once: sudo setcap cap_net_raw+ep PROGRAM)"
	for _, tt := range []struct {
		socket     raw.Socket
		privileged bool
		want       string
		is         []error
	}{
		{
			raw.Socket{raw.AF_INET, raw.SOCK_RAW, 0},
			true,
			"socket(AF_INET, SOCK_RAW, 0): EPROTONOSUPPORT: protocol not supported",
			[]error{unix.EPROTONOSUPPORT},
		},
		{
			raw.Socket{raw.AF_INET, raw.SOCK_RAW, 0},
			false,
			"socket(AF_INET, SOCK_RAW, 0): EPROTONOSUPPORT: protocol not supported",
			[]error{unix.EPROTONOSUPPORT},
		},
		{
			raw.Socket{raw.AF_PACKET, raw.SOCK_STREAM, raw.ETH_P_ALL},
			true,
			"socket(AF_PACKET, SOCK_STREAM, ETH_P_ALL): ESOCKTNOSUPPORT: socket type not supported",
			[]error{unix.ESOCKTNOSUPPORT},
		},
		{
			raw.Socket{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_TCP},
			false,
			"socket(AF_INET, SOCK_RAW, IPPROTO_TCP): EPERM: operation not permitted" + help,
			[]error{unix.EPERM, os.ErrPermission},
		},
		{
			raw.Socket{raw.AF_INET6, raw.SOCK_RAW, raw.IPPROTO_ICMPV6},
			false,
			"socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6): EPERM: operation not permitted" + help,
			[]error{unix.EPERM, os.ErrPermission},
		},
		{
			raw.Socket{raw.AF_PACKET, raw.SOCK_RAW, raw.ETH_P_ALL},
			false,
			"socket(AF_PACKET, SOCK_RAW, ETH_P_ALL): EPERM: operation not permitted" + help,
			[]error{unix.EPERM, os.ErrPermission},
		},
		{
			// A new network namespace lets nobody ping, not even root.
			raw.Socket{raw.AF_INET, raw.SOCK_DGRAM, raw.IPPROTO_ICMP},
			true,
			"socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP): EACCES: permission denied " +
				"(a ping socket needs a group within sysctl net.ipv4.ping_group_range; " +
				"with CAP_NET_RAW, SOCK_RAW does without: use sudo, or once: sudo setcap cap_net_raw+ep PROGRAM)",
			[]error{unix.EACCES, os.ErrPermission},
		},
	} {
		check := func() {
			_, err := raw.Open(tt.socket, nil)
			if err == nil {
				t.Errorf("%v opened", tt.socket)
				return
			}
			if err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			for _, is := range tt.is {
				if !errors.Is(err, is) {
					t.Errorf("%v: not %v", err, is)
				}
			}
			if _, ok := err.(*net.OpError); !ok {
				t.Errorf("%T, want *net.OpError", err)
			}
			if sys := (*os.SyscallError)(nil); !errors.As(err, &sys) || sys.Syscall != "socket" {
				t.Errorf("%v: system call %v, want socket", err, sys)
			}
		}
		if tt.privileged {
			check()
		} else {
			withoutCapabilities(t, check)
		}
	}
}

func TestDescriptorIsClosedOnExecAndDoesNotBlock(t *testing.T) {
	privnet.Require(t)
	for _, s := range []raw.Socket{
		{raw.AF_INET, raw.SOCK_STREAM, 0},
		{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_TCP},
		{raw.AF_INET6, raw.SOCK_RAW, raw.IPPROTO_TCP},
		{raw.AF_UNIX, raw.SOCK_SEQPACKET, 0},
		{raw.AF_PACKET, raw.SOCK_RAW, raw.ETH_P_ALL},
	} {
		rc, err := open(t, s, nil).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := rc.Control(func(fd uintptr) {
			if n, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err != nil || n&unix.FD_CLOEXEC == 0 {
				t.Errorf("%v: descriptor flags %#x, %v", s, n, err)
			}
			if n, err := unix.FcntlInt(fd, unix.F_GETFL, 0); err != nil || n&unix.O_NONBLOCK == 0 {
				t.Errorf("%v: status flags %#x, %v", s, n, err)
			}
		}); err != nil {
			t.Error(err)
		}
	}
}

func TestReceiveBufferIsSet(t *testing.T) {
	privnet.Require(t)
	const size = 64 << 10 // below net.core.rmem_max everywhere
	for _, s := range []raw.Socket{
		{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_TCP},
		{raw.AF_PACKET, raw.SOCK_RAW, raw.ETH_P_ALL},
	} {
		// SO_RCVBUFFORCE is refused in a user namespace: this is the way around.
		rc, err := open(t, s, &raw.Config{ReceiveBuffer: size}).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := rc.Control(func(fd uintptr) {
			if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil || n != 2*size {
				t.Errorf("%v: receive buffer of %d, %v; want %d", s, n, err, 2*size)
			}
		}); err != nil {
			t.Error(err)
		}
	}
}

func assemble(t *testing.T, prog ...bpf.Instruction) []bpf.RawInstruction {
	t.Helper()
	filter, err := bpf.Assemble(prog)
	if err != nil {
		t.Fatal(err)
	}
	return filter
}

// accept16 is a filter for messages whose 16 bits at offset off are val.
func accept16(t *testing.T, off, val uint32) []bpf.RawInstruction {
	t.Helper()
	return assemble(t,
		bpf.LoadAbsolute{Off: off, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: val, SkipFalse: 1},
		bpf.RetConstant{Val: 1 << 18},
		bpf.RetConstant{Val: 0})
}

func TestFailedConfigurationSaysWhatFailedAndLeavesNothingOpen(t *testing.T) {
	privnet.Require(t)
	tcp := raw.Socket{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_TCP}
	packet := raw.Socket{raw.AF_PACKET, raw.SOCK_RAW, raw.ETH_P_ALL}
	_ = open(t, tcp, nil).Close() // the poller's own descriptors are there now
	before := descriptors(t)
	for _, tt := range []struct {
		socket raw.Socket
		cfg    raw.Config
		want   string
	}{
		{
			tcp,
			raw.Config{Filter: []bpf.RawInstruction{{Op: 0xffff}}},
			"filter socket(AF_INET, SOCK_RAW, IPPROTO_TCP) 0.0.0.0: EINVAL: invalid argument",
		},
		{
			packet,
			raw.Config{Filter: make([]bpf.RawInstruction, 1<<16+1)},
			"filter socket(AF_PACKET, SOCK_RAW, ETH_P_ALL) any: EINVAL: invalid argument",
		},
		{
			tcp,
			raw.Config{Bind: &net.IPAddr{IP: net.IPv4(192, 0, 2, 1)}},
			"bind socket(AF_INET, SOCK_RAW, IPPROTO_TCP) 192.0.2.1: EADDRNOTAVAIL: cannot assign requested address",
		},
		{
			packet,
			raw.Config{Bind: &raw.Addr{Interface: 12345}},
			"bind socket(AF_PACKET, SOCK_RAW, ETH_P_ALL) %12345: ENODEV: no such device",
		},
	} {
		if _, err := raw.Open(tt.socket, &tt.cfg); err == nil || err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		} else {
			errno(t, err)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("descriptors before:\n%s\nafter:\n%s", before, after)
	}
}

func TestAddressOfAnotherDomainIsRefused(t *testing.T) {
	privnet.Require(t)
	udp4 := open(t, raw.Socket{raw.AF_INET, raw.SOCK_DGRAM, 0}, nil)
	udp6 := open(t, raw.Socket{raw.AF_INET6, raw.SOCK_DGRAM, 0}, nil)
	unixgram := open(t, raw.Socket{raw.AF_UNIX, raw.SOCK_DGRAM, 0}, nil)
	packet := open(t, raw.Socket{raw.AF_PACKET, raw.SOCK_DGRAM, 0}, nil)
	for _, tt := range []struct {
		conn *raw.Conn
		addr net.Addr
		want string
	}{
		{udp4, &net.UDPAddr{IP: net.IPv6loopback, Port: 9}, "address [::1]:9: not an address of AF_INET"},
		{udp4, &net.UDPAddr{IP: net.IP{1, 2}, Port: 9}, "not an address of AF_INET"},
		{udp4, &net.UnixAddr{Name: "x"}, "address x: not an address of AF_INET"},
		{udp4, &raw.Addr{}, "address any: not an address of AF_INET"},
		{udp4, nil, "missing address"},
		{udp6, &net.UDPAddr{IP: net.IP{1, 2}, Port: 9}, "not an address of AF_INET6"},
		{udp6, &net.UDPAddr{IP: net.IPv6loopback, Zone: "no-such-if"}, "no such network interface"},
		{unixgram, &net.UDPAddr{IP: net.IPv6loopback, Port: 9}, "address [::1]:9: not an address of AF_UNIX"},
		{packet, &net.UDPAddr{IP: net.IPv6loopback, Port: 9}, "address [::1]:9: not an address of AF_PACKET"},
		{packet, &raw.Addr{Interface: 1, Hardware: make(net.HardwareAddr, 20)}, "hardware address too long"},
	} {
		_, writeErr := tt.conn.WriteTo([]byte("x"), tt.addr)
		for _, err := range []error{tt.conn.Bind(tt.addr), tt.conn.Connect(tt.addr), writeErr} {
			var op *net.OpError
			if !errors.As(err, &op) || !strings.HasSuffix(err.Error(), tt.want) {
				t.Errorf("%T %v: %v, want %s", tt.addr, tt.addr, err, tt.want)
			}
		}
	}
}

// descriptors lists this process's open files.
func descriptors(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var list strings.Builder
	for _, e := range entries {
		// That of ReadDir itself is gone again.
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			fmt.Fprintln(&list, e.Name(), target)
		}
	}
	return list.String()
}
