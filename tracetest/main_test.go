package tracetest_test

import (
	"testing"

	"finack/tracetest"
)

func TestMain(m *testing.M) { tracetest.Main(m) }
