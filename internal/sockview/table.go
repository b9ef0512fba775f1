package sockview

import (
	"fmt"
	"slices"
	"strings"

	"finack/raw"
)

// Table is every combination of domain, type and a choice of protocols, and
// what the kernel answers to each here and now.
type Table struct{ Answers []*Answer }

// The columns of a table.
var types = []raw.Type{raw.SOCK_STREAM, raw.SOCK_DGRAM, raw.SOCK_SEQPACKET, raw.SOCK_RAW}

// rows are a table's protocols, by domain.
var rows = []struct {
	domain    raw.Domain
	protocols []raw.Protocol
}{
	{raw.AF_UNIX, []raw.Protocol{0, raw.Protocol(raw.AF_UNIX), 6}},
	{raw.AF_INET, []raw.Protocol{
		0, raw.IPPROTO_ICMP, raw.IPPROTO_TCP, raw.IPPROTO_UDP, raw.IPPROTO_GRE, raw.IPPROTO_ICMPV6, raw.IPPROTO_SCTP,
		raw.IPPROTO_UDPLITE, raw.IPPROTO_RAW, raw.IPPROTO_MPTCP, 999,
	}},
	{raw.AF_INET6, []raw.Protocol{
		0, raw.IPPROTO_ICMP, raw.IPPROTO_TCP, raw.IPPROTO_UDP, raw.IPPROTO_GRE, raw.IPPROTO_ICMPV6, raw.IPPROTO_SCTP,
		raw.IPPROTO_UDPLITE, raw.IPPROTO_RAW, raw.IPPROTO_MPTCP, 999,
	}},
	{raw.AF_PACKET, []raw.Protocol{0, raw.ETH_P_ALL, raw.ETH_P_IP, raw.ETH_P_ARP, raw.ETH_P_IPV6}},
}

// NewTable asks the kernel for every socket of a table.
func NewTable() (*Table, error) {
	t := &Table{}
	for _, row := range rows {
		for _, p := range row.protocols {
			for _, typ := range types {
				a, err := Ask(raw.Socket{Domain: row.domain, Type: typ, Protocol: p})
				if err != nil {
					return nil, err
				}
				t.Answers = append(t.Answers, a)
			}
		}
	}
	return t, nil
}

// The marks behind what needs a privilege.
const (
	markNetRaw = "*"
	markPing   = "+"
)

// AppendText appends a block for each domain, a row for each protocol, and a
// legend, in lines of at most 80 columns.
func (t *Table) AppendText(dst []byte) []byte {
	var domain raw.Domain
	seen := map[raw.Privilege]bool{}
	var refusals []raw.Refusal
	for i, a := range t.Answers {
		if a.Socket.Domain != domain {
			domain = a.Socket.Domain
			if i > 0 {
				dst = append(dst, '\n')
			}
			dst = fmt.Appendf(dst, "%-12s", domain)
			for j, typ := range types {
				dst = appendCell(dst, j, typ.String())
			}
		}
		if i%len(types) == 0 {
			dst = fmt.Appendf(dst, "  %-10s", label(a.Socket))
		}
		dst = appendCell(dst, i%len(types), a.cell())
		if a.Opened() || a.Refusal.Denied {
			seen[a.Socket.Privilege()] = true
		}
		known := slices.ContainsFunc(refusals, func(r raw.Refusal) bool { return r.Errno == a.Refusal.Errno })
		if !a.Opened() && !known {
			refusals = append(refusals, a.Refusal)
		}
	}
	dst = append(dst, '\n')
	slices.SortFunc(refusals, func(a, b raw.Refusal) int { return strings.Compare(a.Errno, b.Errno) })
	for _, r := range refusals {
		dst = appendWrapped(dst, fmt.Sprintf("%-17s", r.Errno), r.General)
	}
	if seen[raw.PrivilegeNetRaw] {
		has := "does not have it: sudo, or setcap cap_net_raw+ep on it, once"
		if raw.CanOpenRaw() {
			has = "has it"
		}
		dst = appendWrapped(dst, fmt.Sprintf("%-17s", markNetRaw), "needs CAP_NET_RAW; this program "+has)
	}
	if seen[raw.PrivilegePing] {
		dst = appendWrapped(dst, fmt.Sprintf("%-17s", markPing), "a ping socket: needs a group in net.ipv4.ping_group_range, no capability")
	}
	return dst
}

// appendCell appends a cell of column j, of len(types); the last ends the line.
func appendCell(dst []byte, j int, text string) []byte {
	if j == len(types)-1 {
		return append(append(dst, text...), '\n')
	}
	return fmt.Appendf(dst, "%-17s", text)
}

// cell is what the table says of one socket.
func (a *Answer) cell() string {
	mark := ""
	if a.Opened() || a.Refusal.Denied {
		mark = map[raw.Privilege]string{raw.PrivilegeNetRaw: markNetRaw, raw.PrivilegePing: markPing}[a.Socket.Privilege()]
	}
	if a.Opened() {
		return "ok" + mark
	}
	return a.Refusal.Errno + mark
}

// label names a row: "tcp", "all", or the number where there is no name.
func label(s raw.Socket) string {
	name := s.Domain.ProtocolName(s.Protocol)
	for _, prefix := range []string{"IPPROTO_", "ETH_P_"} {
		name = strings.TrimPrefix(name, prefix)
	}
	return strings.ToLower(name)
}

// AppendJSON appends a line of JSON for each combination.
func (t *Table) AppendJSON(dst []byte, program string) ([]byte, error) {
	var err error
	for _, a := range t.Answers {
		if dst, err = a.AppendJSON(dst, program); err != nil {
			return dst, err
		}
	}
	return dst, nil
}
