package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"finack/internal/where"
)

// The help page has every field and fits a terminal; its examples parse.
func TestWhereHelp(t *testing.T) {
	help, examples := whereHelp(), 0
	for line := range strings.Lines(help) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
		if _, expr, ok := strings.Cut(line, "--where '"); ok {
			examples++
			expr, _, _ = strings.Cut(expr, "'")
			if _, err := where.Parse(expr); err != nil {
				t.Errorf("%s: %v", expr, err)
			}
		}
	}
	for _, f := range where.Fields() {
		if !strings.Contains(help, "\n  "+f.Name+" ") {
			t.Errorf("nothing of %s", f.Name)
		}
	}
	if examples != 4 {
		t.Errorf("%d examples, want 4", examples)
	}
}
