package lab

import (
	"os"
	"testing"

	"finack/internal/privnet"
)

func TestMain(m *testing.M) { os.Exit(privnet.Main(m)) }
