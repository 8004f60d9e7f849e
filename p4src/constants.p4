// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Numbers on the wire, each with its source, and the program's own enumerations.

#ifndef CONSTANTS_P4
#define CONSTANTS_P4

#define CPU_PORT 255  // the port behind which the P4Runtime server sits
#define LAST_PORT 510  // 511 is simple_switch's drop port

// EtherTypes (IEEE 802)
const bit<16> ETHER_TYPE_IPV4 = 0x0800;
const bit<16> ETHER_TYPE_ARP = 0x0806;
const bit<16> ETHER_TYPE_IPV6 = 0x86dd;
const bit<16> ETHER_TYPE_GATEWAY_FRAME = 0x88b5;  // local experimental: acknowledgements, port learning

// ARP (RFC 826)
const bit<16> ARP_REQUEST = 1;
const bit<16> ARP_REPLY = 2;

// IP protocols (IANA)
const bit<8> PROTOCOL_ICMP = 1;
const bit<8> PROTOCOL_IPIP = 4;
const bit<8> PROTOCOL_TCP = 6;
const bit<8> PROTOCOL_UDP = 17;
const bit<8> PROTOCOL_IPV6 = 41;
const bit<8> PROTOCOL_FRAGMENT = 44;
const bit<8> PROTOCOL_ICMPV6 = 58;
const bit<8> NO_PROTOCOL = 255;  // reserved by IANA: this packet has no ports that we may read

// ICMP types (RFC 792) and ICMPv6 types (RFC 4443, RFC 4861)
const bit<8> ICMP_ECHO_REPLY = 0;
const bit<8> ICMP_UNREACHABLE = 3;
const bit<8> ICMP_ECHO_REQUEST = 8;
const bit<8> ICMP_TIME_EXCEEDED = 11;
const bit<8> ICMP_PARAMETER_PROBLEM = 12;
const bit<8> ICMPV6_UNREACHABLE = 1;
const bit<8> ICMPV6_TOO_BIG = 2;
const bit<8> ICMPV6_TIME_EXCEEDED = 3;
const bit<8> ICMPV6_PARAMETER_PROBLEM = 4;
const bit<8> ICMPV6_ECHO_REQUEST = 128;
const bit<8> ICMPV6_ECHO_REPLY = 129;
const bit<8> ND_SOLICITATION = 135;
const bit<8> ND_ADVERTISEMENT = 136;
const bit<8> ND_TARGET_LINK_ADDRESS = 2;
const bit<32> ND_ROUTER_SOLICITED_OVERRIDE = 0xe0000000;
const bit<32> ND_ROUTER_OVERRIDE = 0xa0000000;
const bit<16> ND_LENGTH_WITH_OPTION = 32;  // ICMPv6 header, target, and one link-layer address option
const bit<8> ND_HOP_LIMIT = 255;           // RFC 4861, 7.1.1: a smaller one came from off-link
const bit<48> ALL_NODES_MAC = 0x333300000001;
const bit<128> ALL_NODES = 0xff020000000000000000000000000001;

// Header lengths, in bytes
const bit<16> IPV4_LENGTH = 20;
const bit<16> IPV6_LENGTH = 40;
const bit<16> TCP_LENGTH = 20;
const bit<16> UDP_LENGTH = 8;
const bit<16> ETHERNET_LENGTH = 14;

const bit<8> DEFAULT_TTL = 64;
const bit<96> IPV4_MAPPED = 0xffff;  // ::ffff:0:0/96, RFC 4291 2.5.5.2

// TCP flags (RFC 9293, 3.1)
const bit<8> TCP_FIN = 0x01;
const bit<8> TCP_SYN = 0x02;
const bit<8> TCP_RST = 0x04;
const bit<8> TCP_ACK = 0x10;

// The maximum segment size option (RFC 9293, 3.2)
const bit<8> TCP_OPTION_MSS = 2;
const bit<8> TCP_OPTION_MSS_LENGTH = 4;
const bit<16> TCP_OPTION_LENGTH = 4;  // what we read of the options, in bytes

// Explicit congestion notification, the low bits of the traffic class (RFC 3168, 5)
const bit<2> ECN_NOT_CAPABLE = 0;
const bit<2> ECN_CONGESTION = 3;

// What is to become of a packet-out: packet_out.submit_to_ingress.
const bit<8> PACKET_OUT_EMIT = 0;                 // leaves at egress_port as it is
const bit<8> PACKET_OUT_SUBMIT = 1;               // as if it had come in at ingress_port
const bit<8> PACKET_OUT_RELEASE = 2;              // goes to member_id, a proxy or a peer; 0: where its route leads
const bit<8> PACKET_OUT_SUBMIT_HELD = 3;          // as 1, but PUNT_UNKNOWN_FLOW is no outcome any more
const bit<8> PACKET_OUT_RELEASE_FROM_MEMBER = 4;  // of a session, but away from its member: where its route leads

