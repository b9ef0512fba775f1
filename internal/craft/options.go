package craft

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// OptionKind is a TCP option's kind, a number of the IANA's registry.
type OptionKind uint8

// The kinds that have a name here.
const (
	EndOfOptions  OptionKind = 0  // RFC 9293 section 3.2
	NoOperation   OptionKind = 1  // RFC 9293 section 3.2
	MaxSegment    OptionKind = 2  // RFC 9293 section 3.2
	WindowScale   OptionKind = 3  // RFC 7323 section 2
	SACKPermitted OptionKind = 4  // RFC 2018 section 2
	SACK          OptionKind = 5  // RFC 2018 section 3
	Timestamps    OptionKind = 8  // RFC 7323 section 3
	FastOpen      OptionKind = 34 // RFC 7413 section 4.1.1
)

// Option is one TCP option. EndOfOptions and NoOperation are a kind alone;
// every other has a length, which is made of Data's, and Data.
type Option struct {
	Kind OptionKind
	Data string // the bytes behind the length
}

// Options are a segment's options in their order. Nothing is aligned or
// completed: Linux puts NoOperation before a window scale itself.
type Options []Option

const maxOptions = 40 // bytes: the data offset has four bits

// MSS returns the maximum segment size option.
func MSS(n uint16) Option { return Option{MaxSegment, string(binary.BigEndian.AppendUint16(nil, n))} }

// WScale returns the window scale option with a shift count.
func WScale(shift uint8) Option { return Option{WindowScale, string([]byte{shift})} }

// TS returns the timestamps option.
func TS(val, ecr uint32) Option {
	b := binary.BigEndian.AppendUint32(nil, val)
	return Option{Timestamps, string(binary.BigEndian.AppendUint32(b, ecr))}
}

// size is what the options take, in bytes, without padding.
func (o Options) size() (n int) {
	for _, opt := range o {
		n++
		if opt.Kind > NoOperation {
			n += 1 + len(opt.Data)
		}
	}
	return n
}

// appendWire appends the options as they are sent.
func (o Options) appendWire(b []byte) []byte {
	for _, opt := range o {
		b = append(b, byte(opt.Kind))
		if opt.Kind > NoOperation {
			b = append(b, byte(2+len(opt.Data)))
			b = append(b, opt.Data...)
		}
	}
	return b
}

// ReadOptions takes apart b, what lies between a TCP header's first 20 bytes and
// its end. The tail is what no option can say: what follows EndOfOptions, or
// begins with an option of an impossible length.
func ReadOptions(b []byte) (opts Options, tail string) {
	for len(b) > 0 {
		kind, n := OptionKind(b[0]), 1
		if kind > NoOperation {
			if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
				break
			}
			n = int(b[1])
		}
		opt := Option{Kind: kind}
		if n > 2 {
			opt.Data = string(b[2:n])
		}
		opts, b = append(opts, opt), b[n:]
		if kind == EndOfOptions {
			break
		}
	}
	return opts, string(b)
}

// String returns the options as ParseOptions reads them:
// "mss 1460,sackOK,TS val 7 ecr 0,nop,wscale 7".
func (o Options) String() string {
	words := make([]string, len(o))
	for i, opt := range o {
		words[i] = opt.String()
	}
	return strings.Join(words, ",")
}

// String returns the option in packetdrill's notation. One whose data does not
// fit its kind, or whose kind has no name, is its number and data: "254:f989".
func (o Option) String() string {
	data := []byte(o.Data)
	switch {
	case o.Kind == EndOfOptions:
		return "eol"
	case o.Kind == NoOperation:
		return "nop"
	case o.Kind == MaxSegment && len(data) == 2:
		return "mss " + strconv.Itoa(int(binary.BigEndian.Uint16(data)))
	case o.Kind == WindowScale && len(data) == 1:
		return "wscale " + strconv.Itoa(int(data[0]))
	case o.Kind == SACKPermitted && len(data) == 0:
		return "sackOK"
	case o.Kind == SACK && len(data) > 0 && len(data)%8 == 0:
		s := "sack"
		for ; len(data) > 0; data = data[8:] {
			s += fmt.Sprintf(" %d:%d", binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:]))
		}
		return s
	case o.Kind == Timestamps && len(data) == 8:
		return fmt.Sprintf("TS val %d ecr %d", binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:]))
	case o.Kind == FastOpen && len(data) == 0:
		return "FO"
	case o.Kind == FastOpen:
		return "FO " + hex.EncodeToString(data)
	default:
		return strconv.Itoa(int(o.Kind)) + ":" + hex.EncodeToString(data)
	}
}

