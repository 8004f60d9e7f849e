// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0

#ifndef PARSER_P4
#define PARSER_P4

parser packet_parser(packet_in packet,
                     out headers_t hdr,
                     inout metadata_t meta,
                     inout standard_metadata_t standard_metadata) {
    state start {
        meta.verdict = UNDECIDED;
        meta.drop_reason = DROP_NONE;
        meta.punt_reason = PUNT_NONE;
        meta.protocol = NO_PROTOCOL;
        meta.tcp_flags = 0;
        meta.is_icmp_error = false;
        meta.is_fragment = false;
        meta.session_known = false;
        meta.closing = false;
        meta.announced = false;
        meta.reply_of_member = false;
        meta.held = false;
        meta.in_tunnel = false;
        meta.from_peer = false;
        meta.to_peer = false;
        meta.bypassed = false;
        meta.served = false;
        meta.punt_address = 0;
        meta.virtual_mac = 0;
        meta.led = false;
        meta.rewrite = REWRITE_NONE;
        meta.ingress_port = (bit<16>)standard_metadata.ingress_port;
        transition select(standard_metadata.ingress_port) {
            CPU_PORT: parse_packet_out;
            default: parse_ethernet;
        }
    }

    state parse_packet_out {
        packet.extract(hdr.packet_out);
        meta.ingress_port = hdr.packet_out.ingress_port;
        transition parse_ethernet;
    }

    state parse_ethernet {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.ether_type) {
            ETHER_TYPE_IPV4: parse_ipv4;
            ETHER_TYPE_IPV6: parse_ipv6;
            ETHER_TYPE_ARP: parse_arp;
            default: accept;
        }
    }

    state parse_arp {
        packet.extract(hdr.arp);
        transition accept;
    }

    state parse_ipv4 {
        packet.extract(hdr.ipv4);
        meta.src_addr = IPV4_MAPPED ++ hdr.ipv4.src_addr;
        meta.dst_addr = IPV4_MAPPED ++ hdr.ipv4.dst_addr;
        meta.route_addr = meta.dst_addr;
        meta.ttl = hdr.ipv4.ttl;
        meta.ip_length = hdr.ipv4.total_length;
        meta.is_fragment = hdr.ipv4.fragment_offset != 0;
        transition select(hdr.ipv4.ihl, hdr.ipv4.fragment_offset, hdr.ipv4.protocol) {
            (5, 0, PROTOCOL_TCP): parse_tcp;
            (5, 0, PROTOCOL_UDP): parse_udp;
            (5, 0, PROTOCOL_ICMP): parse_icmp;
            (5, 0, PROTOCOL_IPIP): parse_ipv4_if_whole;
            (5, 0, PROTOCOL_IPV6): parse_ipv6_if_whole;
            default: accept;
        }
    }

    // A fragment is no tunnel that we could take off: it is routed like any other.
    state parse_ipv4_if_whole {
        transition select(hdr.ipv4.more_fragments) {
            0: parse_tunnelled_ipv4;
            default: accept;
        }
    }

    state parse_ipv6_if_whole {
        transition select(hdr.ipv4.more_fragments) {
            0: parse_tunnelled_ipv6;
            default: accept;
        }
    }

    state parse_ipv6 {
        packet.extract(hdr.ipv6);
        meta.src_addr = hdr.ipv6.src_addr;
        meta.dst_addr = hdr.ipv6.dst_addr;
        meta.route_addr = meta.dst_addr;
        meta.ttl = hdr.ipv6.hop_limit;
        meta.ip_length = hdr.ipv6.payload_length + IPV6_LENGTH;
        transition select(hdr.ipv6.next_header) {
            PROTOCOL_TCP: parse_tcp;
            PROTOCOL_UDP: parse_udp;
            PROTOCOL_ICMPV6: parse_icmpv6;
            PROTOCOL_FRAGMENT: parse_ipv6_fragment;
            PROTOCOL_IPIP: parse_tunnelled_ipv4;
            PROTOCOL_IPV6: parse_tunnelled_ipv6;
            default: accept;
        }
    }

    // What a tunnel holds. Its addresses, TTL and length wait in the header: whose tunnel it is turns out later. A
    // tunnel within it stays closed.
    state parse_tunnelled_ipv4 {
        packet.extract(hdr.tunnelled_ipv4);
        meta.in_tunnel = true;
        transition select(hdr.tunnelled_ipv4.ihl, hdr.tunnelled_ipv4.fragment_offset,
                          hdr.tunnelled_ipv4.protocol) {
            (5, 0, PROTOCOL_TCP): parse_tcp;
            (5, 0, PROTOCOL_UDP): parse_udp;
            (5, 0, PROTOCOL_ICMP): parse_tunnelled_icmp;
            default: accept;
        }
    }

    state parse_tunnelled_ipv6 {
        packet.extract(hdr.tunnelled_ipv6);
        meta.in_tunnel = true;
        transition select(hdr.tunnelled_ipv6.next_header) {
            PROTOCOL_TCP: parse_tcp;
            PROTOCOL_UDP: parse_udp;
            PROTOCOL_ICMPV6: parse_tunnelled_icmpv6;
            PROTOCOL_FRAGMENT: parse_ipv6_fragment;
            default: accept;
        }
    }

    // Errors only: the responder is not to take a ping or neighbour discovery in a tunnel for one on the wire.
    state parse_tunnelled_icmp {
        transition select(packet.lookahead<bit<8>>()) {
            ICMP_UNREACHABLE: parse_icmp;
            ICMP_TIME_EXCEEDED: parse_icmp;
            ICMP_PARAMETER_PROBLEM: parse_icmp;
            default: accept;
        }
    }

    state parse_tunnelled_icmpv6 {
        transition select(packet.lookahead<bit<8>>()) {
            ICMPV6_UNREACHABLE: parse_tunnelled_icmpv6_error;
            ICMPV6_TOO_BIG: parse_tunnelled_icmpv6_error;
            ICMPV6_TIME_EXCEEDED: parse_tunnelled_icmpv6_error;
            ICMPV6_PARAMETER_PROBLEM: parse_tunnelled_icmpv6_error;
            default: accept;
        }
    }

    state parse_tunnelled_icmpv6_error {
        packet.extract(hdr.icmp);
        transition parse_icmpv6_error;
    }

    state parse_ipv6_fragment {
        packet.extract(hdr.ipv6_fragment);
        meta.is_fragment = hdr.ipv6_fragment.fragment_offset != 0;
        transition select(hdr.ipv6_fragment.fragment_offset, hdr.ipv6_fragment.next_header) {
            (0, PROTOCOL_TCP): parse_tcp;
            (0, PROTOCOL_UDP): parse_udp;
            default: accept;
        }
    }

    state parse_tcp {
        packet.extract(hdr.tcp);
        meta.protocol = PROTOCOL_TCP;
        meta.src_port = hdr.tcp.src_port;
        meta.dst_port = hdr.tcp.dst_port;
        meta.tcp_flags = hdr.tcp.flags;
        transition select(hdr.tcp.flags, hdr.tcp.data_offset) {
            (TCP_SYN &&& TCP_SYN, 8 &&& 8): parse_tcp_option;
            (TCP_SYN &&& TCP_SYN, 6 &&& 14): parse_tcp_option;  // the header is longer than 5 words
            default: accept;
        }
    }

    state parse_tcp_option {
        packet.extract(hdr.tcp_option);
        transition accept;
    }

    state parse_udp {
        packet.extract(hdr.udp);
        meta.protocol = PROTOCOL_UDP;
        meta.src_port = hdr.udp.src_port;
        meta.dst_port = hdr.udp.dst_port;
        transition accept;
    }

    state parse_icmp {
        packet.extract(hdr.icmp);
        transition select(hdr.icmp.type) {
            ICMP_UNREACHABLE: parse_icmp_error;
            ICMP_TIME_EXCEEDED: parse_icmp_error;
            ICMP_PARAMETER_PROBLEM: parse_icmp_error;
            default: accept;
        }
    }

    state parse_icmp_error {
        packet.extract(hdr.icmp_error);
        packet.extract(hdr.inner_ipv4);
        transition select(hdr.inner_ipv4.ihl, hdr.inner_ipv4.fragment_offset, hdr.inner_ipv4.protocol) {
            (5, 0, PROTOCOL_TCP): parse_inner_ports_of_ipv4;
            (5, 0, PROTOCOL_UDP): parse_inner_ports_of_ipv4;
            default: accept;
        }
    }

    state parse_inner_ports_of_ipv4 {
        meta.src_addr = IPV4_MAPPED ++ hdr.inner_ipv4.dst_addr;
        meta.dst_addr = IPV4_MAPPED ++ hdr.inner_ipv4.src_addr;
        meta.protocol = hdr.inner_ipv4.protocol;
        transition parse_inner_ports;
    }

    state parse_icmpv6 {
        packet.extract(hdr.icmp);
        transition select(hdr.icmp.type) {
            ICMPV6_UNREACHABLE: parse_icmpv6_error;
            ICMPV6_TOO_BIG: parse_icmpv6_error;
            ICMPV6_TIME_EXCEEDED: parse_icmpv6_error;
            ICMPV6_PARAMETER_PROBLEM: parse_icmpv6_error;
            ND_SOLICITATION: parse_nd;
            ND_ADVERTISEMENT: parse_nd;
            default: accept;
        }
    }

    state parse_icmpv6_error {
        packet.extract(hdr.icmp_error);
        packet.extract(hdr.inner_ipv6);
        transition select(hdr.inner_ipv6.next_header) {
            PROTOCOL_TCP: parse_inner_ports_of_ipv6;
            PROTOCOL_UDP: parse_inner_ports_of_ipv6;
            default: accept;
        }
    }

    state parse_inner_ports_of_ipv6 {
        meta.src_addr = hdr.inner_ipv6.dst_addr;
        meta.dst_addr = hdr.inner_ipv6.src_addr;
        meta.protocol = hdr.inner_ipv6.next_header;
        transition parse_inner_ports;
    }

    state parse_inner_ports {
        packet.extract(hdr.inner_ports);
        meta.src_port = hdr.inner_ports.dst_port;
        meta.dst_port = hdr.inner_ports.src_port;
        meta.is_icmp_error = true;
        transition accept;
    }

    state parse_nd {
        packet.extract(hdr.nd);
        transition select(hdr.ipv6.payload_length) {
            ND_LENGTH_WITH_OPTION: parse_nd_option;
            default: accept;
        }
    }

    state parse_nd_option {
        packet.extract(hdr.nd_option);
        transition accept;
    }
}

control packet_deparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.packet_in);
        packet.emit(hdr.ethernet);
        packet.emit(hdr.arp);
        packet.emit(hdr.outer_ipv4);
        packet.emit(hdr.outer_ipv6);
        packet.emit(hdr.ipv4);
        packet.emit(hdr.ipv6);
        packet.emit(hdr.tunnelled_ipv4);
        packet.emit(hdr.tunnelled_ipv6);
        packet.emit(hdr.ipv6_fragment);
        packet.emit(hdr.tcp);
        packet.emit(hdr.tcp_option);
        packet.emit(hdr.udp);
        packet.emit(hdr.icmp);
        packet.emit(hdr.nd);
        packet.emit(hdr.nd_option);
        packet.emit(hdr.icmp_error);
        packet.emit(hdr.inner_ipv4);
        packet.emit(hdr.inner_ipv6);
        packet.emit(hdr.inner_ports);
    }
}

#endif  // PARSER_P4
