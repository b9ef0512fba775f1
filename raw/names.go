package raw

// The protocols of AF_INET and AF_INET6, after Linux's linux/in.h and
// linux/in6.h (numbers: IANA's protocol numbers, and the kernel's own above 255).
const (
	IPPROTO_IP       Protocol = 0 // the default of the type; a SOCK_RAW socket cannot have it
	IPPROTO_ICMP     Protocol = 1
	IPPROTO_IGMP     Protocol = 2
	IPPROTO_IPIP     Protocol = 4
	IPPROTO_TCP      Protocol = 6
	IPPROTO_EGP      Protocol = 8
	IPPROTO_PUP      Protocol = 12
	IPPROTO_UDP      Protocol = 17
	IPPROTO_IDP      Protocol = 22
	IPPROTO_TP       Protocol = 29
	IPPROTO_DCCP     Protocol = 33
	IPPROTO_IPV6     Protocol = 41
	IPPROTO_ROUTING  Protocol = 43
	IPPROTO_FRAGMENT Protocol = 44
	IPPROTO_RSVP     Protocol = 46
	IPPROTO_GRE      Protocol = 47
	IPPROTO_ESP      Protocol = 50
	IPPROTO_AH       Protocol = 51
	IPPROTO_ICMPV6   Protocol = 58
	IPPROTO_NONE     Protocol = 59
	IPPROTO_DSTOPTS  Protocol = 60
	IPPROTO_MTP      Protocol = 92
	IPPROTO_BEETPH   Protocol = 94
	IPPROTO_ENCAP    Protocol = 98
	IPPROTO_PIM      Protocol = 103
	IPPROTO_COMP     Protocol = 108
	IPPROTO_L2TP     Protocol = 115
	IPPROTO_SCTP     Protocol = 132
	IPPROTO_MH       Protocol = 135
	IPPROTO_UDPLITE  Protocol = 136
	IPPROTO_MPLS     Protocol = 137
	IPPROTO_ETHERNET Protocol = 143
	IPPROTO_AGGFRAG  Protocol = 144
	IPPROTO_RAW      Protocol = 255 // for sending; receives nothing but protocol 255 itself
	IPPROTO_SMC      Protocol = 256 // not on the wire: shared memory communications
	IPPROTO_MPTCP    Protocol = 262 // not on the wire: multipath TCP (RFC 8684)
)

