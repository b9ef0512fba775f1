package trace

import (
	"fmt"
	"testing"
)

func TestCutExplore(t *testing.T) {
	for _, s := range readStories(t) {
		_, want := play(t, s.config, s.lines)
		if len(want) != 1 || want[0].Proto != 6 {
			continue
		}
		w := want[0]
		for i := 1; i < len(s.lines); i++ {
			_, got := play(t, s.config, s.lines[i:])
			for _, g := range got {
				gs, gc := g.States, g.Closer
				if g.Client != w.Client {
					gs[0], gs[1] = gs[1], gs[0]
					if gc == ClosedByClient {
						gc = ClosedByServer
					} else if gc == ClosedByServer {
						gc = ClosedByClient
					}
				}
				bad := gc != w.Closer && gc != ClosedUnknown && gc != NoCloser
				for k := range gs {
					if gs[k] != Unknown && gs[k] != w.States[k] {
						bad = true
					}
				}
				if bad || len(got) != 1 {
					fmt.Printf("%s cut %d: got %v closer %v, want %v %v (%d conns) role %v\n", s.name, i, gs, gc, w.States, w.Closer, len(got), g.Role)
				}
			}
		}
		// one direction only
		for dir := range 2 {
			var lines []storyLine
			for _, l := range s.lines {
				if l.advance || (l.packet.Src == w.Client) == (dir == 0) {
					lines = append(lines, l)
				}
			}
			_, got := play(t, s.config, lines)
			for _, g := range got {
				gs, gc := g.States, g.Closer
				if g.Client != w.Client {
					gs[0], gs[1] = gs[1], gs[0]
					if gc == ClosedByClient {
						gc = ClosedByServer
					} else if gc == ClosedByServer {
						gc = ClosedByClient
					}
				}
				bad := gc != w.Closer && gc != ClosedUnknown && gc != NoCloser
				for k := range gs {
					if gs[k] != Unknown && gs[k] != w.States[k] {
						bad = true
					}
				}
				if bad || len(got) != 1 {
					fmt.Printf("%s dir %d: got %v closer %v, want %v %v (%d conns) role %v\n", s.name, dir, gs, gc, w.States, w.Closer, len(got), g.Role)
				}
			}
		}
	}
}
