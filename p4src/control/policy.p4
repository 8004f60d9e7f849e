// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Step 7: what no VIP claims: sessions that our own proxies open, and the access policy for everybody else's.

control policy(inout headers_t hdr, inout metadata_t meta) {
    bool claimed = false;

    @id(POLICY_COUNTER_ID)
    direct_counter(CounterType.packets_and_bytes) policy_counter;

    @id(CLAIM_ACTION_ID)
    action claim(vip_id_t vip_id, member_id_t member_id) {
        meta.verdict = PUNT;
        meta.punt_reason = PUNT_OUTBOUND_SESSION;
        meta.punt_detail = member_id;
        meta.punt_address = (address_t)vip_id;
    }

    // A proxy opens a session of its own, perhaps with its client's address: the answers must come to it, wherever
    // they arrive. Asked before the policy, which would intercept what it has intercepted already.
    @id(ORIGINATOR_TABLE_ID)
    table originator_table {
        key = {
            meta.ingress_port: exact @name("port");
            hdr.ethernet.src_mac: exact @name("mac");
        }
        actions = {
            claim;
            @defaultonly NoAction;
        }
        const default_action = NoAction;
        size = ORIGINATOR_TABLE_SIZE;
    }

    // As if a VIP had been hit; the packet keeps its destination, so the member takes it as it is (dsr_to_member).
    @id(INTERCEPT_ACTION_ID)
    action intercept(vip_id_t vip_id, bit<16> schedule_size, bit<1> shared) {
        meta.served = true;
        meta.by_hash = false;
        meta.vip_id = vip_id;
        meta.schedule_size = schedule_size;
        meta.shared = shared;
    }

    @id(INTERCEPT_BY_HASH_ACTION_ID)
    action intercept_by_hash(vip_id_t vip_id, bit<16> schedule_size, bit<1> shared) {
        meta.served = true;
        meta.by_hash = true;
        meta.vip_id = vip_id;
        meta.schedule_size = schedule_size;
        meta.shared = shared;
    }

    // Routed; if the whole cluster is to know, after the controller has told it.
    @id(BYPASS_ACTION_ID)
    action bypass(bit<1> shared) {
        meta.session_known = false;  // that of an ended session on the same ports
        meta.verdict = shared == 1 ? PUNT : UNDECIDED;
        meta.punt_reason = PUNT_NEW_SESSION;
        meta.punt_detail = 0;
    }

    @id(DENY_ACTION_ID)
    action deny() {
        meta.verdict = DROP;
        meta.drop_reason = DROP_DENIED;
    }

    // The rule is another member's, and so is the decision.
    @id(SEND_TO_HOLDER_ACTION_ID)
    action send_to_holder(member_id_t member_id) {
        meta.session_known = true;
        meta.from_client = true;
        meta.to_peer = true;
        meta.member_id = member_id;
    }

    // Part of a flow that may be a peer's, whose word of it has not come yet.
    @id(HOLD_ACTION_ID)
    action hold() {
        meta.verdict = meta.held ? DROP : PUNT;
        meta.drop_reason = DROP_HOLD_EXPIRED;
        meta.punt_reason = PUNT_UNKNOWN_FLOW;
        meta.punt_detail = 0;
    }

    @id(POLICY_TABLE_ID)
    table policy_table {
        key = {
            meta.ingress_port: optional @name("port");
            meta.src_addr: ternary @name("src_addr");
            meta.dst_addr: ternary @name("dst_addr");
            meta.src_port: range @name("src_port");
            meta.dst_port: range @name("dst_port");
            meta.protocol: optional @name("protocol");
            meta.opens: optional @name("opens");
        }
        actions = {
            intercept;
            intercept_by_hash;
            bypass;
            deny;
            send_to_holder;
            hold;
            @defaultonly NoAction;
        }
        const default_action = NoAction;
        counters = policy_counter;
        size = POLICY_TABLE_SIZE;
    }

    apply {
        bool has_ended = meta.session_known && meta.opens == 0;
        if (!meta.served && !meta.is_icmp_error && (!has_ended || meta.from_client)) {
            member_id_t member_id = meta.member_id;
            if (meta.opens == 1) {
                claimed = originator_table.apply().hit;
            }
            if (!claimed) {
                policy_table.apply();
            }
            // Beside the entry of an ended session a rule decides only about what opens the next one. What else
            // comes may be of that one already: then the flow cache of the service that has it knows.
            if (has_ended && !meta.served) {
                meta.verdict = UNDECIDED;
                meta.session_known = true;
                meta.to_peer = false;
                meta.member_id = member_id;
            }
        }
    }
}
