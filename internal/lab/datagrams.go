package lab

// datagrams are sockets without a stream, or without packets.
func datagrams() []*Scenario {
	return []*Scenario{
		udpEcho(),
		udpToNobody(),
		udpBadWire(),
		unixStream(),
		unixDatagram(),
		unixSeqpacket(),
	}
}
