package pcapfilter

// isKeyword reports whether s is a reserved word of pcap-filter(7), also one
// that is not supported here: a name is none of these.
func isKeyword(s string) bool {
	switch s {
	case "dst", "src", "link", "ether", "ppp", "slip", "fddi", "tr", "wlan",
		"arp", "rarp", "ip", "sctp", "tcp", "udp", "icmp", "igmp", "igrp", "pim", "vrrp", "carp", "radio",
		"ip6", "icmp6", "ah", "esp",
		"atalk", "aarp", "decnet", "lat", "sca", "moprc", "mopdl",
		"iso", "esis", "es-is", "isis", "is-is", "l1", "l2", "iih", "lsp", "snp", "csnp", "psnp", "clnp",
		"stp", "ipx", "netbeui",
		"host", "net", "mask", "port", "portrange", "proto", "protochain", "gateway",
		"type", "subtype", "direction", "dir", "address1", "addr1", "address2", "addr2",
		"address3", "addr3", "address4", "addr4", "ra", "ta",
		"less", "greater", "byte", "broadcast", "multicast",
		"and", "or", "not", "len", "length", "inbound", "outbound", "ifindex",
		"vlan", "mpls", "pppoed", "pppoes", "geneve",
		"lane", "llc", "metac", "bcc", "oam", "oamf4", "oamf4ec", "oamf4sc", "sc", "ilmic",
		"vpi", "vci", "connectmsg", "metaconnect",
		"on", "ifname", "rset", "ruleset", "rnr", "rulenum", "srnr", "subrulenum", "reason", "action",
		"fisu", "lssu", "lsu", "msu", "hfisu", "hlssu", "hmsu",
		"sio", "opc", "dpc", "sls", "hsio", "hopc", "hdpc", "hsls":
		return true
	}
	return false
}

// constant returns the value of a name that stands for a number.
func constant(s string) (uint32, bool) {
	switch s {
	case "tcpflags":
		return 13, true // offset of the control bits, RFC 9293 section 3.1
	case "tcp-fin":
		return 0x01, true
	case "tcp-syn":
		return 0x02, true
	case "tcp-rst":
		return 0x04, true
	case "tcp-push":
		return 0x08, true
	case "tcp-ack":
		return 0x10, true
	case "tcp-urg":
		return 0x20, true
	case "tcp-ece":
		return 0x40, true
	case "tcp-cwr":
		return 0x80, true

	case "icmptype", "icmp6type":
		return 0, true
	case "icmpcode", "icmp6code":
		return 1, true
	case "icmp-echoreply":
		return 0, true
	case "icmp-unreach":
		return 3, true
	case "icmp-sourcequench":
		return 4, true
	case "icmp-redirect":
		return 5, true
	case "icmp-echo":
		return 8, true
	case "icmp-routeradvert":
		return 9, true
	case "icmp-routersolicit":
		return 10, true
	case "icmp-timxceed":
		return 11, true
	case "icmp-paramprob":
		return 12, true
	case "icmp-tstamp":
		return 13, true
	case "icmp-tstampreply":
		return 14, true
	case "icmp-ireq":
		return 15, true
	case "icmp-ireqreply":
		return 16, true
	case "icmp-maskreq":
		return 17, true
	case "icmp-maskreply":
		return 18, true

	case "icmp6-destinationunreach":
		return 1, true
	case "icmp6-packettoobig":
		return 2, true
	case "icmp6-timeexceeded":
		return 3, true
	case "icmp6-parameterproblem":
		return 4, true
	case "icmp6-echo":
		return 128, true
	case "icmp6-echoreply":
		return 129, true
	case "icmp6-multicastlistenerquery":
		return 130, true
	case "icmp6-multicastlistenerreportv1":
		return 131, true
	case "icmp6-multicastlistenerdone":
		return 132, true
	case "icmp6-routersolicit":
		return 133, true
	case "icmp6-routeradvert":
		return 134, true
	case "icmp6-neighborsolicit":
		return 135, true
	case "icmp6-neighboradvert":
		return 136, true
	case "icmp6-redirect":
		return 137, true
	case "icmp6-routerrenum":
		return 138, true
	case "icmp6-nodeinformationquery":
		return 139, true
	case "icmp6-nodeinformationresponse":
		return 140, true
	case "icmp6-ineighbordiscoverysolicit":
		return 141, true
	case "icmp6-ineighbordiscoveryadvert":
		return 142, true
	case "icmp6-multicastlistenerreportv2":
		return 143, true
	case "icmp6-homeagentdiscoveryrequest":
		return 144, true
	case "icmp6-homeagentdiscoveryreply":
		return 145, true
	case "icmp6-mobileprefixsolicit":
		return 146, true
	case "icmp6-mobileprefixadvert":
		return 147, true
	case "icmp6-certpathsolicit":
		return 148, true
	case "icmp6-certpathadvert":
		return 149, true
	case "icmp6-multicastrouteradvert":
		return 151, true
	case "icmp6-multicastroutersolicit":
		return 152, true
	case "icmp6-multicastrouterterm":
		return 153, true
	}
	return 0, false
}

