package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checkFixture is a fixture of the capture of testdata, with some text replaced.
func checkFixture(t *testing.T, replace ...string) string {
	t.Helper()
	var out, stderr bytes.Buffer
	if status := run(context.Background(), []string{"read", "testdata/whois.pcap", "--fixture", "-"}, std{nil, &out, &stderr}); status != exitOK {
		t.Fatalf("status %d: %s", status, stderr.String())
	}
	path := filepath.Join(t.TempDir(), "x.txtar")
	if err := os.WriteFile(path, []byte(strings.NewReplacer(replace...).Replace(out.String())), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// What check --json prints follows the schema, which refuses a member more and
// each that is missing.
func TestCheckFollowsSchema(t *testing.T) {
	c := newContract(t)
	good := checkFixture(t)
	for name, args := range map[string][]string{
		"good":       {good},
		"events":     {checkFixture(t, "client CLOSE_WAIT → LAST_ACK", "client CLOSE_WAIT → CLOSED")},
		"verdict":    {checkFixture(t, "four-step", "three-step")},
		"updated":    {"--update", checkFixture(t, "client CLOSE_WAIT → LAST_ACK", "client CLOSE_WAIT → CLOSED")},
		"bare":       {checkFixture(t, "-- events --\n", "# ", "#", "# ", "closed", "# closed")},
		"unreadable": {checkFixture(t, "isn", "is")},
		"against":    {"--against", "testdata/whois.pcap", "--filter", "src port 43", good},
		"missing":    {"--against", "testdata/whois.pcap", "--filter", "udp", good},
	} {
		var out, stderr bytes.Buffer
		run(context.Background(), append([]string{"check", "--json"}, args...), std{nil, &out, &stderr})
		if n := strings.Count(out.String(), "\n"); n != 2 || stderr.Len() > 0 {
			t.Errorf("%s: %d lines, stderr %q", name, n, stderr.String())
		}
		for line := range strings.Lines(out.String()) {
			c.line(line)
			var o map[string]any
			if err := json.Unmarshal([]byte(line), &o); err != nil {
				t.Fatal(err)
			}
			o["colour"] = "red"
			if c.schema.Validate(o) == nil {
				t.Errorf("%s: the schema takes a member more: %s", name, line)
			}
		}
	}
}

// The JUnit report says for each fixture whether it passed, and why not.
func TestCheckJUnit(t *testing.T) {
	report := filepath.Join(t.TempDir(), "report.xml")
	good, bad, unreadable := checkFixture(t), checkFixture(t, "four-step", "three-step"), checkFixture(t, "isn", "is")
	var out, stderr bytes.Buffer
	if status := run(context.Background(), []string{"check", "--junit", report, good, bad, unreadable}, std{nil, &out, &stderr}); status != exitDamaged {
		t.Errorf("status %d: %s", status, stderr.String())
	}
	data, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var suite junitSuite
	if err := xml.Unmarshal(data, &suite); err != nil {
		t.Fatal(err)
	}
	if suite.Tests != 3 || suite.Failures != 1 || suite.Errors != 1 || len(suite.Cases) != 3 {
		t.Fatalf("%+v", suite)
	}
	if c := suite.Cases[0]; c.Failure != nil || c.Error != nil || c.Name != good {
		t.Errorf("%+v", c)
	}
	if c := suite.Cases[1]; c.Failure == nil || !strings.Contains(c.Failure.Message, `"three-step" is now "four-step"`) || !strings.Contains(c.Failure.Text, "\n    + #1 10.0.2.15") {
		t.Errorf("%+v", c)
	}
	if c := suite.Cases[2]; c.Error == nil || !strings.Contains(c.Error.Message, "not a fixture") {
		t.Errorf("%+v", c)
	}
}
