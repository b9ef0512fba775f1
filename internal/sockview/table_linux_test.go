package sockview_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"finack/internal/privnet"
	"finack/internal/sockview"
	"finack/raw"
)

func TestMain(m *testing.M) { os.Exit(privnet.Main(m)) }

// kernel returns the name of the kernel's own answer, "ok" for a socket.
func kernel(s raw.Socket) string {
	proto := int(s.Protocol)
	if s.Domain == raw.AF_PACKET {
		proto = int(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, uint16(proto)))) // htons
	}
	fd, err := unix.Socket(int(s.Domain), int(s.Type)|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		var errno unix.Errno
		errors.As(err, &errno)
		return unix.ErrnoName(errno)
	}
	unix.Close(fd)
	return "ok"
}

// Every cell of the table is the kernel's answer, with privilege and without,
// in text and in JSON.
func TestTheTableIsTheKernels(t *testing.T) {
	privnet.Require(t)
	answered := map[string]int{}
	check := func() {
		table, err := sockview.NewTable()
		if err != nil {
			t.Error(err)
			return
		}
		text := string(table.AppendText(nil))
		lines, err := table.AppendJSON(nil, "/bin/finack")
		if err != nil {
			t.Error(err)
		}
		cells := cellsOf(text)
		objects := bytes.Split(bytes.TrimSuffix(lines, []byte("\n")), []byte("\n"))
		if len(cells) != len(table.Answers) || len(objects) != len(cells) || len(cells) < 100 {
			t.Errorf("%d answers, %d cells, %d objects", len(table.Answers), len(cells), len(objects))
			return
		}
		for i, a := range table.Answers {
			want := kernel(a.Socket)
			answered[want]++
			if got := strings.TrimRight(cells[i], "*+"); got != want {
				t.Errorf("%v: the table has %s, the kernel says %s", a.Socket, got, want)
			}
			var o struct {
				Type, Call, Errno string
				Opened            bool
			}
			if err := json.Unmarshal(objects[i], &o); err != nil {
				t.Errorf("%s: %v", objects[i], err)
			}
			if !bytes.HasPrefix(objects[i], []byte(`{"type":"socket",`)) || o.Call != a.Socket.String() ||
				o.Opened != (want == "ok") || !o.Opened && o.Errno != want {
				t.Errorf("%v, %s: %s", a.Socket, want, objects[i])
			}
			// What needs a privilege is marked, unless it fails before that.
			marked := strings.HasSuffix(cells[i], "*")
			if needs := a.Socket.Privilege() == raw.PrivilegeNetRaw && (want == "ok" || want == "EPERM"); marked != needs {
				t.Errorf("%v: %s", a.Socket, cells[i])
			}
			if want != "ok" && want != "EACCES" && !strings.Contains(text, "\n"+want+" ") {
				t.Errorf("the legend does not explain %s", want)
			}
		}
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 || strings.HasSuffix(line, " \n") {
				t.Errorf("%d columns: %q", n, line)
			}
		}
	}
	check()
	if answered["EPERM"] > 0 || answered["ok"] < 45 {
		t.Errorf("with privilege: %v", answered)
	}
	t.Logf("with privilege: %v", answered)
	clear(answered)
	if err := privnet.WithoutCapabilities(check); err != nil {
		t.Fatal(err)
	}
	if answered["EPERM"] < 35 || answered["ok"] < 10 {
		t.Errorf("without: %v", answered)
	}
	t.Logf("without: %v", answered)
}

// cellsOf takes the cells from the rows of a table.
func cellsOf(text string) []string {
	var cells []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "  ") {
			if fields := strings.Fields(line); len(fields) == 5 && slices.ContainsFunc(fields, isCell) {
				cells = append(cells, fields[1:]...)
			}
		}
	}
	return cells
}

func isCell(s string) bool {
	return strings.TrimRight(s, "*+") == "ok" || strings.HasPrefix(s, "E")
}

// Every socket's account fits the terminal, and no sentence is missing for what
// people open.
func TestAnAnswerIsWhole(t *testing.T) {
	privnet.Require(t)
	table, err := sockview.NewTable()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range table.Answers {
		text := string(a.AppendText(nil, "/usr/local/bin/finack"))
		if a.Opened() && (a.Socket.Purpose() == "" || len(a.Options) < 6) {
			t.Errorf("%v: nothing is said of it:\n%s", a.Socket, text)
		}
		if !a.Opened() && a.Refusal.Meaning == "" {
			t.Errorf("%v: %s is not explained", a.Socket, a.Refusal.Errno)
		}
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 || strings.HasSuffix(line, " \n") {
				t.Errorf("%v: %d columns: %q", a.Socket, n, line)
			}
		}
	}
}