// EtherTypes, IEEE 802 numbers.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherRARP = 0x8035
	etherIPv6 = 0x86dd

	etherIPX       = 0x8137
	etherAARP      = 0x80f3
	etherAppleTalk = 0x809b
)

// LLC service access points (IEEE 802.2): below 1501 a link protocol is one of
// these.
const (
	maxLength  = 1500 // the largest length field of an 802.3 frame
	sapIP      = 0x06
	sapSTP     = 0x42
	sapIPX     = 0xe0
	sapNetBEUI = 0xf0
	sapISO     = 0xfe
)

// IP protocol numbers.
const (
	protoICMP   = 1
	protoIGMP   = 2
	protoTCP    = 6
	protoIGRP   = 9
	protoUDP    = 17
	protoIPv6Fr = 44
	protoESP    = 50
	protoAH     = 51
	protoICMPv6 = 58
	protoPIM    = 103
	protoVRRP   = 112
	protoSCTP   = 132
)

// family says in which network protocol something is looked for.
type family uint8

const (
	famNone family = iota // not in IP: a link protocol
	famIPv4
	famIPv6
	famBoth
)

// protocol is what a protocol keyword stands for: a protocol of the link
// (fam is famNone) or one inside IP.
type protocol struct {
	fam family
	num uint32
}

// lookupProtocol returns the meaning of a protocol keyword. The keywords that
// are not in it are not supported; ether has no meaning by itself.
func lookupProtocol(keyword string) (protocol, bool) {
	switch keyword {
	case "ip":
		return protocol{famNone, etherIPv4}, true
	case "ip6":
		return protocol{famNone, etherIPv6}, true
	case "arp":
		return protocol{famNone, etherARP}, true
	case "rarp":
		return protocol{famNone, etherRARP}, true
	case "decnet":
		return protocol{famNone, 0x6003}, true
	case "lat":
		return protocol{famNone, 0x6004}, true
	case "sca":
		return protocol{famNone, 0x6007}, true
	case "moprc":
		return protocol{famNone, 0x6002}, true
	case "mopdl":
		return protocol{famNone, 0x6001}, true
	case "stp":
		return protocol{famNone, sapSTP}, true
	case "netbeui":
		return protocol{famNone, sapNetBEUI}, true
	case "tcp":
		return protocol{famBoth, protoTCP}, true
	case "udp":
		return protocol{famBoth, protoUDP}, true
	case "sctp":
		return protocol{famBoth, protoSCTP}, true
	case "ah":
		return protocol{famBoth, protoAH}, true
	case "esp":
		return protocol{famBoth, protoESP}, true
	case "pim":
		return protocol{famBoth, protoPIM}, true
	case "icmp":
		return protocol{famIPv4, protoICMP}, true
	case "igmp":
		return protocol{famIPv4, protoIGMP}, true
	case "igrp":
		return protocol{famIPv4, protoIGRP}, true
	case "vrrp", "carp":
		return protocol{famIPv4, protoVRRP}, true
	case "icmp6":
		return protocol{famIPv6, protoICMPv6}, true
	}
	return protocol{}, false
}

// isProtocolKeyword reports whether s is a protocol qualifier of the language,
// supported or not.
func isProtocolKeyword(s string) bool {
	switch s {
	case "ether", "ppp", "slip", "fddi", "tr", "wlan", "radio",
		"atalk", "aarp", "iso", "esis", "es-is", "isis", "is-is", "clnp",
		"l1", "l2", "iih", "lsp", "snp", "csnp", "psnp", "ipx":
		return true
	}
	_, ok := lookupProtocol(s)
	return ok
}

