//go:build deliberate

package outside

import (
	"os"
	"syscall"
	"testing"

	"finack/trace"
	"finack/tracetest"
)

// What ends badly here must end badly for go test, whatever lies between.

func TestFails(t *testing.T) {
	tr := tracetest.Start(t)
	tr.Conn(t, exchange(t)).ClosedBy(t, trace.Server)
}

func TestPanics(t *testing.T) {
	tracetest.Start(t)
	panic("deliberate")
}

func TestExits(t *testing.T) {
	tracetest.Start(t)
	os.Exit(3)
}

func TestExitsWithZero(t *testing.T) {
	tracetest.Start(t)
	os.Exit(0)
}

func TestIsKilled(t *testing.T) {
	tracetest.Start(t)
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {}
}

func TestHangs(t *testing.T) {
	tracetest.Start(t)
	select {}
}

func FuzzEcho(f *testing.F) {
	f.Add("seed")
	f.Fuzz(func(t *testing.T, _ string) {
		tr := tracetest.Start(t)
		tr.Conn(t, exchange(t)).Orderly(t)
	})
}

func BenchmarkEcho(b *testing.B) {
	tr := tracetest.Start(b)
	for b.Loop() {
		tr.Conn(b, exchange(b)).Orderly(b)
	}
}
