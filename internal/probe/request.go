package probe

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"finack/internal/craft"
)

// Request is what a user asks for, field by field and in words. What Said does
// not report is chosen.
type Request struct {
	Target string // see ParseTarget
	Source string // see ParseSource; "" and what it leaves open: chosen

	TTL, TOS  uint8
	ID        uint16 // chosen unless said
	DF        bool
	FlowLabel uint32
	IPSum     string

	Flags, Options string // of TCP: see craft.ParseFlags and craft.ParseOptions
	Seq            uint32 // of TCP, or ICMP; chosen unless said
	Ack            uint32
	Window, Urgent uint16
	Sum            string // of TCP, UDP or ICMP: see ParseSum
	Protocol       uint8  // of ip://

	Text, Hex, File string // the payload: one of them, or
	Size            int    // so many bytes, counting up from 0

	MTU               int // cut into fragments; zero: do not
	Count             int
	Interval, Timeout time.Duration
	NoWait            bool
	DryRun            bool // nothing will be sent: what cannot be sent is allowed

	Said func(field string) bool // whether the user has said it: the names of onlyFor and payloads
}

// onlyFor are fields that some targets have: by scheme or by IP version.
var onlyFor = map[string][]string{
	"flags": {"tcp"}, "ack": {"tcp"}, "window": {"tcp"}, "options": {"tcp"}, "urgent": {"tcp"},
	"seq": {"tcp", "icmp"}, "checksum": {"tcp", "udp", "icmp"}, "protocol": {"ip"},
	"id": {"IPv4"}, "df": {"IPv4"}, "ip-checksum": {"IPv4"}, "flow-label": {"IPv6"},
}

// payloads are the fields that give a payload.
var payloads = []string{"payload", "payload-hex", "payload-file", "size"}

// Config makes a run of a request. An error is the user's, says what is wrong
// in one line, and calls a field --field.
func (r *Request) Config() (*Config, error) {
	target, err := ParseTarget(r.Target)
	if err != nil {
		return nil, err
	}
	if err := r.check(target); err != nil {
		return nil, err
	}
	cfg := &Config{Count: r.Count, Interval: r.Interval, Timeout: r.Timeout, NoWait: r.NoWait}
	if cfg.Payload, err = r.payload(); err != nil {
		return nil, err
	}
	cfg.IP = craft.IP{Dst: target.Addr, TTL: r.TTL, TOS: r.TOS, ID: r.ID, DF: r.DF, FlowLabel: r.FlowLabel}
	if !r.Said("id") {
		cfg.IP.ID = anyID()
	}
	if cfg.IP.Sum, err = ParseSum(r.IPSum); err != nil {
		return nil, fmt.Errorf("--ip-checksum: %w", err)
	}
	if cfg.IP.Sum != craft.SumRight && !r.DryRun {
		return nil, errors.New("--ip-checksum: the kernel puts the right one into every packet (raw(7)): only --dry-run shows another")
	}
	cfg.MTU, cfg.FragmentID = r.MTU, anySeq()
	port, err := r.source(target, cfg)
	if err != nil {
		return nil, err
	}
	if err := r.transport(target, port, cfg); err != nil {
		return nil, err
	}
	_, err = cfg.Build(0)
	return cfg, err
}

