package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"finack/internal/privnet"
	"finack/trace"
)

// Every scenario has a name of its own, fits the list, and goes as it says.
func TestScenarios(t *testing.T) {
	names := map[string]bool{}
	for _, sc := range Scenarios() {
		if names[sc.Name] || !regexp.MustCompile(`^[a-z0-9-]{3,24}$`).MatchString(sc.Name) {
			t.Errorf("name %q is taken or none", sc.Name)
		}
		names[sc.Name] = true
		if n := len([]rune(sc.Title)); n == 0 || n > 60 || sc.Life == "" {
			t.Errorf("%s: title %q of %d characters, in life %q", sc.Name, sc.Title, n, sc.Life)
		}
	}
	for _, sc := range Scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			privnet.Require(t)
			var out bytes.Buffer
			if err := Run(t.Context(), &out, []*Scenario{sc}, nil); err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			for line := range strings.Lines(out.String()) {
				if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

// A kernel that did something else is told from one that does as expected.
func TestScenarioSeesAnotherOutcome(t *testing.T) {
	privnet.Require(t)
	sc := threeWay()
	run := sc.run
	sc.run = func(s *stage) error {
		err := run(s)
		s.expected[0].want.teardown = trace.FourStep
		return err
	}
	var out bytes.Buffer
	err := Run(t.Context(), &out, []*Scenario{sc}, &Config{JSON: true})
	if failure := (*CheckError)(nil); !errors.As(err, &failure) || !strings.Contains(failure.Text, "three-way") {
		t.Errorf("%v, want a failed check", err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var last scenarioResult
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.OK || !strings.Contains(last.Error, "four-step") {
		t.Errorf("%+v, %v; want an error that names four-step", last, err)
	}
}
