// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Egress: the packet becomes what ingress decided. Checksums follow incrementally (RFC 1624).

control rewrite(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    translate() translation;
    segment_size() segments;

    action add_packet_in() {
        hdr.packet_in.setValid();
        hdr.packet_in.ingress_port = meta.ingress_port;
        hdr.packet_in.reason = meta.punt_reason;
        hdr.packet_in.from_peer = meta.from_peer ? 8w1 : 8w0;
        hdr.packet_in.detail = meta.punt_detail;
        hdr.packet_in.address = meta.punt_address;
    }

    action forward_ipv4() {
        hdr.ipv4.checksum = adjust(hdr.ipv4.checksum, ~16w0x0100);
        hdr.ipv4.ttl = hdr.ipv4.ttl - 1;
    }

    action add_outer_ipv4() {
        hdr.outer_ipv4.setValid();
        hdr.outer_ipv4.version = 4;
        hdr.outer_ipv4.ihl = 5;
        hdr.outer_ipv4.traffic_class = hdr.ipv4.isValid() ? hdr.ipv4.traffic_class : hdr.ipv6.traffic_class;
        hdr.outer_ipv4.total_length = meta.ip_length + IPV4_LENGTH;
        hdr.outer_ipv4.identification = 0;  // RFC 6864: never fragmented, so never reassembled
        hdr.outer_ipv4.reserved = 0;
        hdr.outer_ipv4.dont_fragment = 1;
        hdr.outer_ipv4.more_fragments = 0;
        hdr.outer_ipv4.fragment_offset = 0;
        hdr.outer_ipv4.ttl = DEFAULT_TTL;
        hdr.outer_ipv4.protocol = hdr.ipv4.isValid() ? PROTOCOL_IPIP : PROTOCOL_IPV6;
        hdr.outer_ipv4.src_addr = meta.outer_src[31:0];
        hdr.outer_ipv4.dst_addr = meta.new_addr[31:0];
        hdr.ethernet.ether_type = ETHER_TYPE_IPV4;
    }

    action add_outer_ipv6() {
        hdr.outer_ipv6.setValid();
        hdr.outer_ipv6.version = 6;
        hdr.outer_ipv6.traffic_class = hdr.ipv4.isValid() ? hdr.ipv4.traffic_class : hdr.ipv6.traffic_class;
        hdr.outer_ipv6.flow_label = 0;
        hdr.outer_ipv6.payload_length = meta.ip_length;
        hdr.outer_ipv6.next_header = hdr.ipv4.isValid() ? PROTOCOL_IPIP : PROTOCOL_IPV6;
        hdr.outer_ipv6.hop_limit = DEFAULT_TTL;
        hdr.outer_ipv6.src_addr = meta.outer_src;
        hdr.outer_ipv6.dst_addr = meta.new_addr;
        hdr.ethernet.ether_type = ETHER_TYPE_IPV6;
    }

    apply {
        if (standard_metadata.egress_port == CPU_PORT) {
            add_packet_in();
        } else if (meta.verdict == FORWARD) {
            hdr.ethernet.src_mac = meta.src_mac;
            hdr.ethernet.dst_mac = meta.dst_mac;
            if (hdr.ipv4.isValid()) {
                forward_ipv4();
            } else {
                hdr.ipv6.hop_limit = hdr.ipv6.hop_limit - 1;
            }
            if (hdr.tcp_option.isValid()) {
                segments.apply(hdr, meta);
            }
            if (meta.rewrite == REWRITE_ENCAPSULATE) {
                if (meta.new_addr[127:32] == IPV4_MAPPED) {
                    add_outer_ipv4();
                } else {
                    add_outer_ipv6();
                }
            } else if (meta.rewrite != REWRITE_NONE) {
                translation.apply(hdr, meta);
            }
        }
    }
}
