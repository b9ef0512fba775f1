// A plain echo server and client with epoll, the measure for ours: as little
// as a C program needs, one thread, level-triggered, no error messages.
//
//	echo serve (tcp4|udp4|unix|unixgram) PORT|PATH …   prints "ready"
//	echo ping NETWORK PORT|PATH SIZE COUNT             prints the median round trip in ns
//	echo bulk NETWORK PORT|PATH SIZE BYTES             prints MB/s through the server and back, of
//	                                                   which never more than 2 SIZE are under way: some
//	                                                   servers stop when pipes are full both ways
#define _GNU_SOURCE // accept4
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FD = 1 << 15, BUFFER = 64 << 10 };

static char buffer[BUFFER];

static void die(const char *what) {
	perror(what);
	exit(1);
}

static int check(int result, const char *what) {
	if (result < 0)
		die(what);
	return result;
}

// open_socket opens a socket of a network and fills in the address of its server.
static int open_socket(const char *network, const char *address, struct sockaddr_storage *ss, socklen_t *len) {
	int is_unix = strncmp(network, "unix", 4) == 0;
	int is_stream = strcmp(network, "tcp4") == 0 || strcmp(network, "unix") == 0;
	memset(ss, 0, sizeof *ss);
	if (is_unix) {
		struct sockaddr_un *un = (struct sockaddr_un *)ss;
		un->sun_family = AF_UNIX;
		strncpy(un->sun_path, address, sizeof un->sun_path - 1);
		*len = sizeof *un;
	} else {
		struct sockaddr_in *in = (struct sockaddr_in *)ss;
		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		in->sin_port = htons(atoi(address));
		*len = sizeof *in;
	}
	return check(socket(is_unix ? AF_UNIX : AF_INET, is_stream ? SOCK_STREAM : SOCK_DGRAM, 0), "socket");
}

static void no_delay(int fd) {
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); // fails on Unix sockets
}

enum kind { LISTENER, DATAGRAM, STREAM };

static struct conn {
	enum kind kind;
	char *rest; // what the peer's window had no room for
	size_t from, to;
} conns[MAX_FD];

static void watch(int ep, int op, int fd, unsigned events) {
	struct epoll_event e = {.events = events, .data.fd = fd};
	check(epoll_ctl(ep, op, fd, &e), "epoll_ctl");
}

static void serve_stream(int ep, int fd, unsigned events) {
	struct conn *c = &conns[fd];
	if (c->rest) {
		if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			return;
		ssize_t n = send(fd, c->rest + c->from, c->to - c->from, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n >= 0 && (c->from += n) < c->to)
			return;
		free(c->rest);
		c->rest = NULL;
		if (n < 0)
			close(fd);
		else
			watch(ep, EPOLL_CTL_MOD, fd, EPOLLIN);
		return;
	}
	ssize_t n = recv(fd, buffer, BUFFER, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close(fd);
		return;
	}
	ssize_t sent = send(fd, buffer, n, MSG_NOSIGNAL);
	if (sent < 0 && errno == EAGAIN)
		sent = 0;
	if (sent < 0) {
		close(fd);
	} else if (sent < n) {
		c->rest = malloc(n - sent);
		memcpy(c->rest, buffer + sent, n - sent);
		c->from = 0;
		c->to = n - sent;
		watch(ep, EPOLL_CTL_MOD, fd, EPOLLOUT);
	}
}

