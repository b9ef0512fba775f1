package lab

import (
	"fmt"

	"finack/trace"
)

// threeStepTries bounds how often the server may be too late with its FIN.
const threeStepTries = 20

func threeStep() *Scenario {
	return &Scenario{
		Name:  "three-step",
		Title: "The server closes at once: FIN, FIN with the ACK, ACK",
		Life: "The ordinary close of a server that reads the end of file and closes. Its kernel delays an ACK of " +
			"what comes after an answer for up to 40 ms, and the FIN that goes out meanwhile carries it.",
		Cure: "None is needed: three segments close as well as four. CLOSE_WAIT was there, for microseconds, but no segment " +
			"shows it. With four the server has taken its time, or its kernel did not delay the ACK.",
		run: func(s *stage) error {
			for try := 1; try <= threeStepTries; try++ {
				p, kind, err := s.closeAtOnce()
				if err != nil {
					return err
				}
				if kind != trace.ThreeStep {
					continue
				}
				s.expect("Teardown", p, outcome{
					handshake: trace.ThreeWay, teardown: trace.ThreeStep, closer: trace.ClosedByClient,
					states: states{trace.TimeWait, trace.Closed},
				})
				s.say(fmt.Sprintf("Closes that took four steps before this one, as the timer of the delayed ACK was faster: %d.", try-1))
				return s.ends("both have closed", p, trace.TimeWait, trace.Closed)
			}
			return checkf("none of %d closes took three steps", threeStepTries)
		},
	}
}

// closeAtOnce has a server close as soon as it reads the end of file, after a
// request and its answer, and tells what kind of teardown came of it.
func (s *stage) closeAtOnce() (p pipe, kind trace.TeardownKind, err error) {
	client, server, err := s.pair()
	if err != nil {
		return p, kind, err
	}
	p = pipeOf(client)
	if err := s.ask(client, server); err != nil {
		return p, kind, err
	}
	if err := client.Close(); err != nil {
		return p, kind, err
	}
	if err := s.receiveEnd(server); err != nil {
		return p, kind, err
	}
	if err := server.Close(); err != nil {
		return p, kind, err
	}
	kind, err = s.teardown(p)
	return p, kind, err
}
