package tracetest_test

import (
	"os"
	"testing"

	"finack/tracetest"
)

func TestMain(m *testing.M) {
	if os.Getenv("TRACETEST_PLAIN") != "" { // as a TestMain that does not know tracetest
		os.Exit(m.Run())
	}
	tracetest.Main(m)
}