// The protocols of AF_PACKET, after Linux's linux/if_ether.h, in the host's
// byte order: Open does what packet(7)'s htons does.
const (
	ETH_P_802_3      Protocol = 0x0001
	ETH_P_AX25       Protocol = 0x0002
	ETH_P_ALL        Protocol = 0x0003 // every protocol, outgoing packets too
	ETH_P_802_2      Protocol = 0x0004
	ETH_P_SNAP       Protocol = 0x0005
	ETH_P_DDCMP      Protocol = 0x0006
	ETH_P_WAN_PPP    Protocol = 0x0007
	ETH_P_PPP_MP     Protocol = 0x0008
	ETH_P_LOCALTALK  Protocol = 0x0009
	ETH_P_CAN        Protocol = 0x000c
	ETH_P_CANFD      Protocol = 0x000d
	ETH_P_CANXL      Protocol = 0x000e
	ETH_P_PPPTALK    Protocol = 0x0010
	ETH_P_TR_802_2   Protocol = 0x0011
	ETH_P_MOBITEX    Protocol = 0x0015
	ETH_P_CONTROL    Protocol = 0x0016
	ETH_P_IRDA       Protocol = 0x0017
	ETH_P_ECONET     Protocol = 0x0018
	ETH_P_HDLC       Protocol = 0x0019
	ETH_P_ARCNET     Protocol = 0x001a
	ETH_P_DSA        Protocol = 0x001b
	ETH_P_TRAILER    Protocol = 0x001c
	ETH_P_LOOP       Protocol = 0x0060
	ETH_P_PHONET     Protocol = 0x00f5
	ETH_P_IEEE802154 Protocol = 0x00f6
	ETH_P_CAIF       Protocol = 0x00f7
	ETH_P_XDSA       Protocol = 0x00f8
	ETH_P_MAP        Protocol = 0x00f9
	ETH_P_MCTP       Protocol = 0x00fa
	ETH_P_GRE_OSI    Protocol = 0x00fe
	ETH_P_PUP        Protocol = 0x0200
	ETH_P_PUPAT      Protocol = 0x0201
	ETH_P_IP         Protocol = 0x0800
	ETH_P_X25        Protocol = 0x0805
	ETH_P_ARP        Protocol = 0x0806
	ETH_P_BPQ        Protocol = 0x08ff
	ETH_P_IEEEPUP    Protocol = 0x0a00
	ETH_P_IEEEPUPAT  Protocol = 0x0a01
	ETH_P_ERSPAN2    Protocol = 0x22eb
	ETH_P_TSN        Protocol = 0x22f0
	ETH_P_BATMAN     Protocol = 0x4305
	ETH_P_DEC        Protocol = 0x6000
	ETH_P_DNA_DL     Protocol = 0x6001
	ETH_P_DNA_RC     Protocol = 0x6002
	ETH_P_DNA_RT     Protocol = 0x6003
	ETH_P_LAT        Protocol = 0x6004
	ETH_P_DIAG       Protocol = 0x6005
	ETH_P_CUST       Protocol = 0x6006
	ETH_P_SCA        Protocol = 0x6007
	ETH_P_TEB        Protocol = 0x6558
	ETH_P_RARP       Protocol = 0x8035
	ETH_P_ATALK      Protocol = 0x809b
	ETH_P_AARP       Protocol = 0x80f3
	ETH_P_8021Q      Protocol = 0x8100
	ETH_P_IPX        Protocol = 0x8137
	ETH_P_IPV6       Protocol = 0x86dd
	ETH_P_PAUSE      Protocol = 0x8808
	ETH_P_SLOW       Protocol = 0x8809
	ETH_P_WCCP       Protocol = 0x883e
	ETH_P_MPLS_UC    Protocol = 0x8847
	ETH_P_MPLS_MC    Protocol = 0x8848
	ETH_P_ATMMPOA    Protocol = 0x884c
	ETH_P_PPP_DISC   Protocol = 0x8863
	ETH_P_PPP_SES    Protocol = 0x8864
	ETH_P_LINK_CTL   Protocol = 0x886c
	ETH_P_8021AC     Protocol = 0x8870
	ETH_P_ATMFATE    Protocol = 0x8884
	ETH_P_PAE        Protocol = 0x888e
	ETH_P_PROFINET   Protocol = 0x8892
	ETH_P_REALTEK    Protocol = 0x8899
	ETH_P_AOE        Protocol = 0x88a2
	ETH_P_ETHERCAT   Protocol = 0x88a4
	ETH_P_8021AD     Protocol = 0x88a8
	ETH_P_802_EX1    Protocol = 0x88b5
	ETH_P_ERSPAN     Protocol = 0x88be
	ETH_P_MXLGSW     Protocol = 0x88c3
	ETH_P_PREAUTH    Protocol = 0x88c7
	ETH_P_TIPC       Protocol = 0x88ca
	ETH_P_LLDP       Protocol = 0x88cc
	ETH_P_MRP        Protocol = 0x88e3
	ETH_P_MACSEC     Protocol = 0x88e5
	ETH_P_8021AH     Protocol = 0x88e7
	ETH_P_MVRP       Protocol = 0x88f5
	ETH_P_1588       Protocol = 0x88f7
	ETH_P_NCSI       Protocol = 0x88f8
	ETH_P_PRP        Protocol = 0x88fb
	ETH_P_CFM        Protocol = 0x8902
	ETH_P_FCOE       Protocol = 0x8906
	ETH_P_TDLS       Protocol = 0x890d
	ETH_P_FIP        Protocol = 0x8914
	ETH_P_IBOE       Protocol = 0x8915
	ETH_P_80221      Protocol = 0x8917
	ETH_P_HSR        Protocol = 0x892f
	ETH_P_NSH        Protocol = 0x894f
	ETH_P_LOOPBACK   Protocol = 0x9000
	ETH_P_QINQ1      Protocol = 0x9100
	ETH_P_QINQ2      Protocol = 0x9200
	ETH_P_QINQ3      Protocol = 0x9300
	ETH_P_YT921X     Protocol = 0x9988
	ETH_P_EDSA       Protocol = 0xdada
	ETH_P_DSA_8021Q  Protocol = 0xdadb
	ETH_P_DSA_A5PSW  Protocol = 0xe001
	ETH_P_IFE        Protocol = 0xed3e
	ETH_P_AF_IUCV    Protocol = 0xfbfb
	ETH_P_NXP_NETC   Protocol = 0xfd3a
)

