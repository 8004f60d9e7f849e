// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Step 3: IP-in-IP. What a peer sends is taken out of its tunnel and goes on as if it had arrived here; it leaves
// for the controller without the tunnel too. Any other tunnel is a packet like those without ports.

control tunnels(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    sanity() sane;
    address_t outer_src = 0;
    address_t outer_dst = 0;
    bit<8> outer_class = 0;
    bit<16> room = 0;  // for the packet within

    @id(TUNNEL_COUNTER_ID)
    direct_counter(CounterType.packets_and_bytes) tunnel_counter;

    @id(ACCEPT_FROM_PEER_ACTION_ID)
    action accept_from_peer() {
        meta.from_peer = true;
    }

    // A stranger's tunnel is not opened: it could bring packets of any source past the routers' filters.
    @id(TUNNEL_TABLE_ID)
    table tunnel_table {
        key = {
            outer_src: exact @name("outer_src");
            outer_dst: exact @name("outer_dst");
        }
        actions = {
            accept_from_peer;
            @defaultonly NoAction;
        }
        const default_action = NoAction;
        counters = tunnel_counter;
        size = TUNNEL_TABLE_SIZE;
    }

    action leave_closed() {
        meta.protocol = NO_PROTOCOL;
        meta.tcp_flags = 0;
        meta.is_icmp_error = false;
        meta.is_fragment = false;
    }

    // A router that the tunnel passed was congested: the receiver within is to know (RFC 6040, 4.2).
    action mark_ipv4() {
        bit<16> gone = 8w0 ++ hdr.tunnelled_ipv4.traffic_class;
        hdr.tunnelled_ipv4.traffic_class[1:0] = ECN_CONGESTION;
        hdr.tunnelled_ipv4.checksum = adjust(hdr.tunnelled_ipv4.checksum, ~gone);
        hdr.tunnelled_ipv4.checksum = adjust(hdr.tunnelled_ipv4.checksum, 8w0 ++ hdr.tunnelled_ipv4.traffic_class);
    }

    action mark_ipv6() {
        hdr.tunnelled_ipv6.traffic_class[1:0] = ECN_CONGESTION;
    }

    action take_out_ipv4() {
        meta.route_addr = IPV4_MAPPED ++ hdr.tunnelled_ipv4.dst_addr;
        meta.ttl = hdr.tunnelled_ipv4.ttl;
        meta.ip_length = hdr.tunnelled_ipv4.total_length;
        meta.is_fragment = hdr.tunnelled_ipv4.fragment_offset != 0;
        hdr.ethernet.ether_type = ETHER_TYPE_IPV4;
        hdr.ipv6.setInvalid();
        hdr.ipv4 = hdr.tunnelled_ipv4;
        hdr.tunnelled_ipv4.setInvalid();
    }

    action take_out_ipv6() {
        meta.route_addr = hdr.tunnelled_ipv6.dst_addr;
        meta.ttl = hdr.tunnelled_ipv6.hop_limit;
        meta.ip_length = hdr.tunnelled_ipv6.payload_length + IPV6_LENGTH;
        hdr.ethernet.ether_type = ETHER_TYPE_IPV6;
        hdr.ipv4.setInvalid();
        hdr.ipv6 = hdr.tunnelled_ipv6;
        hdr.tunnelled_ipv6.setInvalid();
    }

    apply {
        if (hdr.ipv4.isValid()) {
            outer_src = IPV4_MAPPED ++ hdr.ipv4.src_addr;
            outer_dst = IPV4_MAPPED ++ hdr.ipv4.dst_addr;
            outer_class = hdr.ipv4.traffic_class;
            room = meta.ip_length - IPV4_LENGTH;
        } else {
            outer_src = hdr.ipv6.src_addr;
            outer_dst = hdr.ipv6.dst_addr;
            outer_class = hdr.ipv6.traffic_class;
            room = meta.ip_length - IPV6_LENGTH;
        }
        if (tunnel_table.apply().hit) {
            bool congested = outer_class[1:0] == ECN_CONGESTION;
            if (hdr.tunnelled_ipv4.isValid()) {
                if (congested && hdr.tunnelled_ipv4.traffic_class[1:0] != ECN_NOT_CAPABLE) {
                    mark_ipv4();
                }
                if (!meta.is_icmp_error) {
                    meta.src_addr = IPV4_MAPPED ++ hdr.tunnelled_ipv4.src_addr;
                    meta.dst_addr = IPV4_MAPPED ++ hdr.tunnelled_ipv4.dst_addr;
                }
                take_out_ipv4();
            } else {
                if (congested && hdr.tunnelled_ipv6.traffic_class[1:0] != ECN_NOT_CAPABLE) {
                    mark_ipv6();
                }
                if (!meta.is_icmp_error) {
                    meta.src_addr = hdr.tunnelled_ipv6.src_addr;
                    meta.dst_addr = hdr.tunnelled_ipv6.dst_addr;
                }
                take_out_ipv6();
            }
            meta.in_tunnel = false;
            if (meta.ip_length > room) {
                meta.verdict = DROP;
                meta.drop_reason = DROP_MALFORMED;
            } else {
                sane.apply(hdr, meta, standard_metadata);
            }
        } else {
            leave_closed();
        }
    }
}
