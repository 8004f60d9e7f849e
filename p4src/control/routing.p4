// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Step 10: longest prefix, next hop, port. What cannot be sent on goes to the controller, which resolves a
// neighbour or writes the ICMP error.

control routing(inout headers_t hdr, inout metadata_t meta) {
    buckets() bucket;
    mac_t base_mac = 0;
    mac_t bucket_mask = 0;
    bit<1> use_crc = 0;

    @id(ROUTE_VIA_ACTION_ID)
    action route_via(bit<16> port, address_t next_hop, bit<16> mtu) {
        meta.egress_port = port[8:0];
        meta.next_hop = next_hop;
        meta.mtu = mtu;
        meta.verdict = FORWARD;
    }

    @id(ROUTE_CONNECTED_ACTION_ID)
    action route_connected(bit<16> port, bit<16> mtu) {
        meta.egress_port = port[8:0];
        meta.next_hop = meta.route_addr;
        meta.mtu = mtu;
        meta.verdict = FORWARD;
    }

    // One of our own addresses, and nothing above has claimed the packet.
    @id(ROUTE_LOCAL_ACTION_ID)
    action route_local() {
        meta.verdict = DROP;
        meta.drop_reason = meta.is_fragment ? DROP_FRAGMENT : DROP_NOT_SERVED;
    }

    // For a prefix too: the IPv6 default route ::/0 would else take in IPv4, which is mapped into IPv6.
    @id(NO_ROUTE_ACTION_ID)
    action no_route() {
        meta.verdict = DROP;
        meta.drop_reason = DROP_NO_ROUTE;
    }

    @id(ROUTE_TABLE_ID)
    table route_table {
        key = {
            meta.route_addr: lpm @name("address");
        }
        actions = {
            route_via;
            route_connected;
            route_local;
            no_route;
        }
        const default_action = no_route;
        size = ROUTE_TABLE_SIZE;
    }

    @id(SET_NEIGHBOUR_ACTION_ID)
    action set_neighbour(mac_t src_mac, mac_t dst_mac) {
        meta.src_mac = src_mac;
        meta.dst_mac = dst_mac;
    }

    // A host that knows us by a virtual MAC, that of its bucket.
    @id(SET_NEIGHBOUR_BY_BUCKET_ACTION_ID)
    action set_neighbour_by_bucket(mac_t dst_mac, mac_t base, mac_t mask, bit<1> by_crc) {
        meta.dst_mac = dst_mac;
        base_mac = base;
        bucket_mask = mask;
        use_crc = by_crc;
    }

    action too_big(bit<16> room) {
        meta.verdict = PUNT;
        meta.punt_reason = PUNT_TOO_BIG;
        meta.punt_detail = room;
    }

    action unresolved() {
        meta.verdict = PUNT;
        meta.punt_reason = PUNT_NEIGHBOUR_UNRESOLVED;
        meta.punt_detail = (bit<16>)meta.egress_port;
        meta.punt_address = meta.next_hop;
    }

    @id(NEIGHBOUR_TABLE_ID)
    table neighbour_table {
        key = {
            meta.egress_port: exact @name("port");
            meta.next_hop: exact @name("address");
        }
        actions = {
            set_neighbour;
            set_neighbour_by_bucket;
            @defaultonly unresolved;
        }
        const default_action = unresolved;
        size = NEIGHBOUR_TABLE_SIZE;
    }

    apply {
        // A session that is bypassed is claimed by nobody.
        if (meta.led && !meta.reply_of_member && (!meta.session_known || meta.bypassed)) {
            meta.verdict = FORWARD;
        } else {
            route_table.apply();
        }
        if (meta.verdict == FORWARD) {
            bit<16> room = meta.mtu;
            if (meta.rewrite == REWRITE_ENCAPSULATE) {
                room = room - (meta.new_addr[127:32] == IPV4_MAPPED ? IPV4_LENGTH : IPV6_LENGTH);
            }
            if (meta.ip_length > room) {
                too_big(room);
            } else {
                switch (neighbour_table.apply().action_run) {
                    set_neighbour_by_bucket: {
                        bucket.apply(meta.dst_mac, base_mac, bucket_mask, use_crc, meta.src_mac);
                    }
                }
            }
        }
    }
}