_Noreturn static void serve(int argc, char **argv) {
	int ep = check(epoll_create1(0), "epoll_create1");
	for (int i = 0; i + 1 < argc; i += 2) {
		struct sockaddr_storage ss;
		socklen_t len;
		int fd = open_socket(argv[i], argv[i + 1], &ss, &len), one = 1;
		int is_stream = strcmp(argv[i], "tcp4") == 0 || strcmp(argv[i], "unix") == 0;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		check(bind(fd, (struct sockaddr *)&ss, len), argv[i + 1]);
		if (is_stream)
			check(listen(fd, SOMAXCONN), "listen");
		conns[fd].kind = is_stream ? LISTENER : DATAGRAM;
		watch(ep, EPOLL_CTL_ADD, fd, EPOLLIN);
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct epoll_event events[64];
		int n = epoll_wait(ep, events, 64, -1);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			struct sockaddr_storage from;
			socklen_t len = sizeof from;
			ssize_t size;
			int c;
			switch (conns[fd].kind) {
			case LISTENER:
				c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
				if (c < 0)
					break;
				if (c >= MAX_FD) {
					close(c);
					break;
				}
				no_delay(c);
				conns[c] = (struct conn){.kind = STREAM};
				watch(ep, EPOLL_CTL_ADD, c, EPOLLIN);
				break;
			case DATAGRAM:
				size = recvfrom(fd, buffer, BUFFER, MSG_DONTWAIT, (struct sockaddr *)&from, &len);
				if (size >= 0)
					sendto(fd, buffer, size, MSG_DONTWAIT, (struct sockaddr *)&from, len);
				break;
			case STREAM:
				serve_stream(ep, fd, events[i].events);
			}
		}
	}
}

static int dial(const char *network, const char *address) {
	struct sockaddr_storage ss;
	socklen_t len;
	int fd = open_socket(network, address, &ss, &len);
	if (strcmp(network, "unixgram") == 0) {
		sa_family_t autobind = AF_UNIX;
		check(bind(fd, (struct sockaddr *)&autobind, sizeof autobind), "bind");
	}
	check(connect(fd, (struct sockaddr *)&ss, len), address);
	no_delay(fd);
	return fd;
}

static int64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static int ping(int fd, size_t size, int count) {
	int64_t *took = calloc(count, sizeof *took);
	struct timeval patience = {.tv_sec = 5};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (size > BUFFER || count < 1)
		return 2;
	for (int i = -count / 10; i < count; i++) {
		int64_t begin = now();
		if (send(fd, buffer, size, MSG_NOSIGNAL) != (ssize_t)size)
			die("send");
		for (size_t got = 0; got < size;) {
			ssize_t n = recv(fd, buffer + got, size - got, 0);
			if (n <= 0)
				die("recv");
			got += n;
		}
		if (i >= 0)
			took[i] = now() - begin;
	}
	qsort(took, count, sizeof *took, ascending);
	printf("%lld\n", (long long)took[count / 2]);
	return 0;
}

static int bulk(int fd, size_t size, int64_t total) {
	int64_t sent = 0, got = 0, begin = now();
	if (size > BUFFER)
		return 2;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (got < total) {
		// An acknowledgment at once: a server without TCP_NODELAY waits for it
		// with the end of an answer (Nagle), 40 ms each time.
		int one = 1;
		setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
		int64_t room = got + 2 * (int64_t)size - sent;
		if (room > total - sent)
			room = total - sent;
		struct pollfd p = {.fd = fd, .events = POLLIN | (room > 0 ? POLLOUT : 0)};
		if (poll(&p, 1, 5000) <= 0)
			die("poll (0: timed out)");
		if (p.revents & POLLIN) {
			ssize_t n = recv(fd, buffer, BUFFER, 0);
			if (n == 0 || (n < 0 && errno != EAGAIN))
				die("recv");
			if (n > 0)
				got += n;
		}
		if (p.revents & POLLOUT) {
			ssize_t n = send(fd, buffer, room < (int64_t)size ? room : (int64_t)size, MSG_NOSIGNAL);
			if (n < 0 && errno != EAGAIN)
				die("send");
			if (n > 0)
				sent += n;
		}
	}
	printf("%.0f\n", total * 1e3 / (now() - begin));
	return 0;
}

int main(int argc, char **argv) {
	if (argc >= 4 && strcmp(argv[1], "serve") == 0)
		serve(argc - 2, argv + 2);
	if (argc == 6 && strcmp(argv[1], "ping") == 0)
		return ping(dial(argv[2], argv[3]), atoi(argv[4]), atoi(argv[5]));
	if (argc == 6 && strcmp(argv[1], "bulk") == 0)
		return bulk(dial(argv[2], argv[3]), atoi(argv[4]), atoll(argv[5]));
	fputs("usage: echo serve|ping|bulk …\n", stderr);
	return 2;
}
