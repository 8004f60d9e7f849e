// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Step 4, virtual MACs: one address, many gateways behind it (docs/decisions/0013). Is this virtual MAC ours? We
// ask for frames that have it as their destination, and for what the responder has answered with it.

control virtual_macs(inout headers_t hdr, inout metadata_t meta) {
    accepted_frame() accepted;
    bool watched = false;
    bit<16> gateway_port = 0;

    @id(VIRTUAL_MAC_COUNTER_ID)
    direct_counter(CounterType.packets_and_bytes) virtual_mac_counter;

    @id(OWN_ACTION_ID)
    action own() {}

    // It is about to become ours, or no longer is: the controller knows whether an ask has been answered.
    @id(WATCH_ACTION_ID)
    action watch() {
        watched = true;
    }

    // What no session claims is a gateway's that is a plain router, whatever its destination.
    @id(LEAD_TO_GATEWAY_ACTION_ID)
    action lead_to_gateway(bit<16> port, address_t next_hop, bit<16> mtu) {
        meta.led = true;
        gateway_port = port;
        meta.next_hop = next_hop;
        meta.mtu = mtu;
    }

    action hand_over(punt_reason_t reason, bit<16> detail, address_t address) {
        meta.verdict = PUNT;
        meta.punt_reason = reason;
        meta.punt_detail = detail;
        meta.punt_address = address;
    }

    @id(VIRTUAL_MAC_TABLE_ID)
    table virtual_mac_table {
        key = {
            meta.ingress_port: exact @name("port");
            meta.virtual_mac: exact @name("mac");
        }
        actions = {
            own;
            watch;
            lead_to_gateway;
            @defaultonly NoAction;
        }
        const default_action = NoAction;
        counters = virtual_mac_counter;
        size = VIRTUAL_MAC_TABLE_SIZE;
    }

    apply {
        bool is_ours = virtual_mac_table.apply().hit;
        bool is_ask = hdr.arp.isValid() || hdr.nd.isValid();
        // What has come to a group of MACs is not sent on (RFC 1812, 5.3.4): all the gateways have it.
        bool is_to_group = meta.verdict == UNDECIDED && meta.virtual_mac[40:40] == 1;
        if (is_ask) {
            if (!is_ours) {
                meta.verdict = CONSUMED;  // somebody else's to answer
            } else if (watched) {
                // Turned round: the asker is where the answer goes.
                mac_t asker = hdr.arp.isValid() ? hdr.arp.target_mac : hdr.ethernet.dst_mac;
                hand_over(PUNT_ASKED, hdr.nd.isValid() ? 16w1 : 16w0, (address_t)asker);
            }
        } else if (is_ours && watched && hdr.ethernet.ether_type == ETHER_TYPE_GATEWAY_FRAME) {
            hand_over(PUNT_GATEWAY_FRAME, 0, 0);
        } else if (!is_ours || is_to_group) {
            meta.verdict = DROP;
            meta.drop_reason = DROP_NOT_OUR_MAC;
        } else if (meta.verdict == UNDECIDED) {
            if (meta.led) {
                meta.egress_port = gateway_port[8:0];
            }
            accepted.apply(hdr, meta);
        }
    }
}
