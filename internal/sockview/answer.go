// Package sockview shows what sockets are: what the kernel answers to
// socket(2), the facts of an open one, and what several sockets see of the
// same connections.
package sockview

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"finack/raw"
)

// Answer is what the kernel said when it was asked for a socket.
type Answer struct {
	Socket  raw.Socket
	FD      int         // the descriptor; −1 when it was refused
	Refusal raw.Refusal // why, when it was
	Options []raw.Option
}

// Ask opens s, looks at it and closes it. A refusal is no error: it is the
// answer. The error is one of a system that has not been asked, or of reading
// the options.
func Ask(s raw.Socket) (*Answer, error) {
	a := &Answer{Socket: s, FD: -1}
	c, err := raw.Open(s, nil)
	if err != nil {
		var ok bool
		if a.Refusal, ok = raw.Refused(s, err); !ok {
			return nil, err
		}
		return a, nil
	}
	defer c.Close()
	rc, err := c.SyscallConn()
	if err == nil {
		err = rc.Control(func(fd uintptr) { a.FD = int(fd) })
	}
	if err != nil {
		return nil, err
	}
	if a.Options, err = c.Options(); err != nil {
		return nil, err
	}
	return a, nil
}

// Opened reports whether the kernel gave a socket.
func (a *Answer) Opened() bool { return a.FD >= 0 }

// privilege says what s needs and whether this program has it.
func (a *Answer) privilege() string {
	p := a.Socket.Privilege()
	switch {
	case p == raw.PrivilegeNone:
		return "none is needed"
	case a.Opened() || !a.Refusal.Denied && p == raw.PrivilegeNetRaw && raw.CanOpenRaw():
		return p.String() + " is needed; this program has it"
	case a.Refusal.Denied || p == raw.PrivilegeNetRaw:
		return p.String() + " is needed; this program does not have it"
	default:
		return p.String() + " is needed"
	}
}

// AppendText appends the answer for people, in lines of at most 80 columns: the
// call as strace(1) prints it, and what there is to say. program is this
// program's path, for what helps.
func (a *Answer) AppendText(dst []byte, program string) []byte {
	if !a.Opened() {
		dst = fmt.Appendf(dst, "%v = -1 %s\n\n", a.Socket, a.Refusal.Errno)
		dst = appendWrapped(dst, "  errno       ", a.Refusal.Text)
		dst = appendWrapped(dst, "  meaning     ", a.Refusal.Meaning)
		dst = appendWrapped(dst, "  what helps  ", a.cure(program))
		return appendWrapped(dst, "  privilege   ", a.privilege())
	}
	dst = fmt.Appendf(dst, "%v = %d\n\n", a.Socket, a.FD)
	dst = appendWrapped(dst, "  it sees     ", a.Socket.Purpose())
	dst = appendWrapped(dst, "  privilege   ", a.privilege())
	dst = append(dst, '\n')
	for _, o := range a.Options {
		lead := fmt.Sprintf("  %-18s %-16s", o.Name, o.Text)
		if o.Meaning == "" {
			dst = append(append(dst, strings.TrimRight(lead, " ")...), '\n')
		} else {
			dst = appendWrapped(dst, lead, o.Meaning)
		}
	}
	return dst
}

func (a *Answer) cure(program string) string {
	return strings.ReplaceAll(a.Refusal.Cure, "PROGRAM", program)
}

// AppendJSON appends the answer as one line of JSON.
func (a *Answer) AppendJSON(dst []byte, program string) ([]byte, error) {
	s := a.Socket
	line := struct {
		Type       string         `json:"type"`
		Call       string         `json:"call"`
		Domain     string         `json:"domain"`
		SocketType string         `json:"socket_type"`
		Protocol   int            `json:"protocol"`
		Opened     bool           `json:"opened"`
		Privilege  string         `json:"privilege,omitempty"`
		FD         *int           `json:"fd,omitempty"`
		Sees       string         `json:"sees,omitempty"`
		Options    map[string]any `json:"options,omitempty"`
		Errno      string         `json:"errno,omitempty"`
		Meaning    string         `json:"meaning,omitempty"`
		Cure       string         `json:"cure,omitempty"`
	}{
		Type: "socket", Call: s.String(), Domain: s.Domain.String(), SocketType: s.Type.String(),
		Protocol: int(s.Protocol), Opened: a.Opened(),
		Errno: a.Refusal.Errno, Meaning: a.Refusal.Meaning, Cure: a.cure(program),
	}
	if p := s.Privilege(); p != raw.PrivilegeNone {
		line.Privilege = p.String()
	}
	if a.Opened() {
		line.FD, line.Sees = &a.FD, s.Purpose()
		line.Options = make(map[string]any)
		for _, o := range a.Options {
			line.Options[o.Name] = value(o)
		}
	}
	return appendLine(dst, line)
}

// value is an option's value in JSON: a boolean, a name, or a number.
func value(o raw.Option) any {
	switch o.Text {
	case "on", "off":
		if o.Name != "IPV6_CHECKSUM" && o.Name != "SO_LINGER" {
			return o.Text == "on"
		}
	case fmt.Sprint(o.Value):
		return o.Value
	}
	return o.Text
}

// appendLine appends v as one line of JSON; no <, > or & is escaped.
func appendLine(dst []byte, v any) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return dst, err
	}
	return append(dst, b.String()...), nil
}

// lineWidth is what ordinary text output must fit.
const lineWidth = 80

// appendWrapped appends lead and text, broken at spaces, each line as far to
// the right as lead is wide; nothing where there is no text.
func appendWrapped(dst []byte, lead, text string) []byte {
	if text == "" {
		return dst
	}
	indent := utf8.RuneCountInString(lead)
	dst = append(dst, lead...)
	col := indent
	for i, word := range strings.Fields(text) {
		w := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case col+1+w > lineWidth:
			dst = append(append(dst, '\n'), strings.Repeat(" ", indent)...)
			col = indent
		default:
			dst = append(dst, ' ')
			col++
		}
		dst = append(dst, word...)
		col += w
	}
	return append(dst, '\n')
}