// What ingress has decided. Each control runs only while nothing is decided.
typedef bit<3> verdict_t;
const verdict_t UNDECIDED = 0;
const verdict_t FORWARD = 1;   // routed; egress edits the packet
const verdict_t ANSWER = 2;    // turned round by the responder, leaves as it is
const verdict_t EMIT = 3;      // a packet-out with its port given, leaves as it is
const verdict_t PUNT = 4;      // to the controller, as it came; with PUNT_ASKED turned round
const verdict_t CONSUMED = 5;  // done with, nothing leaves and nothing is wrong
const verdict_t DROP = 6;      // counted by reason

// Why a packet was dropped: the index into `drops`. Numbers are never reused.
typedef bit<8> drop_reason_t;
const drop_reason_t DROP_NONE = 0;
const drop_reason_t DROP_MALFORMED = 1;             // truncated, or lengths that contradict each other
const drop_reason_t DROP_BAD_CHECKSUM = 2;          // the IPv4 header's
const drop_reason_t DROP_NOT_OUR_MAC = 3;           // for someone else, or a multicast we do not follow
const drop_reason_t DROP_UNKNOWN_ETHER_TYPE = 4;    // neither ARP nor IP; a gateway frame that nobody awaits
const drop_reason_t DROP_IP_OPTIONS = 5;            // IPv4 with options
const drop_reason_t DROP_FRAGMENT = 6;              // no first fragment, for one of our addresses
const drop_reason_t DROP_MARTIAN = 7;               // a source address no host may have
const drop_reason_t DROP_NO_SESSION = 8;            // TCP for a VIP, no SYN, and nothing known of it
const drop_reason_t DROP_NO_MEMBER = 9;             // a new session and an empty schedule
const drop_reason_t DROP_MEMBER_GONE = 10;          // a session whose member has been removed
const drop_reason_t DROP_DENIED = 11;               // the connection's entry or the access policy says so
const drop_reason_t DROP_NOT_SERVED = 12;           // for one of our addresses, but no VIP there
const drop_reason_t DROP_NO_ROUTE = 13;
const drop_reason_t DROP_FOREIGN_NEIGHBOUR = 14;    // ARP or neighbour discovery that is not about us
const drop_reason_t DROP_BAD_PACKET_OUT = 15;       // for a port that is none, or asks for what we do not know
const drop_reason_t DROP_PEER_LOOP = 16;            // a peer sent it, and it would go on to a peer
const drop_reason_t DROP_HOLD_EXPIRED = 17;         // held, and still nobody knows its flow

// Why a packet went to the controller: packet_in.reason and the index into `punts`.
typedef bit<8> punt_reason_t;
const punt_reason_t PUNT_NONE = 0;
const punt_reason_t PUNT_TTL_EXPIRED = 1;
const punt_reason_t PUNT_TOO_BIG = 2;               // packet_in.detail is the largest packet, in bytes
const punt_reason_t PUNT_NEIGHBOUR_UNRESOLVED = 3;  // packet_in.detail is the port, .address the next hop
const punt_reason_t PUNT_RESET_SESSION = 4;         // answer it with a TCP reset
const punt_reason_t PUNT_NEW_SESSION = 5;           // tell the peers first; .detail is the member, .address vip_id
const punt_reason_t PUNT_UNKNOWN_FLOW = 6;          // may be a peer's
const punt_reason_t PUNT_OUTBOUND_SESSION = 7;      // a proxy of ours opens it; .detail and .address as above
const punt_reason_t PUNT_ASKED = 8;                 // the ready answer to an ask; .detail 0: ARP, 1: neighbour
                                                    // discovery, .address is the asker's MAC
const punt_reason_t PUNT_GATEWAY_FRAME = 9;         // of ETHER_TYPE_GATEWAY_FRAME

// How egress edits a packet.
typedef bit<3> rewrite_t;
const rewrite_t REWRITE_NONE = 0;         // routed as it is (direct server return too)
const rewrite_t REWRITE_DESTINATION = 1;  // NAT, towards the member
const rewrite_t REWRITE_SOURCE = 2;       // NAT, back to the client
const rewrite_t REWRITE_ENCAPSULATE = 3;  // IP-in-IP

// The flow cache's times count units of 16.384 ms, longer than a kernel's tick, so its coarse clock will do. An
// age is how many units have begun since.
typedef bit<32> cache_time_t;
typedef bit<14> announced_t;                      // its lowest bits: no slot matches for so long that they wrap
const cache_time_t FLOW_CACHE_LIFETIME = 3750;    // 61.4 s: a slot unused for longer matches no more
const cache_time_t FLOW_CACHE_CONTENTION = 63;    // 1 s: a slot unused for longer may be taken by another flow
const announced_t FLOW_CACHE_REANNOUNCE = 63;     // 1 s: a slot still needed after this tells the controller again
const bit<64> FLOW_HASH_FACTOR = 0x9e3779b97f4a7c15;         // 2^64 divided by the golden ratio
const bit<64> FLOW_FINGERPRINT_FACTOR = 0xc2b2ae3d27d4eb4f;  // any other odd number with bits all over

#endif  // CONSTANTS_P4
