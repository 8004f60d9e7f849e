// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0

#ifndef METADATA_P4
#define METADATA_P4

// What travels with a packet from the parser to egress. The parser's start state zeroes it.
struct metadata_t {
    verdict_t verdict;
    drop_reason_t drop_reason;  // valid with DROP
    punt_reason_t punt_reason;  // valid with PUNT
    bit<16> punt_detail;        // valid with PUNT
    address_t punt_address;     // likewise
    bit<16> ingress_port;       // the real one, or the one a submitted packet-out names
    bool held;                  // the controller has had this packet for as long as it may

    // One gateway address, many gateways (docs/decisions/0013).
    mac_t virtual_mac;  // 0: none; where a frame was sent to that is no router's, or what answers an ask
    bool led;           // egress_port, next_hop and mtu lead to a gateway: there goes what no session claims

    // The cluster.
    bool in_tunnel;  // from the parser to tunnels.p4: the packet is a tunnel's outer header, but protocol, ports,
                     // tcp_flags, is_fragment and is_icmp_error (with src_addr and dst_addr) are of what it holds
    bool from_peer;  // a peer's tunnel brought it
    bool to_peer;    // valid if session_known: member_id is a peer that serves the session
    bool bypassed;   // valid if session_known: the session is to pass untouched

    // The packet's endpoints as an IP packet between client and server; for an ICMP error, those of the
    // packet it is about, turned round, so that the error looks like a packet of its flow. Valid for IP.
    address_t src_addr;
    address_t dst_addr;
    port_t src_port;
    port_t dst_port;
    bit<8> protocol;    // NO_PROTOCOL unless src_port and dst_port are valid
    bit<8> tcp_flags;   // zero unless the packet itself is TCP
    bit<8> ttl;         // TTL or hop limit
    bit<16> ip_length;  // of the whole IP packet, in bytes
    bool is_icmp_error; // concerns a flow but is not of it
    bool is_fragment;   // and not the first one

    // The canonical flow key: one entry for both directions. Valid unless protocol is NO_PROTOCOL.
    address_t addr_lo;
    address_t addr_hi;
    port_t port_lo;
    port_t port_hi;
    bool src_is_hi;

    // The session. from_client and member_id are valid if session_known.
    bool session_known;
    bool from_client;
    bool closing;          // the controller saw this session end; a SYN starts a new one
    bool announced;        // this packet tells the controller of its session
    bool reply_of_member;  // NAT: the source is a member's, vip_addr and vip_port its VIP
    address_t vip_addr;
    port_t vip_port;
    member_id_t member_id;

    // What becomes of a session without an entry. opens is valid after vips.p4, all that follows served if that is
    // true.
    bit<1> opens;          // may begin a session: a SYN, or any UDP packet
    bool served;           // a VIP or a rule of the policy claims the packet
    vip_id_t vip_id;
    bit<16> schedule_size;
    bit<16> schedule_slot; // set by allocation.p4
    bit<1> shared;         // other members of the cluster may own sessions of this service
    bool by_hash;          // the endpoints name the slot of the schedule

    // Rewriting and routing, for egress. Valid with FORWARD.
    rewrite_t rewrite;
    address_t new_addr;    // NAT: the address to write; IP-in-IP: the outer destination
    port_t new_port;       // NAT
    address_t outer_src;   // IP-in-IP
    address_t route_addr;  // the address to route by: the packet's destination, or the member's
    address_t next_hop;
    bit<9> egress_port;
    bit<16> mtu;
    mac_t src_mac;
    mac_t dst_mac;
    bit<16> address_delta;   // what NAT adds to a checksum that covers the address (see checksums.p4),
    bit<16> endpoint_delta;  // address and port,
    bit<16> port_delta;      // or the port
}

// A session the data plane has allocated, or announces again because its entry has not come.
struct new_flow_t {
    address_t addr_lo;
    address_t addr_hi;
    port_t port_lo;
    port_t port_hi;
    bit<8> protocol;
    bit<8> client_is_hi;
    bit<8> tcp_flags;
    vip_id_t vip_id;
    member_id_t member_id;
    bit<8> remembered;  // 1: the flow cache has the session, so its entry is in no hurry
}

// A TCP packet with SYN, FIN or RST, of a known session.
struct tcp_event_t {
    address_t addr_lo;
    address_t addr_hi;
    port_t port_lo;
    port_t port_hi;
    bit<8> src_is_hi;
    bit<8> tcp_flags;
}

// A neighbour that spoke ARP or neighbour discovery with us.
struct neighbour_seen_t {
    bit<16> port;
    address_t address;
    mac_t mac;
}

#endif  // METADATA_P4
