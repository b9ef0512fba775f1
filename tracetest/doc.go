// Package tracetest lets a Go test say what its program must put on the wire,
// and reads it there: who closes a connection first, with FIN or RST, how soon,
// in which order. It runs on any Linux machine, without root, in a private
// network that has a loopback interface of its own. Elsewhere such tests are
// skipped, with the reason.
//
//	func TestMain(m *testing.M) { tracetest.Main(m) } // once per test binary
//
//	func TestServerAnswersFINWithFIN(t *testing.T) {
//		tr := tracetest.Start(t) // captures lo until the test ends
//		ln, err := net.Listen("tcp", "127.0.0.1:0")
//		…serve with the code under test, dial, write, close…
//		c := tr.Conn(t, ln.Addr().String()) // when that connection is over
//		c.ClosedBy(t, trace.Client)
//		c.Orderly(t)
//		c.Match(t, `client > server FIN,* … server > client FIN,* within 1s`)
//	}
//
// The client is who sent the SYN. Sides, states and kinds of handshake and
// teardown are those of package finack/trace.
//
// # What a trace knows
//
// Conn, Conns, Until and Flow first wait until the trace has seen every packet
// that was on the wire when they were called, so a test need not wait itself:
// whatever it has done or received by then is there. What they return is an
// account of that moment and does not change: a segment that comes after the end
// of a connection, as a FIN again whose ACK was lost, is not in it. Connections that began before
// Start do not exist for them.
//
// # Three steps or four
//
// A FIN is answered by an ACK, and the FIN of the other direction by another:
// four steps. But when the other side closes at once, its FIN rides on its ACK,
// and there are three. Which it is depends on the program, the kernel and the
// load of the machine. Orderly accepts both (and a simultaneous close): FINs
// both ways, both acknowledged, no RST. Use FourStep where the other side is
// known to take its time, ThreeStep hardly ever.
//
// # Two hosts and a bad wire
//
// On loopback nothing is lost. NewWire makes two hosts and a wire between them
// that loses, delays, duplicates or reorders what its rules say:
//
//	w := tracetest.NewWire(t, tracetest.Rule{
//		From: tracetest.A, Filter: "tcp[tcpflags] & tcp-push != 0", Nth: 1, Drop: true,
//	})
//	tr := tracetest.StartOn(t, &tracetest.Config{Interface: w.A.Interface})
//	ln, err := w.B.Listen("tcp", "10.9.0.2:8080")
//	c, err := w.A.DialContext(ctx, "tcp", "10.9.0.2:8080")
//
// # Golden files
//
// Golden keeps a connection as text in testdata, and says later what differs in
// meaning.
//
// # When an assertion fails
//
// It calls t.Errorf with a sentence that says what was wanted and what was
// there, the connection as a ladder in which the segment that decided is marked
// with >>, and the name of a pcapng file that has all that was captured: in the
// test's artifact directory where go test runs with -artifacts, else in
// os.TempDir, where it stays.
//
// # Environment
//
// FINACK_NEED_NETNS=1 turns the skip into a failure: set it in CI.
// FINACK_UPDATE=1 has Golden rewrite its files.
package tracetest
