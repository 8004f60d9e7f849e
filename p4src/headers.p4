// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0

#ifndef HEADERS_P4
#define HEADERS_P4

typedef bit<48> mac_t;
typedef bit<128> address_t;  // IPv6, or IPv4 as ::ffff:a.b.c.d
typedef bit<16> port_t;      // a TCP or UDP port
typedef bit<16> member_id_t;
typedef bit<16> vip_id_t;

// A packet for the controller.
@controller_header("packet_in")
header packet_in_t {
    @id(1) bit<16> ingress_port;
    @id(2) punt_reason_t reason;
    @id(3) bit<8> from_peer;    // 1: a peer's tunnel brought it, and has been taken off
    @id(4) bit<16> detail;      // its meaning depends on the reason
    @id(5) address_t address;   // likewise
}

// A packet from the controller.
@controller_header("packet_out")
header packet_out_t {
    @id(1) bit<16> egress_port;       // where it leaves, for PACKET_OUT_EMIT
    @id(2) bit<16> ingress_port;      // where it is to have arrived, for all others
    @id(3) bit<8> submit_to_ingress;  // one of PACKET_OUT_*
    @id(4) member_id_t member_id;     // for PACKET_OUT_RELEASE
    @id(5) bit<8> from_peer;          // as packet_in said of it: 1 keeps it from going on to a peer
}

header ethernet_t {
    mac_t dst_mac;
    mac_t src_mac;
    bit<16> ether_type;
}

// RFC 826, for Ethernet and IPv4
header arp_t {
    bit<16> hardware_type;
    bit<16> protocol_type;
    bit<8> hardware_length;
    bit<8> protocol_length;
    bit<16> operation;
    mac_t sender_mac;
    bit<32> sender_address;
    mac_t target_mac;
    bit<32> target_address;
}

// RFC 791
header ipv4_t {
    bit<4> version;
    bit<4> ihl;
    bit<8> traffic_class;
    bit<16> total_length;
    bit<16> identification;
    bit<1> reserved;
    bit<1> dont_fragment;
    bit<1> more_fragments;
    bit<13> fragment_offset;
    bit<8> ttl;
    bit<8> protocol;
    bit<16> checksum;
    bit<32> src_addr;
    bit<32> dst_addr;
}

// RFC 8200
header ipv6_t {
    bit<4> version;
    bit<8> traffic_class;
    bit<20> flow_label;
    bit<16> payload_length;
    bit<8> next_header;
    bit<8> hop_limit;
    address_t src_addr;
    address_t dst_addr;
}

// RFC 8200, 4.5
header ipv6_fragment_t {
    bit<8> next_header;
    bit<8> reserved;
    bit<13> fragment_offset;
    bit<2> reserved2;
    bit<1> more_fragments;
    bit<32> identification;
}

// RFC 9293
header tcp_t {
    port_t src_port;
    port_t dst_port;
    bit<32> sequence;
    bit<32> acknowledgment;
    bit<4> data_offset;
    bit<4> reserved;
    bit<8> flags;
    bit<16> window;
    bit<16> checksum;
    bit<16> urgent_pointer;
}

// The first of the options of a SYN, if it is of this length (RFC 9293, 3.2)
header tcp_option_t {
    bit<8> kind;
    bit<8> length;
    bit<16> value;
}

// RFC 768
header udp_t {
    port_t src_port;
    port_t dst_port;
    bit<16> length;
    bit<16> checksum;
}

// RFC 792 and RFC 4443: the part common to all messages
header icmp_t {
    bit<8> type;
    bit<8> code;
    bit<16> checksum;
}

// The second word of an ICMP error; the packet that caused it follows.
header icmp_error_t {
    bit<32> detail;
}

// The first word of TCP and of UDP, inside an ICMP error.
header ports_t {
    port_t src_port;
    port_t dst_port;
}

// Neighbour solicitation and advertisement (RFC 4861, 4.3 and 4.4), after the ICMPv6 header
header nd_t {
    bit<32> flags;
    address_t target;
}

// Link-layer address option (RFC 4861, 4.6.1)
header nd_option_t {
    bit<8> type;
    bit<8> length;
    mac_t mac;
}

struct headers_t {
    packet_in_t packet_in;
    packet_out_t packet_out;
    ethernet_t ethernet;
    arp_t arp;
    ipv4_t outer_ipv4;  // added by egress
    ipv6_t outer_ipv6;  // added by egress
    ipv4_t ipv4;
    ipv6_t ipv6;
    ipv4_t tunnelled_ipv4;  // what a tunnel in ipv4 or ipv6 holds, until tunnels.p4 takes the tunnel off
    ipv6_t tunnelled_ipv6;
    ipv6_fragment_t ipv6_fragment;
    tcp_t tcp;
    tcp_option_t tcp_option;  // of a SYN that has options
    udp_t udp;
    icmp_t icmp;
    nd_t nd;
    nd_option_t nd_option;
    icmp_error_t icmp_error;
    ipv4_t inner_ipv4;  // the packet an ICMP error is about
    ipv6_t inner_ipv6;
    ports_t inner_ports;
}

#endif  // HEADERS_P4