// ipProtoNumber returns the number of an IP protocol's name, as /etc/protocols
// has the common ones.
func ipProtoNumber(name string) (uint32, bool) {
	switch name {
	case "ip", "hopopt":
		return 0, true
	case "icmp":
		return protoICMP, true
	case "igmp":
		return protoIGMP, true
	case "ipencap":
		return 4, true
	case "tcp":
		return protoTCP, true
	case "egp":
		return 8, true
	case "igp":
		return protoIGRP, true
	case "udp":
		return protoUDP, true
	case "dccp":
		return 33, true
	case "ipv6":
		return 41, true
	case "ipv6-route":
		return 43, true
	case "ipv6-frag":
		return protoIPv6Fr, true
	case "rsvp":
		return 46, true
	case "gre":
		return 47, true
	case "esp":
		return protoESP, true
	case "ah":
		return protoAH, true
	case "ipv6-icmp":
		return protoICMPv6, true
	case "ipv6-nonxt":
		return 59, true
	case "ipv6-opts":
		return 60, true
	case "eigrp":
		return 88, true
	case "ospf":
		return 89, true
	case "pim":
		return protoPIM, true
	case "ipcomp":
		return 108, true
	case "vrrp":
		return protoVRRP, true
	case "l2tp":
		return 115, true
	case "sctp":
		return protoSCTP, true
	case "udplite":
		return 136, true
	}
	return 0, false
}

// linkProtoNumber returns the EtherType or LLC SAP of a name.
func linkProtoNumber(name string) (uint32, bool) {
	switch name {
	case "ip", "ip6", "arp", "rarp", "decnet", "lat", "sca", "moprc", "mopdl", "stp", "netbeui":
		p, _ := lookupProtocol(name)
		return p.num, true
	case "loopback":
		return 0x9000, true
	case "iso":
		return sapISO, true
	case "ipx":
		return sapIPX, true
	case "atalk":
		return etherAppleTalk, true
	case "aarp":
		return etherAARP, true
	}
	return 0, false
}

// service is a named port; a name that belongs to one transport selects it.
type service struct {
	port     uint16
	tcp, udp bool
}

// lookupService returns a common service of /etc/services.
func lookupService(name string) (service, bool) {
	tcp := func(port uint16) (service, bool) { return service{port, true, false}, true }
	udp := func(port uint16) (service, bool) { return service{port, false, true}, true }
	both := func(port uint16) (service, bool) { return service{port, true, true}, true }
	switch name {
	case "echo":
		return both(7)
	case "discard":
		return both(9)
	case "daytime":
		return both(13)
	case "chargen":
		return both(19)
	case "ftp-data":
		return tcp(20)
	case "ftp":
		return tcp(21)
	case "ssh":
		return tcp(22)
	case "telnet":
		return tcp(23)
	case "smtp":
		return tcp(25)
	case "time":
		return both(37)
	case "whois":
		return tcp(43)
	case "domain":
		return both(53)
	case "bootps":
		return udp(67)
	case "bootpc":
		return udp(68)
	case "tftp":
		return udp(69)
	case "finger":
		return tcp(79)
	case "http":
		return tcp(80)
	case "kerberos":
		return both(88)
	case "pop3":
		return tcp(110)
	case "sunrpc":
		return both(111)
	case "nntp":
		return tcp(119)
	case "ntp":
		return udp(123)
	case "netbios-ns":
		return udp(137)
	case "netbios-dgm":
		return udp(138)
	case "netbios-ssn":
		return tcp(139)
	case "imap2", "imap":
		return tcp(143)
	case "snmp":
		return both(161)
	case "snmp-trap":
		return both(162)
	case "bgp":
		return tcp(179)
	case "ldap":
		return both(389)
	case "https":
		return both(443)
	case "microsoft-ds":
		return tcp(445)
	case "submissions":
		return tcp(465)
	case "isakmp":
		return udp(500)
	case "rtsp":
		return both(554)
	case "submission":
		return tcp(587)
	case "ipp":
		return tcp(631)
	case "ldaps":
		return both(636)
	case "domain-s":
		return both(853)
	case "rsync":
		return tcp(873)
	case "imaps":
		return tcp(993)
	case "pop3s":
		return tcp(995)
	case "socks":
		return tcp(1080)
	case "openvpn":
		return both(1194)
	case "ms-sql-s":
		return tcp(1433)
	case "radius":
		return both(1812)
	case "nfs":
		return both(2049)
	case "mysql":
		return tcp(3306)
	case "ms-wbt-server":
		return tcp(3389)
	case "sip":
		return both(5060)
	case "sip-tls":
		return both(5061)
	case "mdns":
		return udp(5353)
	case "postgresql":
		return tcp(5432)
	case "amqps":
		return tcp(5671)
	case "redis":
		return tcp(6379)
	case "http-alt":
		return tcp(8080)
	case "git":
		return tcp(9418)
	}
	return service{}, false
}
