package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"finack/capture"
	"finack/internal/fixture"
)

// file is the name of a file that is kept of the scenario.
func (s *stage) file(suffix string) string {
	return filepath.Join(s.cfg.Record, s.sc.Name+suffix)
}

// keep writes what came of the scenario beside its pcapng: the events as JSON
// Lines, and a fixture.
func (s *stage) keep() error {
	if err := os.WriteFile(s.file(".json"), s.json.Bytes(), 0o666); err != nil || s.sc.silent {
		return err
	}
	f, err := s.fixture()
	if err != nil {
		return fmt.Errorf("fixture of %s: %w", s.file(".pcapng"), err)
	}
	return f.Write(s.file(".txtar"))
}

// fixture makes a fixture of the packets.
func (s *stage) fixture() (*fixture.Fixture, error) {
	src, err := capture.OpenFile(s.file(".pcapng"), nil)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	prose := appendWrapped(nil, 0, s.sc.Title+".")
	prose = appendWrapped(prose, 0, s.sc.Life)
	return fixture.Make(src, string(prose)+"\n")
}
