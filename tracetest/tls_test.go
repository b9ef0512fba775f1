package tracetest_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"slices"
	"testing"

	"finack/trace"
	"finack/tracetest"
)

// Record types of TLS 1.2 (RFC 5246 section 6.2.1).
const (
	recordAlert = 21
	recordData  = 23
)

// tlsPair returns both ends of a TLS 1.2 connection, in which alerts can be told
// from data by whoever listens; its handshake is done.
func tlsPair(t *testing.T) (client, server *tls.Conn, addr string) {
	t.Helper()
	ln := listen(t)
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := ln.Accept()
		accepted <- c
	}()
	up := dial(t, ln.Addr())
	down := <-accepted
	if down == nil {
		t.Fatal("not accepted")
	}
	t.Cleanup(func() { down.Close() })
	config := &tls.Config{Certificates: []tls.Certificate{certificate(t)}, MaxVersion: tls.VersionTLS12}
	server = tls.Server(down, config)
	client = tls.Client(up, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return client, server, ln.Addr().String()
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

// records returns the types of the records in a stream.
func records(t *testing.T, stream []byte) (types []byte) {
	t.Helper()
	for len(stream) > 0 {
		if len(stream) < 5 || len(stream) < 5+int(binary.BigEndian.Uint16(stream[3:])) {
			t.Fatalf("%d bytes are no record", len(stream))
		}
		types = append(types, stream[0])
		stream = stream[5+binary.BigEndian.Uint16(stream[3:]):]
	}
	return types
}

// Close says close_notify before it sends FIN, so that the other side can tell
// the end of the data from a cut (RFC 5246 section 7.2.1).
func TestTLSCloseSaysCloseNotifyBeforeFIN(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	client, server, addr := tlsPair(t)
	if _, err := server.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(client); string(got) != "hello" || err != nil {
		t.Errorf("the client got %q, %v", got, err)
	}
	client.Close()
	c := tr.Conn(t, addr)
	c.ClosedBy(t, trace.Server)
	types := records(t, c.Payload(trace.Server))
	if end := types[len(types)-2:]; !slices.Equal(end, []byte{recordData, recordAlert}) {
		t.Errorf("the server's records end with %d, want data and an alert", end)
	}
	c.Match(t, `server > client data … server > client FIN,*`)
}

// CloseWrite says close_notify and sends no FIN: the connection stays whole, and
// the client's answer still comes.
func TestTLSCloseWriteSendsNoFIN(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	client, server, addr := tlsPair(t)
	if err := server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(client); len(got) != 0 || err != nil {
		t.Errorf("the client got %q, %v", got, err)
	}
	if _, err := client.Write([]byte("and one more")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 12)
	if _, err := io.ReadFull(server, b); err != nil {
		t.Fatal(err)
	}
	c := tr.Until(t, addr, "server > client data … client > server data")
	types := records(t, c.Payload(trace.Server))
	if last := types[len(types)-1]; last != recordAlert {
		t.Errorf("the server's last record is of type %d, want an alert", last)
	}
	c.NoMatch(t, `server > client FIN,*`)
	c.States(t, trace.Established, trace.Established)
}

// A connection that is closed below TLS ends with FIN and without close_notify.
// Between two records Go's client takes that for an orderly end, as many do: that
// it is a cut shows on the wire alone.
func TestTLSCutHasNoCloseNotify(t *testing.T) {
	t.Parallel()
	tr := tracetest.Start(t)
	client, server, addr := tlsPair(t)
	if err := server.NetConn().Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(client); len(got) != 0 || err != nil {
		t.Errorf("the client got %q, %v", got, err)
	}
	client.NetConn().Close()
	c := tr.Conn(t, addr)
	c.ClosedBy(t, trace.Server)
	if types := records(t, c.Payload(trace.Server)); slices.Contains(types, recordAlert) {
		t.Errorf("the server's records are %d, want no alert", types)
	}
}
