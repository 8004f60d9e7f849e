// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Step 9: how the packet reaches its member, or the client. Here it is decided; egress does it.

control members(inout headers_t hdr, inout metadata_t meta) {
    @id(MEMBER_COUNTER_ID)
    direct_counter(CounterType.packets_and_bytes) member_counter;

    @id(NAT_TO_MEMBER_ACTION_ID)
    action nat_to_member(address_t address, port_t port) {
        meta.rewrite = REWRITE_DESTINATION;
        meta.new_addr = address;
        meta.new_port = port;
        meta.route_addr = address;
    }

    // Direct server return: the packet stays as it is, the member has the VIP on its loopback.
    @id(DSR_TO_MEMBER_ACTION_ID)
    action dsr_to_member(address_t address) {
        meta.route_addr = address;
    }

    @id(IPIP_TO_MEMBER_ACTION_ID)
    action ipip_to_member(address_t outer_src, address_t outer_dst) {
        meta.rewrite = REWRITE_ENCAPSULATE;
        meta.outer_src = outer_src;
        meta.new_addr = outer_dst;
        meta.route_addr = outer_dst;
    }

    // Between members of the cluster a packet travels once, whatever they believe of each other.
    action refuse_loop() {
        meta.verdict = DROP;
        meta.drop_reason = DROP_PEER_LOOP;
    }

    action member_gone() {
        meta.verdict = DROP;
        meta.drop_reason = DROP_MEMBER_GONE;
    }

    @id(MEMBER_TABLE_ID)
    table member_table {
        key = {
            meta.member_id: exact @name("member_id");
        }
        actions = {
            nat_to_member;
            dsr_to_member;
            ipip_to_member;
            @defaultonly member_gone;
        }
        const default_action = member_gone;
        counters = member_counter;
        size = MEMBER_TABLE_SIZE;
    }

    apply {
        if (meta.reply_of_member) {
            meta.rewrite = REWRITE_SOURCE;
            meta.new_addr = meta.vip_addr;
            meta.new_port = meta.vip_port;
        } else if (meta.session_known && meta.from_client) {
            if (meta.to_peer && meta.from_peer) {
                refuse_loop();
            } else {
                member_table.apply();
            }
        }
    }
}
