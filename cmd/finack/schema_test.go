package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"finack/internal/render"
)

// A contract checks JSON Lines against the schema.
type contract struct {
	t      *testing.T
	schema *jsonschema.Schema
}

func newContract(t *testing.T) *contract {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(render.Schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return &contract{t, schema}
}

// line checks one.
func (c *contract) line(line string) {
	c.t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
	if err == nil {
		err = c.schema.Validate(v)
	}
	if err != nil {
		c.t.Errorf("%s%v", line, err)
	}
}

// What read --json prints follows the schema, for the captures of testdata and
// for those in the directory FINACK_CORPUS.
func TestReadFollowsSchema(t *testing.T) {
	c := newContract(t)
	files, err := filepath.Glob("testdata/*.pcap")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d captures, %v", len(files), err)
	}
	if dir := os.Getenv("FINACK_CORPUS"); dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "*.pcap*"))
		if err != nil || len(more) == 0 {
			t.Fatalf("%s: %d captures, %v", dir, len(more), err)
		}
		files = append(files, more...)
	}
	lines := 0
	for _, file := range files {
		for _, args := range [][]string{{"read", "--json", file}, {"read", "--json", "--all", "--absolute", file}} {
			var out, stderr bytes.Buffer
			if status := run(context.Background(), args, std{nil, &out, &stderr}); status != exitOK && status != exitDamaged {
				t.Errorf("%v: exit status %d, stderr %q", args, status, stderr.String())
			}
			for line := range strings.Lines(out.String()) {
				c.line(line)
				lines++
			}
		}
	}
	t.Logf("%d lines of %d captures", lines, len(files))
}
