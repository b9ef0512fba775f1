package privnet

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		errno  syscall.Errno
		root   bool
		sysctl map[string]string
		want   string
	}{
		{
			"no user namespaces", unix.ENOSPC, false,
			map[string]string{"user.max_user_namespaces": "0"},
			"user namespaces are forbidden here (user.max_user_namespaces is 0): use sudo",
		},
		{
			"no network namespaces", unix.ENOSPC, false,
			map[string]string{"user.max_net_namespaces": "0"},
			"network namespaces are forbidden here (user.max_net_namespaces is 0): raise it",
		},
		{
			"too many namespaces", unix.ENOSPC, true,
			map[string]string{"user.max_user_namespaces": "100"},
			"there are too many namespaces: raise user.max_user_namespaces and user.max_net_namespaces",
		},
		{
			"Debian's sysctl", unix.EPERM, false,
			map[string]string{"kernel.unprivileged_userns_clone": "0"},
			"user namespaces are forbidden here (kernel.unprivileged_userns_clone is 0): use sudo",
		},
		{
			"Ubuntu's AppArmor", unix.EPERM, false,
			map[string]string{"kernel.apparmor_restrict_unprivileged_userns": "1"},
			"user namespaces are forbidden here (AppArmor: kernel.apparmor_restrict_unprivileged_userns is 1): use sudo",
		},
		{
			"a container", unix.EPERM, false, nil,
			"user namespaces are forbidden here (EPERM: a container's seccomp policy or a security module): use sudo",
		},
		{
			"a container's root", unix.EPERM, true, nil,
			"user namespaces are forbidden here (EPERM: a container's seccomp policy or a security module): a container needs --cap-add SYS_ADMIN --cap-add NET_ADMIN",
		},
		{
			"a small kernel", unix.ENOSYS, false, nil,
			"this kernel has no user or no network namespaces (CONFIG_USER_NS, CONFIG_NET_NS)",
		},
		{"no refusal", unix.ENOENT, false, nil, ""},
	} {
		got := explain(tt.errno, tt.root, func(name string) string { return tt.sysctl[name] })
		if got != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}