// ipprotoName returns p's name as a protocol of AF_INET and AF_INET6, or "".
func ipprotoName(p Protocol) string {
	switch p {
	case IPPROTO_ICMP:
		return "IPPROTO_ICMP"
	case IPPROTO_IGMP:
		return "IPPROTO_IGMP"
	case IPPROTO_IPIP:
		return "IPPROTO_IPIP"
	case IPPROTO_TCP:
		return "IPPROTO_TCP"
	case IPPROTO_EGP:
		return "IPPROTO_EGP"
	case IPPROTO_PUP:
		return "IPPROTO_PUP"
	case IPPROTO_UDP:
		return "IPPROTO_UDP"
	case IPPROTO_IDP:
		return "IPPROTO_IDP"
	case IPPROTO_TP:
		return "IPPROTO_TP"
	case IPPROTO_DCCP:
		return "IPPROTO_DCCP"
	case IPPROTO_IPV6:
		return "IPPROTO_IPV6"
	case IPPROTO_ROUTING:
		return "IPPROTO_ROUTING"
	case IPPROTO_FRAGMENT:
		return "IPPROTO_FRAGMENT"
	case IPPROTO_RSVP:
		return "IPPROTO_RSVP"
	case IPPROTO_GRE:
		return "IPPROTO_GRE"
	case IPPROTO_ESP:
		return "IPPROTO_ESP"
	case IPPROTO_AH:
		return "IPPROTO_AH"
	case IPPROTO_ICMPV6:
		return "IPPROTO_ICMPV6"
	case IPPROTO_NONE:
		return "IPPROTO_NONE"
	case IPPROTO_DSTOPTS:
		return "IPPROTO_DSTOPTS"
	case IPPROTO_MTP:
		return "IPPROTO_MTP"
	case IPPROTO_BEETPH:
		return "IPPROTO_BEETPH"
	case IPPROTO_ENCAP:
		return "IPPROTO_ENCAP"
	case IPPROTO_PIM:
		return "IPPROTO_PIM"
	case IPPROTO_COMP:
		return "IPPROTO_COMP"
	case IPPROTO_L2TP:
		return "IPPROTO_L2TP"
	case IPPROTO_SCTP:
		return "IPPROTO_SCTP"
	case IPPROTO_MH:
		return "IPPROTO_MH"
	case IPPROTO_UDPLITE:
		return "IPPROTO_UDPLITE"
	case IPPROTO_MPLS:
		return "IPPROTO_MPLS"
	case IPPROTO_ETHERNET:
		return "IPPROTO_ETHERNET"
	case IPPROTO_AGGFRAG:
		return "IPPROTO_AGGFRAG"
	case IPPROTO_RAW:
		return "IPPROTO_RAW"
	case IPPROTO_SMC:
		return "IPPROTO_SMC"
	case IPPROTO_MPTCP:
		return "IPPROTO_MPTCP"
	default:
		return ""
	}
}

