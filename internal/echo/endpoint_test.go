package echo

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseEndpoint(t *testing.T) {
	for in, want := range map[string]Endpoint{
		"tcp://127.0.0.1:7":        {"tcp", "127.0.0.1:7"},
		"tcp://[::]:7":             {"tcp", "[::]:7"},
		"tcp6://[fe80::1%eth0]:7":  {"tcp6", "[fe80::1%eth0]:7"},
		"tcp4://localhost:0":       {"tcp4", "localhost:0"},
		"udp://:7":                 {"udp", ":7"},
		"udp4://:65535":            {"udp4", ":65535"},
		"udp6://[::1]:7":           {"udp6", "[::1]:7"},
		"unix:///run/x.sock":       {"unix", "/run/x.sock"},
		"unixgram:///run/x.sock":   {"unixgram", "/run/x.sock"},
		"unixpacket:///run/x.sock": {"unixpacket", "/run/x.sock"},
		"unix://@name":             {"unix", "@name"},
		"localhost:7":              {"tcp", "localhost:7"},
		":7":                       {"tcp", ":7"},
	} {
		got, err := ParseEndpoint(in)
		if err != nil {
			t.Errorf("ParseEndpoint(%q): %v", in, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ParseEndpoint(%q): %s", in, diff)
		} else if again, err := ParseEndpoint(got.String()); err != nil || again != got {
			t.Errorf("ParseEndpoint(%q) = %v, %v, want %v", got.String(), again, err, got)
		}
	}
}

func TestParseEndpointSaysWhatIsWrong(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "want host:port or scheme://address",
		"localhost":                     "want host:port or scheme://address",
		"/run/x.sock":                   "want host:port or scheme://address",
		"::1:7":                         "want host:port or scheme://address",
		"tcp://localhost":               "want tcp://host:port",
		"tcp://::1:7":                   "in brackets",
		"tcp://h:":                      `port "" is not a number from 0 to 65535`,
		"tcp://h:65536":                 `port "65536" is not a number`,
		"udp://h:-1":                    `port "-1" is not a number`,
		"udp://h:echo":                  `port "echo" is not a number`,
		"sctp://h:7":                    `scheme "sctp" is none of tcp,`,
		"unix://":                       "want unix:///path",
		"unixgram://@":                  "want unixgram:///path",
		"unix:///a\x00b":                "a path has no NUL",
		"unix:///" + long(107):          "at most 107 bytes, not 108",
		"http://user@h:7/path?q#\n\x1b": `scheme "http"`,
	} {
		_, err := ParseEndpoint(in)
		switch {
		case err == nil:
			t.Errorf("ParseEndpoint(%q) succeeded", in)
		case !strings.Contains(err.Error(), want):
			t.Errorf("ParseEndpoint(%q): %v, want …%s…", in, err, want)
		case strings.ContainsAny(err.Error(), "\n\x00\x1b"):
			t.Errorf("ParseEndpoint(%q): %q is not one printable line", in, err)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"tcp://[::]:7", ":7", "unix:///x", "unixgram://@a", "udp://h:99999", "://", "tcp://[", "a://b://c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseEndpoint(s)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			return
		}
		if again, err := ParseEndpoint(e.String()); err != nil || again != e {
			t.Errorf("%q: %v became %v, %v", s, e, again, err)
		}
	})
}
