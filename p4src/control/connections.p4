// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Step 5: which session is this packet of, and what does the controller say of it?

control connections(inout headers_t hdr, inout metadata_t meta) {
    @id(NAT_SOURCE_COUNTER_ID)
    direct_counter(CounterType.packets_and_bytes) nat_source_counter;

    @id(CONNECTION_COUNTER_ID)
    direct_counter(CounterType.packets_and_bytes) connection_counter;

    @id(RESTORE_VIP_ACTION_ID)
    action restore_vip(address_t vip_addr, port_t vip_port) {
        meta.reply_of_member = true;
        meta.vip_addr = vip_addr;
        meta.vip_port = vip_port;
    }

    // A NAT member's endpoint names the VIP its replies come from, so a session needs no entry for its way back.
    @id(NAT_SOURCE_TABLE_ID)
    table nat_source_table {
        key = {
            meta.src_addr: exact @name("address");
            meta.src_port: exact @name("port");
            meta.protocol: exact @name("protocol");
        }
        actions = {
            restore_vip;
            @defaultonly NoAction;
        }
        const default_action = NoAction;
        counters = nat_source_counter;
        size = NAT_SOURCE_TABLE_SIZE;
    }

    @id(FORWARD_TO_MEMBER_ACTION_ID)
    action forward_to_member(member_id_t member_id, bit<1> client_is_hi, bit<1> closing) {
        meta.session_known = true;
        meta.member_id = member_id;
        meta.from_client = meta.src_is_hi == (client_is_hi == 1);
        meta.closing = closing == 1;
    }

    // Another member of the cluster has the session: what its far end sends, client or server, goes there. What
    // the other end sends comes from that member itself, and goes where its route leads.
    @id(FORWARD_TO_PEER_ACTION_ID)
    action forward_to_peer(member_id_t member_id, bit<1> far_is_hi) {
        meta.session_known = true;
        meta.from_client = meta.src_is_hi == (far_is_hi == 1);
        meta.to_peer = true;
        meta.member_id = member_id;
    }

    @id(BYPASS_CONNECTION_ACTION_ID)
    action bypass_connection() {
        meta.session_known = true;
        meta.from_client = false;
        meta.bypassed = true;
    }

    @id(RESET_CONNECTION_ACTION_ID)
    action reset_connection() {
        meta.verdict = PUNT;
        meta.punt_reason = PUNT_RESET_SESSION;
    }

    @id(DENY_CONNECTION_ACTION_ID)
    action deny_connection() {
        meta.verdict = DROP;
        meta.drop_reason = DROP_DENIED;
    }

    @id(CONNECTION_TABLE_ID)
    table connection_table {
        key = {
            meta.addr_lo: exact @name("addr_lo");
            meta.addr_hi: exact @name("addr_hi");
            meta.port_lo: exact @name("port_lo");
            meta.port_hi: exact @name("port_hi");
            meta.protocol: exact @name("protocol");
        }
        actions = {
            forward_to_member;
            forward_to_peer;
            bypass_connection;
            reset_connection;
            deny_connection;
            @defaultonly NoAction;
        }
        const default_action = NoAction;
        counters = connection_counter;
        support_timeout = true;
        size = CONNECTION_TABLE_SIZE;
    }

    apply {
        nat_source_table.apply();
        address_t src_addr = meta.src_addr;
        port_t src_port = meta.src_port;
        if (meta.reply_of_member) {
            src_addr = meta.vip_addr;
            src_port = meta.vip_port;
        }
        meta.src_is_hi = src_addr > meta.dst_addr || (src_addr == meta.dst_addr && src_port > meta.dst_port);
        if (meta.src_is_hi) {
            meta.addr_lo = meta.dst_addr;
            meta.port_lo = meta.dst_port;
            meta.addr_hi = src_addr;
            meta.port_hi = src_port;
        } else {
            meta.addr_lo = src_addr;
            meta.port_lo = src_port;
            meta.addr_hi = meta.dst_addr;
            meta.port_hi = meta.dst_port;
        }
        connection_table.apply();
    }
}