// check refuses what the target does not have, and numbers out of bounds.
func (r *Request) check(target Target) error {
	version := "IPv6"
	if target.Addr.Is4() {
		version = "IPv4"
	}
	for _, name := range slices.Sorted(maps.Keys(onlyFor)) {
		if words := onlyFor[name]; r.Said(name) && !slices.Contains(words, target.Scheme) && !slices.Contains(words, version) {
			return fmt.Errorf("--%s: %s has none: only %s", name, target, strings.Join(words, ", "))
		}
	}
	switch {
	case r.TTL == 0:
		return errors.New("--ttl 0: no packet leaves with it: 1 is the least")
	case r.Said("id") && r.ID == 0 && !r.DF && !r.DryRun:
		return errors.New("--id 0: the kernel would choose another one (raw(7)): --df keeps it")
	case r.FlowLabel > 0xfffff:
		return fmt.Errorf("--flow-label %d: it has 20 bits", r.FlowLabel)
	case r.Count < 1:
		return fmt.Errorf("--count %d: must be at least 1", r.Count)
	case r.Interval < 0:
		return fmt.Errorf("--interval %v: must not be negative", r.Interval)
	case r.Timeout <= 0:
		return fmt.Errorf("--timeout %v: must be more than 0", r.Timeout)
	case r.Said("fragment") && r.MTU <= 0:
		return fmt.Errorf("--fragment %d: must be an MTU in bytes", r.MTU)
	case target.Scheme == "ip" && !r.Said("protocol"):
		return fmt.Errorf("%s: needs --protocol, a number of the IANA's registry", target)
	case target.Scheme == "icmp" && r.Seq > 0xffff:
		return fmt.Errorf("--seq %d: ICMP's has 16 bits", r.Seq)
	}
	return nil
}

// payload returns the payload, which one field at most may give.
func (r *Request) payload() ([]byte, error) {
	said := slices.DeleteFunc(slices.Clone(payloads), func(name string) bool { return !r.Said(name) })
	if len(said) > 1 {
		return nil, fmt.Errorf("--%s: one of them is enough", strings.Join(said, ", --"))
	}
	switch {
	case r.Said("payload-file"):
		return os.ReadFile(r.File)
	case r.Said("payload-hex"):
		b, err := hex.DecodeString(strings.Join(strings.Fields(r.Hex), ""))
		if err != nil {
			return nil, fmt.Errorf("--payload-hex: want two hexadecimal digits a byte: %w", err)
		}
		return b, nil
	case r.Said("size"):
		if r.Size < 0 || r.Size > 65535 {
			return nil, fmt.Errorf("--size %d: must be from 0 to 65535", r.Size)
		}
		b := make([]byte, r.Size)
		for i := range b {
			b[i] = byte(i)
		}
		return b, nil
	default:
		return []byte(r.Text), nil
	}
}

// source sets the source address, and returns the port.
func (r *Request) source(target Target, cfg *Config) (port uint16, err error) {
	var addr netip.Addr
	if r.Source != "" {
		if addr, port, err = ParseSource(r.Source); err != nil {
			return 0, err
		}
	}
	switch {
	case !addr.IsValid():
		if addr, err = sourceFor(target.Addr); err != nil {
			return 0, err
		}
	case addr.IsUnspecified():
		return 0, fmt.Errorf("source %v: the kernel would choose another one: leave it out", addr)
	case addr.Is4() != target.Addr.Is4():
		return 0, fmt.Errorf("source %v: %w", addr, craft.ErrAddress)
	}
	cfg.IP.Src, cfg.KeepPort = addr.WithZone(""), port != 0
	if port == 0 {
		port = anyPort()
	}
	return port, nil
}

// transport sets what lies above IP.
func (r *Request) transport(target Target, port uint16, cfg *Config) error {
	sum, err := ParseSum(r.Sum)
	if err != nil {
		return fmt.Errorf("--checksum: %w", err)
	}
	switch target.Scheme {
	case "tcp":
		tcp := &craft.TCP{SrcPort: port, DstPort: target.Port, Seq: r.Seq, Ack: r.Ack, Window: r.Window, Urgent: r.Urgent, Sum: sum}
		if !r.Said("seq") {
			tcp.Seq = anySeq()
		}
		if tcp.Flags, err = craft.ParseFlags(r.Flags); err != nil {
			return fmt.Errorf("--flags: %w", err)
		}
		if tcp.Options, err = craft.ParseOptions(r.Options); err != nil {
			return fmt.Errorf("--options: %w", err)
		}
		cfg.TCP = tcp
	case "udp":
		cfg.UDP = &craft.UDP{SrcPort: port, DstPort: target.Port, Sum: sum}
	case "icmp":
		seq := uint16(1)
		if r.Said("seq") {
			seq = uint16(r.Seq)
		}
		cfg.Echo = &craft.Echo{ID: anyID(), Seq: seq, Sum: sum}
	default:
		cfg.Protocol = r.Protocol
	}
	return nil
}
