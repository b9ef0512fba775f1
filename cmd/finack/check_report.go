package main

import (
	"encoding/json"
	"encoding/xml"
	"os"

	"finack/internal/fixture"
)

// The JSON Lines of check; internal/render/schema.json has their schema.
type (
	fixtureJSON struct {
		Type        string           `json:"type"`
		Path        string           `json:"path"`
		OK          bool             `json:"ok"`
		Updated     bool             `json:"updated,omitempty"`
		Error       string           `json:"error,omitempty"`
		Differences []differenceJSON `json:"differences,omitempty"`
	}
	differenceJSON struct {
		Section string       `json:"section"`
		Line    int          `json:"line,omitempty"`
		What    string       `json:"what"`
		Segment *segmentJSON `json:"segment,omitempty"`
		Diff    []string     `json:"diff,omitempty"`
		More    int          `json:"more,omitempty"`
	}
	segmentJSON struct {
		Line int    `json:"line"`
		Text string `json:"text"`
	}
	checkJSON struct {
		Type       string `json:"type"`
		Fixtures   int    `json:"fixtures"`
		Differ     int    `json:"differ"`
		Unreadable int    `json:"unreadable"`
		Updated    int    `json:"updated"`
	}
)

func (c *checkCommand) printJSON(r *checkedFixture) {
	line := fixtureJSON{Type: "fixture", Path: r.path, OK: r.ok(), Updated: r.updated}
	if r.err != nil {
		line.Error = r.err.Error()
	} else {
		for i := range r.report.Differences {
			line.Differences = append(line.Differences, differenceOf(&r.report.Differences[i]))
		}
	}
	c.writeJSON(line)
}

func differenceOf(d *fixture.Difference) differenceJSON {
	j := differenceJSON{Section: d.Section, Line: d.Line, What: d.What, Diff: d.Diff, More: d.More}
	if d.Cause != nil {
		j.Segment = &segmentJSON{d.Cause.Line, d.Cause.Text}
	}
	return j
}

func (c *checkCommand) totalsJSON() {
	differ, unreadable, updated := c.counts()
	c.writeJSON(checkJSON{"check", len(c.results), differ, unreadable, updated})
}

// writeJSON writes one line; the error of c.out comes with its Flush.
func (c *checkCommand) writeJSON(v any) {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
}

// The elements of a JUnit report that CI systems read.
type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string     `xml:"name,attr"`
		Class   string     `xml:"classname,attr"`
		Failure *junitText `xml:"failure"`
		Error   *junitText `xml:"error"`
	}
	junitText struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit writes the report for CI systems.
func (c *checkCommand) writeJUnit() error {
	differ, unreadable, _ := c.counts()
	suite := junitSuite{Name: "finack check", Tests: len(c.results), Failures: differ, Errors: unreadable}
	for i := range c.results {
		r := &c.results[i]
		test := junitCase{Name: r.path, Class: "finack.check"}
		switch {
		case r.err != nil:
			test.Error = &junitText{Message: r.err.Error()}
		case !r.report.OK():
			test.Failure = &junitText{r.report.Differences[0].What, r.report.String()}
		}
		suite.Cases = append(suite.Cases, test)
	}
	data, err := xml.MarshalIndent(suite, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.junit, append([]byte(xml.Header), append(data, '\n')...), 0o644)
}
