package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// Ctrl-C while more may come tells what was read, at once, and is no failure.
func TestInterruptedRead(t *testing.T) {
	file, err := os.ReadFile("testdata/whois.pcap")
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(file); err != nil {
		t.Fatal(err)
	}
	if err := z.Flush(); err != nil { // not Close: the end of the stream is to come
		t.Fatal(err)
	}
	for name, input := range map[string][]byte{"plain": file, "gzip": packed.Bytes()} {
		t.Run(name, func(t *testing.T) { interruptRead(t, input) })
	}
}

func interruptRead(t *testing.T, input []byte) {
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer feed.Close()
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	out, printed := io.Pipe()
	var stderr bytes.Buffer
	status := make(chan int, 1)
	go func() {
		status <- run(ctx, []string{"read", "-"}, std{in, printed, &stderr})
		printed.Close()
	}()
	if _, err := feed.Write(input); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var begun time.Time
	var told string
	for lines.Scan() {
		switch line := lines.Text(); {
		case strings.Contains(line, " closed by server, "):
			begun = time.Now()
			interrupt()
		case !begun.IsZero() && told == "":
			told = line
			if d := time.Since(begun); d > time.Second {
				t.Errorf("the summary came after %v", d)
			}
		}
	}
	if s := <-status; s != exitOK || stderr.Len() > 0 || told != "interrupted after 11 frames, 1 TCP connection, 0 datagram flows" {
		t.Errorf("exit status %d, stderr %q, then %q", s, stderr.String(), told)
	}
}
