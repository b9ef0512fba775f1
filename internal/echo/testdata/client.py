"""An echo client: client.py NETWORK ADDRESS SIZE, as finack echo send has them.

It exchanges ten messages, ends its direction (of a stream), and expects the
server's end."""

import os
import socket
import sys

network, address, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
family, kind = {
    "tcp4": (socket.AF_INET, socket.SOCK_STREAM),
    "tcp6": (socket.AF_INET6, socket.SOCK_STREAM),
    "udp4": (socket.AF_INET, socket.SOCK_DGRAM),
    "udp6": (socket.AF_INET6, socket.SOCK_DGRAM),
    "unix": (socket.AF_UNIX, socket.SOCK_STREAM),
    "unixgram": (socket.AF_UNIX, socket.SOCK_DGRAM),
    "unixpacket": (socket.AF_UNIX, socket.SOCK_SEQPACKET),
}[network]
if family == socket.AF_UNIX:
    peer = "\0" + address[1:] if address.startswith("@") else address
else:
    host, _, port = address.rpartition(":")
    peer = (host.strip("[]"), int(port))

s = socket.socket(family, kind)
s.settimeout(20)
if network == "unixgram":
    s.bind("")  # any abstract name: only a bound socket is answered
s.connect(peer)
for _ in range(10):
    message = os.urandom(size)
    if kind == socket.SOCK_STREAM:
        s.sendall(message)
        answer = b""
        while len(answer) < size:
            part = s.recv(size - len(answer))
            if not part:
                break
            answer += part
    else:
        s.send(message)
        answer = s.recv(size + 1)
    if answer != message:
        sys.exit(f"{len(answer)} of {size} bytes came back, or others")
if kind != socket.SOCK_DGRAM:
    s.shutdown(socket.SHUT_WR)
    if s.recv(1) != b"":
        sys.exit("more came back")
print("as sent")
