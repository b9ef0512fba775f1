package kernel

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"finack/trace"
)

// Socket is a TCP socket: a line of /proc/net/tcp (proc(5)).
type Socket struct {
	Local, Remote netip.AddrPort // IPv4-mapped addresses as IPv4
	State         trace.State
}

// Sockets returns the TCP sockets at a local port, of programs and of none any
// more, in the network namespace of the calling thread. The kernel walks its
// whole table for that, which takes some 10 ms. It needs Linux.
func Sockets(port uint16) ([]Socket, error) {
	var list []Socket
	for _, name := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(name, "6") {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		lines.Scan() // the heading
		for lines.Scan() {
			s, perr := parseSocket(lines.Text())
			if perr != nil {
				err = fmt.Errorf("%s: %w", name, perr)
				break
			}
			if s.Local.Port() == port {
				list = append(list, s)
			}
		}
		if err = errors.Join(err, lines.Err(), f.Close()); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// State returns a TCP state by its number in the kernel (net/tcp_states.h),
// Unknown for none.
func State(n uint8) trace.State {
	states := [...]trace.State{
		1: trace.Established, 2: trace.SynSent, 3: trace.SynReceived, 4: trace.FinWait1, 5: trace.FinWait2,
		6: trace.TimeWait, 7: trace.Closed, 8: trace.CloseWait, 9: trace.LastAck, 10: trace.Listen, 11: trace.Closing,
		12: trace.SynReceived, // TCP_NEW_SYN_RECV: there is no socket yet
	}
	if int(n) >= len(states) {
		return trace.Unknown
	}
	return states[n]
}

// parseSocket reads a line: number, local and remote address, state, and more.
func parseSocket(line string) (s Socket, err error) {
	f := strings.Fields(line)
	if len(f) < 4 {
		return s, fmt.Errorf("line %q is too short", line)
	}
	state, err := strconv.ParseUint(f[3], 16, 8)
	if err == nil {
		s.State = State(uint8(state))
		s.Local, err = parseHexAddr(f[1])
	}
	if err == nil {
		s.Remote, err = parseHexAddr(f[2])
	}
	return s, err
}

// parseHexAddr reads "0100007F:1F90": words as they lie in memory, and the port.
func parseHexAddr(text string) (netip.AddrPort, error) {
	addr, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for i := 0; i+4 <= len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	ip, ok := netip.AddrFromSlice(b)
	n, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q", text)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), nil
}
