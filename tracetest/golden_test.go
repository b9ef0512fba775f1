package tracetest_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"finack/trace"
	"finack/tracetest"
)

// A server that answers after its client's FIN, as it always must.
func TestGoldenHalfClose(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	_, proxy, server := through(t, true)
	for _, addr := range []string{proxy, server} {
		tracetest.Golden(t, tr.Conn(t, addr), "testdata/halfclose.txtar")
	}
}

func TestGoldenDatagrams(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	server := listenUDP(t)
	go answer(server)
	ask(t, server.LocalAddr(), "one", "three")
	tracetest.Golden(t, tr.Flow(t, server.LocalAddr().String()), "testdata/datagrams.txtar")
}

func TestGoldenShowsWhatDiffers(t *testing.T) {
	t.Setenv("FINACK_UPDATE", "") // it would write what is wrong here
	tr := tracetest.Start(t)
	_, proxy, server := through(t, false)
	for _, addr := range []string{proxy, server} {
		c := tr.Conn(t, addr)
		wantFailure(t, func(t testing.TB) { tracetest.Golden(t, c, "testdata/halfclose.txtar") },
			"golden testdata/halfclose.txtar", "\nFINACK_UPDATE=1 rewrites it\n", "\n    - server FIN at 8\n", "SYN_SENT", "capture: ")
	}
	c := tr.Conn(t, proxy)
	wantFailure(t, func(t testing.TB) { tracetest.Golden(t, c, "testdata/nothing.txtar") }, "testdata/nothing.txtar: there is no such file")
	wantFailure(t, func(t testing.TB) { tracetest.Golden(t, c, "golden_test.go") }, "golden_test.go")
}

// A golden file is written where there is none, changed where it differs, and
// left alone where it does not; what people wrote into it stays.
func TestGoldenIsWritten(t *testing.T) {
	t.Setenv("FINACK_UPDATE", "1")
	tr := tracetest.Start(t)
	file := filepath.Join(t.TempDir(), "new", "echo.txtar")
	ln := listen(t)
	read := func() string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}

	echoOnce(t, ln, "hello")
	tracetest.Golden(t, tr.Conn(t, ln.Addr().String()), file)
	first := read()
	if !strings.HasPrefix(first, "What TestGoldenIsWritten has seen.") {
		t.Errorf("it begins otherwise:\n%s", first)
	}
	mine := strings.Replace(first, "What TestGoldenIsWritten has seen.", "An echo.", 1)
	if err := os.WriteFile(file, []byte(mine), 0o600); err != nil {
		t.Fatal(err)
	}

	echoOnce(t, ln, "hello")
	tracetest.Golden(t, tr.Conn(t, ln.Addr().String()), file)
	if got := read(); got != mine {
		t.Errorf("it was changed although it means the same:\n%s", got)
	}
	echoOnce(t, ln, "hello, all of you")
	tracetest.Golden(t, tr.Conn(t, ln.Addr().String()), file)
	if got := read(); got == mine || !strings.HasPrefix(got, "An echo.") {
		t.Errorf("it was not changed, or its prose was:\n%s", got)
	}
	t.Setenv("FINACK_UPDATE", "")
	tracetest.Golden(t, tr.Conn(t, ln.Addr().String()), file)
	tr.Conn(t, ln.Addr().String()).ClosedBy(t, trace.Client)
}

// Bytes beyond what was kept of a frame do not matter to a golden file.
func TestGoldenOfSegmentsThatWereCut(t *testing.T) {
	const size = 50_000 // less than a receive window, so that nothing is sent again
	t.Setenv("FINACK_UPDATE", "1")
	tr := tracetest.Start(t)
	file := filepath.Join(t.TempDir(), "cut.txtar")
	for range 2 {
		client, server := pair(t)
		sent := make(chan error, 1)
		go func() {
			_, err := client.Write(make([]byte, size))
			client.Close()
			sent <- err
		}()
		n, err := io.Copy(io.Discard, server)
		if err == nil {
			err = <-sent
		}
		if err != nil || n != size {
			t.Fatalf("%d bytes, %v", n, err)
		}
		server.Close()
		c := tr.ConnFrom(t, client.LocalAddr().String(), server.LocalAddr().String())
		tracetest.Golden(t, c, file)
		t.Setenv("FINACK_UPDATE", "")
	}
}
