package raw_test

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"finack/internal/privnet"
	"finack/raw"
)

// options reads c's options as a map from name to text.
func options(t *testing.T, c *raw.Conn) map[string]string {
	t.Helper()
	list, err := c.Options()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, o := range list {
		if _, twice := got[o.Name]; twice || o.Text == "" {
			t.Errorf("%+v: empty, or there twice", o)
		}
		got[o.Name] = o.Text
	}
	return got
}

func TestOptionsAreTheKernels(t *testing.T) {
	privnet.Require(t)
	for _, tt := range []struct {
		socket raw.Socket
		want   map[string]string // a value of "-": the option does not belong to this socket
	}{
		{raw.Socket{raw.AF_INET, raw.SOCK_RAW, raw.IPPROTO_TCP}, map[string]string{
			"SO_DOMAIN": "AF_INET", "SO_TYPE": "SOCK_RAW", "SO_PROTOCOL": "IPPROTO_TCP", "IP_HDRINCL": "on", "IP_TTL": "64",
			"SO_KEEPALIVE": "-", "TCP_MAXSEG": "-", "IPV6_CHECKSUM": "-",
		}},
		{raw.Socket{raw.AF_INET6, raw.SOCK_RAW, raw.IPPROTO_ICMPV6}, map[string]string{
			"SO_DOMAIN": "AF_INET6", "SO_PROTOCOL": "IPPROTO_ICMPV6", "IPV6_CHECKSUM": "2", "IPV6_UNICAST_HOPS": "64", "IP_HDRINCL": "-",
		}},
		{raw.Socket{raw.AF_INET6, raw.SOCK_RAW, raw.IPPROTO_TCP}, map[string]string{"IPV6_CHECKSUM": "off"}},
		{raw.Socket{raw.AF_INET, raw.SOCK_STREAM, 0}, map[string]string{
			"SO_TYPE": "SOCK_STREAM", "SO_PROTOCOL": "IPPROTO_TCP", "SO_KEEPALIVE": "off", "SO_REUSEADDR": "off", "SO_LINGER": "off",
			"IP_HDRINCL": "-",
		}},
		{raw.Socket{raw.AF_UNIX, raw.SOCK_RAW, 0}, map[string]string{"SO_DOMAIN": "AF_UNIX", "SO_TYPE": "SOCK_DGRAM", "IP_TTL": "-"}},
		{raw.Socket{raw.AF_PACKET, raw.SOCK_DGRAM, raw.ETH_P_ALL}, map[string]string{
			"SO_DOMAIN": "AF_PACKET", "SO_TYPE": "SOCK_DGRAM", "SO_PROTOCOL": "0", "PACKET_VERSION": "TPACKET_V1", "IP_TTL": "-",
		}},
	} {
		got := options(t, open(t, tt.socket, nil))
		for name, want := range tt.want {
			if text, ok := got[name]; ok != (want != "-") || ok && text != want {
				t.Errorf("%v: %s is %q, want %q", tt.socket, name, text, want)
			}
		}
	}
}

// Options are read, not remembered.
func TestOptionsFollowTheKernel(t *testing.T) {
	privnet.Require(t)
	c := open(t, raw.Socket{raw.AF_INET, raw.SOCK_STREAM, raw.IPPROTO_TCP}, nil)
	set := func(f func(fd int) error) {
		t.Helper()
		rc, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if cerr := rc.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil || err != nil {
			t.Fatal(cerr, err)
		}
	}
	for _, opt := range []int{unix.SO_KEEPALIVE, unix.SO_REUSEADDR} {
		set(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, 1) })
	}
	set(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 10_000) })
	set(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TTL, 7) })
	set(func(fd int) error { return unix.SetsockoptString(fd, unix.SOL_TCP, unix.TCP_CONGESTION, "reno") })
	for _, linger := range []struct {
		unix.Linger
		text, meaning string
	}{
		{unix.Linger{Onoff: 1, Linger: 0}, "0 s", "resets"},
		{unix.Linger{Onoff: 1, Linger: 5}, "5 s", "waits"},
	} {
		set(func(fd int) error { return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &linger.Linger) })
		list, err := c.Options()
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(o raw.Option) bool { return o.Name == "SO_LINGER" })
		if i < 0 || list[i].Text != linger.text || !strings.Contains(list[i].Meaning, linger.meaning) {
			t.Errorf("SO_LINGER %+v is told as %+v", linger.Linger, list)
		}
	}
	got := options(t, c)
	for name, want := range map[string]string{
		"SO_KEEPALIVE": "on", "SO_REUSEADDR": "on", "SO_RCVBUF": "20000", "IP_TTL": "7", "TCP_CONGESTION": "reno",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	c.Close()
	if _, err := c.Options(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v, want net.ErrClosed", err)
	}
}