// ethName returns p's name as a protocol of AF_PACKET, or "".
func ethName(p Protocol) string {
	switch p {
	case ETH_P_802_3:
		return "ETH_P_802_3"
	case ETH_P_AX25:
		return "ETH_P_AX25"
	case ETH_P_ALL:
		return "ETH_P_ALL"
	case ETH_P_802_2:
		return "ETH_P_802_2"
	case ETH_P_SNAP:
		return "ETH_P_SNAP"
	case ETH_P_DDCMP:
		return "ETH_P_DDCMP"
	case ETH_P_WAN_PPP:
		return "ETH_P_WAN_PPP"
	case ETH_P_PPP_MP:
		return "ETH_P_PPP_MP"
	case ETH_P_LOCALTALK:
		return "ETH_P_LOCALTALK"
	case ETH_P_CAN:
		return "ETH_P_CAN"
	case ETH_P_CANFD:
		return "ETH_P_CANFD"
	case ETH_P_CANXL:
		return "ETH_P_CANXL"
	case ETH_P_PPPTALK:
		return "ETH_P_PPPTALK"
	case ETH_P_TR_802_2:
		return "ETH_P_TR_802_2"
	case ETH_P_MOBITEX:
		return "ETH_P_MOBITEX"
	case ETH_P_CONTROL:
		return "ETH_P_CONTROL"
	case ETH_P_IRDA:
		return "ETH_P_IRDA"
	case ETH_P_ECONET:
		return "ETH_P_ECONET"
	case ETH_P_HDLC:
		return "ETH_P_HDLC"
	case ETH_P_ARCNET:
		return "ETH_P_ARCNET"
	case ETH_P_DSA:
		return "ETH_P_DSA"
	case ETH_P_TRAILER:
		return "ETH_P_TRAILER"
	case ETH_P_LOOP:
		return "ETH_P_LOOP"
	case ETH_P_PHONET:
		return "ETH_P_PHONET"
	case ETH_P_IEEE802154:
		return "ETH_P_IEEE802154"
	case ETH_P_CAIF:
		return "ETH_P_CAIF"
	case ETH_P_XDSA:
		return "ETH_P_XDSA"
	case ETH_P_MAP:
		return "ETH_P_MAP"
	case ETH_P_MCTP:
		return "ETH_P_MCTP"
	case ETH_P_GRE_OSI:
		return "ETH_P_GRE_OSI"
	case ETH_P_PUP:
		return "ETH_P_PUP"
	case ETH_P_PUPAT:
		return "ETH_P_PUPAT"
	case ETH_P_IP:
		return "ETH_P_IP"
	case ETH_P_X25:
		return "ETH_P_X25"
	case ETH_P_ARP:
		return "ETH_P_ARP"
	case ETH_P_BPQ:
		return "ETH_P_BPQ"
	case ETH_P_IEEEPUP:
		return "ETH_P_IEEEPUP"
	case ETH_P_IEEEPUPAT:
		return "ETH_P_IEEEPUPAT"
	case ETH_P_ERSPAN2:
		return "ETH_P_ERSPAN2"
	case ETH_P_TSN:
		return "ETH_P_TSN"
	case ETH_P_BATMAN:
		return "ETH_P_BATMAN"
	case ETH_P_DEC:
		return "ETH_P_DEC"
	case ETH_P_DNA_DL:
		return "ETH_P_DNA_DL"
	case ETH_P_DNA_RC:
		return "ETH_P_DNA_RC"
	case ETH_P_DNA_RT:
		return "ETH_P_DNA_RT"
	case ETH_P_LAT:
		return "ETH_P_LAT"
	case ETH_P_DIAG:
		return "ETH_P_DIAG"
	case ETH_P_CUST:
		return "ETH_P_CUST"
	case ETH_P_SCA:
		return "ETH_P_SCA"
	case ETH_P_TEB:
		return "ETH_P_TEB"
	case ETH_P_RARP:
		return "ETH_P_RARP"
	case ETH_P_ATALK:
		return "ETH_P_ATALK"
	case ETH_P_AARP:
		return "ETH_P_AARP"
	case ETH_P_8021Q:
		return "ETH_P_8021Q"
	case ETH_P_IPX:
		return "ETH_P_IPX"
	case ETH_P_IPV6:
		return "ETH_P_IPV6"
	case ETH_P_PAUSE:
		return "ETH_P_PAUSE"
	case ETH_P_SLOW:
		return "ETH_P_SLOW"
	case ETH_P_WCCP:
		return "ETH_P_WCCP"
	case ETH_P_MPLS_UC:
		return "ETH_P_MPLS_UC"
	case ETH_P_MPLS_MC:
		return "ETH_P_MPLS_MC"
	case ETH_P_ATMMPOA:
		return "ETH_P_ATMMPOA"
	case ETH_P_PPP_DISC:
		return "ETH_P_PPP_DISC"
	case ETH_P_PPP_SES:
		return "ETH_P_PPP_SES"
	case ETH_P_LINK_CTL:
		return "ETH_P_LINK_CTL"
	case ETH_P_8021AC:
		return "ETH_P_8021AC"
	case ETH_P_ATMFATE:
		return "ETH_P_ATMFATE"
	case ETH_P_PAE:
		return "ETH_P_PAE"
	case ETH_P_PROFINET:
		return "ETH_P_PROFINET"
	case ETH_P_REALTEK:
		return "ETH_P_REALTEK"
	case ETH_P_AOE:
		return "ETH_P_AOE"
	case ETH_P_ETHERCAT:
		return "ETH_P_ETHERCAT"
	case ETH_P_8021AD:
		return "ETH_P_8021AD"
	case ETH_P_802_EX1:
		return "ETH_P_802_EX1"
	case ETH_P_ERSPAN:
		return "ETH_P_ERSPAN"
	case ETH_P_MXLGSW:
		return "ETH_P_MXLGSW"
	case ETH_P_PREAUTH:
		return "ETH_P_PREAUTH"
	case ETH_P_TIPC:
		return "ETH_P_TIPC"
	case ETH_P_LLDP:
		return "ETH_P_LLDP"
	case ETH_P_MRP:
		return "ETH_P_MRP"
	case ETH_P_MACSEC:
		return "ETH_P_MACSEC"
	case ETH_P_8021AH:
		return "ETH_P_8021AH"
	case ETH_P_MVRP:
		return "ETH_P_MVRP"
	case ETH_P_1588:
		return "ETH_P_1588"
	case ETH_P_NCSI:
		return "ETH_P_NCSI"
	case ETH_P_PRP:
		return "ETH_P_PRP"
	case ETH_P_CFM:
		return "ETH_P_CFM"
	case ETH_P_FCOE:
		return "ETH_P_FCOE"
	case ETH_P_TDLS:
		return "ETH_P_TDLS"
	case ETH_P_FIP:
		return "ETH_P_FIP"
	case ETH_P_IBOE:
		return "ETH_P_IBOE"
	case ETH_P_80221:
		return "ETH_P_80221"
	case ETH_P_HSR:
		return "ETH_P_HSR"
	case ETH_P_NSH:
		return "ETH_P_NSH"
	case ETH_P_LOOPBACK:
		return "ETH_P_LOOPBACK"
	case ETH_P_QINQ1:
		return "ETH_P_QINQ1"
	case ETH_P_QINQ2:
		return "ETH_P_QINQ2"
	case ETH_P_QINQ3:
		return "ETH_P_QINQ3"
	case ETH_P_YT921X:
		return "ETH_P_YT921X"
	case ETH_P_EDSA:
		return "ETH_P_EDSA"
	case ETH_P_DSA_8021Q:
		return "ETH_P_DSA_8021Q"
	case ETH_P_DSA_A5PSW:
		return "ETH_P_DSA_A5PSW"
	case ETH_P_IFE:
		return "ETH_P_IFE"
	case ETH_P_AF_IUCV:
		return "ETH_P_AF_IUCV"
	case ETH_P_NXP_NETC:
		return "ETH_P_NXP_NETC"
	default:
		return ""
	}
}