// ParseOptions reads options in packetdrill's notation, separated by commas:
// mss N, wscale N, sackOK, sack A:B…, TS val N ecr N, FO [COOKIE], nop, eol, and
// KIND:DATA for any other. COOKIE and DATA are hexadecimal. Of what String
// returns it makes the same options again.
func ParseOptions(s string) (Options, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var opts Options
	for word := range strings.SplitSeq(s, ",") {
		word = strings.TrimSpace(word)
		opt, err := parseOption(word)
		if err != nil {
			return nil, fmt.Errorf("TCP option %q: %w", word, err)
		}
		opts = append(opts, opt)
	}
	if n := opts.size(); n > maxOptions {
		return nil, fmt.Errorf("%w: %d", ErrOptions, n)
	}
	return opts, nil
}

const optionWords = "mss N, wscale N, sackOK, sack A:B, TS val N ecr N, FO [COOKIE], nop, eol or KIND:DATA"

func parseOption(word string) (Option, error) {
	f := strings.Fields(word)
	switch {
	case word == "nop":
		return Option{Kind: NoOperation}, nil
	case word == "eol":
		return Option{Kind: EndOfOptions}, nil
	case word == "sackOK":
		return Option{Kind: SACKPermitted}, nil
	case len(f) == 2 && f[0] == "mss":
		n, err := parseNumber(f[1], 16)
		return MSS(uint16(n)), err
	case len(f) == 2 && f[0] == "wscale":
		n, err := parseNumber(f[1], 8)
		return WScale(uint8(n)), err
	case len(f) == 5 && f[0] == "TS" && f[1] == "val" && f[3] == "ecr":
		val, err := parseNumber(f[2], 32)
		if err != nil {
			return Option{}, err
		}
		ecr, err := parseNumber(f[4], 32)
		return TS(val, ecr), err
	case len(f) >= 2 && f[0] == "sack":
		return parseSACK(f[1:])
	case word == "FO":
		return Option{Kind: FastOpen}, nil
	case len(f) == 2 && f[0] == "FO":
		return hexOption(FastOpen, f[1])
	}
	if kind, data, ok := strings.Cut(word, ":"); ok {
		n, err := parseNumber(kind, 8)
		if err != nil {
			return Option{}, err
		}
		if n <= uint32(NoOperation) {
			return Option{}, fmt.Errorf("kind %d has no data: write nop or eol", n)
		}
		return hexOption(OptionKind(n), data)
	}
	return Option{}, errors.New("want " + optionWords)
}

// parseNumber reads a decimal number of so many bits.
func parseNumber(s string, bits int) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number from 0 to %d", s, uint64(1)<<bits-1)
	}
	return uint32(n), nil
}

func parseSACK(blocks []string) (Option, error) {
	var b []byte
	for _, block := range blocks {
		left, right, ok := strings.Cut(block, ":")
		if !ok {
			return Option{}, fmt.Errorf("block %q: want LEFT:RIGHT", block)
		}
		for _, edge := range []string{left, right} {
			n, err := parseNumber(edge, 32)
			if err != nil {
				return Option{}, err
			}
			b = binary.BigEndian.AppendUint32(b, n)
		}
	}
	return Option{SACK, string(b)}, nil
}

func hexOption(kind OptionKind, s string) (Option, error) {
	data, err := hex.DecodeString(s)
	if err != nil {
		return Option{}, fmt.Errorf("%q is not hexadecimal, two digits a byte", s)
	}
	if n := 2 + len(data); n > maxOptions {
		return Option{}, fmt.Errorf("%w: %d", ErrOptions, n)
	}
	return Option{kind, string(data)}, nil
}
