package main

import (
	"os/exec"
	"strings"
	"testing"

	"finack/internal/privnet"
)

// What the commands print that make a case happen follows the schema, too.
func TestScenariosFollowSchema(t *testing.T) {
	privnet.Require(t)
	c := newContract(t)
	for _, args := range []string{
		"echo compare --count 20 --conns 1,2",
		"echo compare --count 5 --conns 1 --size 65508",
		"socket backlog 1",
		"socket duplex",
		"socket connect --by-hand",
		"lab rst-out-of-window udp-to-nobody close-wait-cure unix-stream",
	} {
		out, err := exec.CommandContext(t.Context(), "finack", append(strings.Fields(args), "--json")...).Output()
		if err != nil || len(out) == 0 {
			t.Errorf("%s: %v, %d bytes", args, err, len(out))
		}
		for line := range strings.Lines(string(out)) {
			c.line(line)
		}
	}
}
