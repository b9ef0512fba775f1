package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// Machine says in one line what is measured on.
func Machine() string {
	model := field("/proc/cpuinfo", "model name")
	if model == "" {
		model = runtime.GOARCH
	}
	kernel := runtime.GOOS
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = "Linux " + strings.TrimSpace(string(b))
	}
	memory := ""
	if kb, err := strconv.ParseUint(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		memory = fmt.Sprintf(", %.0f GB of memory", float64(kb)/1e6)
	}
	return fmt.Sprintf("%s, %d cores%s, %s", model, len(cores()), memory, kernel)
}

// field returns the value of the first line "name: value" of a file, or "".
func field(file, name string) string {
	b, _ := os.ReadFile(file)
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// cores returns the cores that this process may run on (proc(5):
// Cpus_allowed_list, as "0-3,8").
func cores() []int {
	var list []int
	for part := range strings.SplitSeq(field("/proc/self/status", "Cpus_allowed_list"), ",") {
		first, last, several := strings.Cut(part, "-")
		if !several {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil {
			break
		}
		for n := from; n <= to; n++ {
			list = append(list, n)
		}
	}
	if list == nil { // not Linux
		for n := range runtime.NumCPU() {
			list = append(list, n)
		}
	}
	return list
}

// own returns this program's version.
func own() string {
	version := "finack"
	if info, ok := debug.ReadBuildInfo(); ok {
		version += " " + info.Main.Version
	}
	return version + " (" + runtime.Version() + ")"
}

// version asks a program for its version: the first line of its answer that
// has a digit.
func version(ctx context.Context, argv ...string) string {
	out, _ := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput() // some fail and answer
	for line := range strings.Lines(string(out)) {
		if strings.ContainsAny(line, "0123456789") {
			return strings.TrimSuffix(strings.TrimSpace(line), ".")
		}
	}
	return argv[0] + ": version unknown"
}
