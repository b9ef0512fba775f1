package tracetest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"finack/capture"
	"finack/internal/render"
)

// fail reports that an assertion does not hold, with the connection, in which a
// packet is marked; −1: none.
func (a *account) fail(t testing.TB, mark int, format string, args ...any) {
	t.Helper()
	t.Errorf("%s", a.report(t, mark, format, args...))
}

// fatal is fail that ends the test.
func (a *account) fatal(t testing.TB, mark int, format string, args ...any) {
	t.Helper()
	t.Fatalf("%s", a.report(t, mark, format, args...))
}

func (a *account) report(t testing.TB, mark int, format string, args ...any) string {
	t.Helper()
	b := fmt.Appendf(nil, format+"\n", args...)
	return string(a.appendTo(b, mark)) + "\n" + a.tr.save(t)
}

// appendTo appends the connection as a ladder, without the newline at its end: a
// long one without its middle.
func (a *account) appendTo(dst []byte, mark int) []byte {
	var text render.Text
	if len(a.events) == 0 {
		return append(dst, "no packet"...)
	}
	title := "TCP"
	if p := a.verdict.Proto; p != 0 {
		title = p.String()
	}
	dst = append(dst, "   "...)
	dst = text.AppendLadderHead(dst, title, &a.events[0])
	places := a.packets()
	skipped := 0
	for n, i := range places {
		if far := n >= maxShown && len(places)-n > maxShown && i != mark; far {
			skipped++
			continue
		}
		if skipped > 0 {
			dst = fmt.Appendf(dst, "    … %d packets\n", skipped)
			skipped = 0
		}
		if i == mark {
			dst = append(dst, ">> "...)
		} else {
			dst = append(dst, "   "...)
		}
		dst = text.AppendRung(dst, &a.events[i])
	}
	dst = append(dst, "    "...)
	return bytes.TrimSuffix(text.AppendConn(dst, a.verdict), []byte("\n"))
}

// packets returns the places of the packets among the events.
func (a *account) packets() (places []int) {
	for i := range a.events {
		if isPacket(&a.events[i]) {
			places = append(places, i)
		}
	}
	return places
}

// save writes all that was captured so far to a file, of the same name each
// time, and says which.
func (tr *Trace) save(t testing.TB) string {
	t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if err := tr.write(t); err != nil {
		return "the capture could not be kept: " + err.Error()
	}
	return "capture: " + tr.path
}

// write writes the capture file. The trace must be locked.
func (tr *Trace) write(t testing.TB) error {
	if tr.path == "" {
		file, err := createArtifact(t)
		if err != nil {
			return err
		}
		tr.path = file.Name()
		file.Close()
	}
	w, err := capture.CreateFile(tr.path, nil)
	if err != nil {
		return err
	}
	for i := range tr.frames {
		if err := w.WriteFrame(&tr.frames[i]); err != nil {
			break // which Close returns as well
		}
	}
	return w.Close()
}

// createArtifact makes a new file where a failed test's capture is kept.
func createArtifact(t testing.TB) (*os.File, error) {
	dir, name := "", "finack-"+strings.Map(fileRune, t.Name())+"-*.pcapng"
	if f := flag.Lookup("test.artifacts"); f != nil && f.Value.String() == "true" {
		dir, name = t.ArtifactDir(), "capture-*.pcapng"
	}
	return os.CreateTemp(dir, name)
}

// fileRune returns a rune that a file's name may have.
func fileRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
		return r
	}
	return '-'
}
