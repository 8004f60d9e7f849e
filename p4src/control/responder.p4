// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Step 2: ARP, neighbour discovery and ping for our own addresses, answered without the controller.
// Whoever speaks ARP or neighbour discovery with us is reported as a neighbour.

control responder(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    buckets() bucket;
    mac_t our_mac = 0;
    mac_t virtual_mac = 0;  // our_mac, if it is the asker's virtual MAC
    mac_t base_mac = 0;
    mac_t bucket_mask = 0;
    bit<1> use_crc = 0;
    address_t asked = 0;

    @id(ANSWER_ACTION_ID)
    action answer(mac_t mac) {
        our_mac = mac;
    }

    // Of one address many gateways have, the one of the asker's bucket answers: virtual_macs.p4 knows whose it is.
    @id(ANSWER_BY_BUCKET_ACTION_ID)
    action answer_by_bucket(mac_t base, mac_t mask, bit<1> by_crc) {
        base_mac = base;
        bucket_mask = mask;
        use_crc = by_crc;
    }

    // Our addresses: the ports' own and the VIPs, with the MAC that each port answers.
    @id(LOCAL_ADDRESS_TABLE_ID)
    table local_address_table {
        key = {
            meta.ingress_port: exact @name("port");
            asked: exact @name("address");
        }
        actions = {
            answer;
            answer_by_bucket;
            @defaultonly NoAction;
        }
        const default_action = NoAction;
        size = LOCAL_ADDRESS_TABLE_SIZE;
    }

    action refuse(drop_reason_t reason) {
        meta.verdict = DROP;
        meta.drop_reason = reason;
    }

    action turn_round() {
        hdr.ethernet.dst_mac = hdr.ethernet.src_mac;
        hdr.ethernet.src_mac = our_mac;
        meta.virtual_mac = virtual_mac;
        meta.egress_port = meta.ingress_port[8:0];
        meta.verdict = ANSWER;
    }

    action answer_arp() {
        hdr.arp.operation = ARP_REPLY;
        hdr.arp.target_mac = hdr.arp.sender_mac;
        hdr.arp.target_address = hdr.arp.sender_address;
        hdr.arp.sender_mac = our_mac;
        hdr.arp.sender_address = asked[31:0];
    }

    action answer_solicitation() {
        hdr.ipv6.src_addr = hdr.nd.target;
        hdr.ipv6.payload_length = ND_LENGTH_WITH_OPTION;
        hdr.icmp.type = ND_ADVERTISEMENT;
        hdr.nd_option.setValid();
        hdr.nd_option.type = ND_TARGET_LINK_ADDRESS;
        hdr.nd_option.length = 1;
        hdr.nd_option.mac = our_mac;
    }

    action answer_echo_ipv4() {
        bit<32> client = hdr.ipv4.src_addr;
        hdr.ipv4.src_addr = hdr.ipv4.dst_addr;
        hdr.ipv4.dst_addr = client;
        hdr.ipv4.checksum = adjust(hdr.ipv4.checksum, ~(hdr.ipv4.ttl ++ 8w0));
        hdr.ipv4.checksum = adjust(hdr.ipv4.checksum, DEFAULT_TTL ++ 8w0);
        hdr.ipv4.ttl = DEFAULT_TTL;
        hdr.icmp.checksum = adjust(hdr.icmp.checksum, ~(ICMP_ECHO_REQUEST ++ 8w0));
        hdr.icmp.type = ICMP_ECHO_REPLY;
    }

    action answer_echo_ipv6() {
        address_t client = hdr.ipv6.src_addr;
        hdr.ipv6.src_addr = hdr.ipv6.dst_addr;
        hdr.ipv6.dst_addr = client;
        hdr.ipv6.hop_limit = DEFAULT_TTL;
        hdr.icmp.checksum = adjust(hdr.icmp.checksum, (ICMPV6_ECHO_REPLY - ICMPV6_ECHO_REQUEST) ++ 8w0);
        hdr.icmp.type = ICMPV6_ECHO_REPLY;
    }

    apply {
        bool is_echo = hdr.icmp.isValid() && ((hdr.ipv4.isValid() && hdr.icmp.type == ICMP_ECHO_REQUEST) ||
                                              (hdr.ipv6.isValid() && hdr.icmp.type == ICMPV6_ECHO_REQUEST));
        address_t neighbour = 0;
        mac_t neighbour_mac = 0;
        if (hdr.arp.isValid()) {
            asked = IPV4_MAPPED ++ hdr.arp.target_address;
            neighbour = IPV4_MAPPED ++ hdr.arp.sender_address;
            neighbour_mac = hdr.arp.sender_mac;
        } else if (hdr.nd.isValid() && hdr.icmp.type == ND_SOLICITATION) {
            asked = hdr.nd.target;
            neighbour = hdr.ipv6.src_addr;
            neighbour_mac = hdr.ethernet.src_mac;
        } else if (hdr.nd.isValid()) {
            asked = hdr.ipv6.dst_addr;
            neighbour = hdr.nd.target;
            neighbour_mac = hdr.nd_option.isValid() ? hdr.nd_option.mac : hdr.ethernet.src_mac;
        } else if (is_echo) {
            asked = meta.dst_addr;
            neighbour_mac = hdr.ethernet.src_mac;
        }

        // Unasked news to everyone: gratuitous ARP (RFC 5227, 3), an advertisement to all nodes (RFC 4861, 7.2.6).
        bool is_news = (hdr.arp.isValid() && hdr.arp.sender_address == hdr.arp.target_address) ||
                       (hdr.nd.isValid() && hdr.icmp.type == ND_ADVERTISEMENT && hdr.ipv6.dst_addr == ALL_NODES);

        if (hdr.arp.isValid() || hdr.nd.isValid() || is_echo) {
            bool is_ours = false;
            switch (local_address_table.apply().action_run) {
                answer: {
                    is_ours = true;
                }
                answer_by_bucket: {
                    is_ours = true;
                    bucket.apply(neighbour_mac, base_mac, bucket_mask, use_crc, virtual_mac);
                    our_mac = virtual_mac;
                }
            }
            if (is_echo) {
                // Step 4 has not run yet: the MAC is compared here. A ping that is not for us goes on to it.
                if (is_ours && hdr.ethernet.dst_mac == our_mac) {
                    turn_round();
                    if (hdr.ipv4.isValid()) {
                        answer_echo_ipv4();
                    } else {
                        answer_echo_ipv6();
                    }
                }
            } else if (hdr.nd.isValid() && hdr.ipv6.hop_limit != ND_HOP_LIMIT) {
                refuse(DROP_MALFORMED);
            } else if (!is_ours && !is_news) {
                refuse(DROP_FOREIGN_NEIGHBOUR);
            } else {
                meta.verdict = CONSUMED;
                if (neighbour != 0 && neighbour != (IPV4_MAPPED ++ 32w0)) {
                    digest<neighbour_seen_t>(1, { meta.ingress_port, neighbour, neighbour_mac });
                }
                if (is_ours && hdr.arp.isValid() && hdr.arp.operation == ARP_REQUEST) {
                    turn_round();
                    answer_arp();
                } else if (is_ours && hdr.nd.isValid() && hdr.icmp.type == ND_SOLICITATION) {
                    turn_round();
                    if (hdr.ipv6.src_addr == 0) {
                        // Duplicate address detection: the asker has no address yet (RFC 4861, 7.2.4).
                        // A virtual MAC is for the asker alone, so is the frame (RFC 6085).
                        if (virtual_mac == 0) {
                            hdr.ethernet.dst_mac = ALL_NODES_MAC;
                        }
                        hdr.ipv6.dst_addr = ALL_NODES;
                        hdr.nd.flags = ND_ROUTER_OVERRIDE;
                    } else {
                        hdr.ipv6.dst_addr = hdr.ipv6.src_addr;
                        hdr.nd.flags = ND_ROUTER_SOLICITED_OVERRIDE;
                    }
                    answer_solicitation();
                }
            }
        }
    }
}
