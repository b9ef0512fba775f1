package render

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"finack/trace"
)

// schema compiles Schema, its formats included.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(Schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// jsonOf renders a story as JSON Lines, the totals last.
func jsonOf(t *testing.T, j *JSON) []byte {
	events, conns := story(t)
	var out []byte
	totals := Totals{Frames: uint64(len(events)), Writing: true, Interrupted: true, Chosen: true}
	for i := range events {
		out = j.AppendEvent(out, &events[i])
		if events[i].Kind == trace.ConnReleased {
			totals.Summary.Add(events[i].Verdict)
		}
	}
	for _, c := range conns {
		out = j.AppendConn(out, c)
		totals.Summary.Add(c)
	}
	unseen := *conns[0]
	unseen.DataUnseen, unseen.Teardown = true, trace.UnknownTeardown
	out = j.AppendConn(out, &unseen)
	return j.AppendTotals(out, &totals)
}

func TestJSONFollowsSchema(t *testing.T) {
	s := schema(t)
	for _, j := range []*JSON{{}, {Absolute: true}} {
		for line := range bytes.Lines(jsonOf(t, j)) {
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
			if err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			if err := s.Validate(v); err != nil {
				t.Errorf("%s\n%v", line, err)
			}
		}
	}
}

// The schema refuses what is not in the contract: each line of real output
// with a member more, and without each member that is always there.
func TestSchemaIsStrict(t *testing.T) {
	s := schema(t)
	refused := 0
	for line := range bytes.Lines(jsonOf(t, &JSON{})) {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		o := v.(map[string]any)
		o["colour"] = "red"
		if s.Validate(o) == nil {
			t.Errorf("takes a member more: %s", line)
		}
		delete(o, "colour")
		optional := []string{
			"notes", "ack", "timer", "revised", "meaning", "time_in", "idle_before_close", "duplicates", "out_of_order", "keep_alives",
			"zero_window_probes", "challenge_acks", "first_response", "unreachable", "evicted", "icmp_id", "written", "interrupted", "seen",
			"handshake_rtt", "half_open", "half_close", "lifetime", "data_unseen",
		}
		for key, value := range o {
			if slices.Contains(optional, key) || strings.HasPrefix(key, "icmp_") {
				continue
			}
			delete(o, key)
			if s.Validate(o) == nil {
				t.Errorf("does without %q: %s", key, line)
			}
			o[key] = value
			refused++
		}
	}
	if refused < 200 {
		t.Errorf("only %d refusals", refused)
	}
}