func TestRefusalsAreExplained(t *testing.T) {
	privnet.Require(t)
	check := func(s raw.Socket, errno, meaning, cure string, denied bool) {
		t.Helper()
		c, err := raw.Open(s, nil)
		if err == nil {
			c.Close()
			t.Errorf("%v opened", s)
			return
		}
		r, ok := raw.Refused(s, err)
		if !ok || r.Errno != errno || !strings.Contains(r.Meaning, meaning) || !strings.Contains(r.Cure, cure) ||
			r.Denied != denied || r.General == "" || r.Text == "" {
			t.Errorf("%v: %+v, %v", s, r, ok)
		}
	}
	check(raw.Socket{raw.AF_INET, raw.SOCK_RAW, 0}, "EPROTONOSUPPORT", "SOCK_RAW has no default", "tcp", false)
	check(raw.Socket{raw.AF_INET, raw.SOCK_STREAM, raw.IPPROTO_UDP}, "EPROTONOSUPPORT", "SOCK_STREAM of AF_INET does not speak protocol IPPROTO_UDP", "protocol 0", false)
	check(raw.Socket{raw.AF_UNIX, raw.SOCK_STREAM, 6}, "EPROTONOSUPPORT", "AF_UNIX has no protocols", "0", false)
	check(raw.Socket{raw.AF_PACKET, raw.SOCK_STREAM, 0}, "ESOCKTNOSUPPORT", "AF_PACKET has no SOCK_STREAM", "type", false)
	check(raw.Socket{raw.AF_INET, raw.SOCK_RAW, 999}, "EINVAL", "protocol's number is out of range", "", false)
	check(raw.Socket{raw.AF_INET, 99, 0}, "EINVAL", "type's number is out of range", "", false)
	check(raw.Socket{raw.AF_PACKET, raw.SOCK_RAW, 0x10003}, "EINVAL", "protocol's number is out of range", "", false)
	check(raw.Socket{9999, raw.SOCK_RAW, 0}, "EAFNOSUPPORT", "no such domain", "", false)
	withoutCapabilities(t, func() {
		check(raw.Socket{raw.AF_INET6, raw.SOCK_RAW, raw.IPPROTO_TCP}, "EPERM", "needs CAP_NET_RAW", "sudo setcap cap_net_raw+ep PROGRAM", true)
		check(raw.Socket{raw.AF_PACKET, raw.SOCK_STREAM, 0}, "EPERM", "needs CAP_NET_RAW", "sudo", true)
		check(raw.Socket{raw.AF_INET, raw.SOCK_RAW, 0}, "EPROTONOSUPPORT", "no default", "", false)
	})
	if _, ok := raw.Refused(raw.Socket{}, net.ErrClosed); ok {
		t.Error("what the kernel did not say is explained")
	}
}

// CanOpenRaw and Privilege foretell what the kernel does.
func TestPrivilegesAreForetold(t *testing.T) {
	privnet.Require(t)
	if !raw.CanOpenRaw() {
		t.Error("no CAP_NET_RAW in a private network")
	}
	without := true
	withoutCapabilities(t, func() { without = raw.CanOpenRaw() })
	if without {
		t.Error("CAP_NET_RAW without capabilities")
	}
	for _, d := range []raw.Domain{raw.AF_UNIX, raw.AF_INET, raw.AF_INET6, raw.AF_PACKET} {
		for _, typ := range []raw.Type{raw.SOCK_STREAM, raw.SOCK_DGRAM, raw.SOCK_RAW, raw.SOCK_SEQPACKET} {
			for _, p := range []raw.Protocol{0, raw.IPPROTO_ICMP, raw.IPPROTO_TCP, raw.IPPROTO_UDP, raw.IPPROTO_ICMPV6} {
				s := raw.Socket{d, typ, p}
				with := direct(s)
				without := with
				withoutCapabilities(t, func() { without = direct(s) })
				if needs := s.Privilege() == raw.PrivilegeNetRaw; without == unix.EPERM && !needs || with == nil && (without != nil) != needs {
					t.Errorf("%v: %v; without capabilities %v; foretold: %v", s, with, without, s.Privilege())
				}
				if with == unix.EACCES && s.Privilege() != raw.PrivilegePing {
					t.Errorf("%v: %v; foretold: %v", s, with, s.Privilege())
				}
			}
		}
	}
}
