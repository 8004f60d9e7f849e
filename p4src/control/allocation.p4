// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Where steps 6 and 7 lead: a member for a packet of a service whose session has no entry. The flow cache
// remembers a session from its first packet until the controller's entry arrives, however long that takes.
//
// The cache has two ways. A flow has two hashes; each way is indexed by the low bits of one and recognises the
// flow by the other. A slot is never cleared: it stops matching when it has not been used for
// FLOW_CACHE_LIFETIME, and may be taken by another flow after FLOW_CACHE_CONTENTION. A session whose digest may
// have been lost is announced again after FLOW_CACHE_REANNOUNCE.

control allocation(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    @id(SCHEDULE_CURSOR_ID)
    register<bit<16>>(SCHEDULE_CURSOR_SIZE) schedule_cursor;  // by vip_id: the slot that the next session takes

    // successor[144] fingerprint[143:112] member_id[111:96] first_sequence[95:64] seen[63:32] announced[31:0]
    @id(FLOW_CACHE_A_ID)
    register<bit<145>>(FLOW_CACHE_SIZE) flow_cache_a;

    @id(FLOW_CACHE_B_ID)
    register<bit<145>>(FLOW_CACHE_SIZE) flow_cache_b;

    action refuse(drop_reason_t reason) {
        meta.verdict = DROP;
        meta.drop_reason = reason;
    }

    @id(ASSIGN_MEMBER_ACTION_ID)
    action assign_member(member_id_t member_id) {
        meta.member_id = member_id;
    }

    action ask_controller(punt_reason_t reason) {
        meta.verdict = PUNT;
        meta.punt_reason = reason;
        meta.punt_detail = 0;
    }

    // The peers are to know of a session before its first packet leaves.
    action tell_peers_first() {
        meta.verdict = PUNT;
        meta.punt_reason = PUNT_NEW_SESSION;
        meta.punt_detail = meta.member_id;
        meta.punt_address = (address_t)meta.vip_id;
    }

    action no_member() {
        meta.verdict = DROP;
        meta.drop_reason = DROP_NO_MEMBER;
    }

    // The proxies to be allocated next, as the controller has pre-loaded them (seed 001, section 3).
    @id(SCHEDULE_TABLE_ID)
    table schedule_table {
        key = {
            meta.vip_id: exact @name("vip_id");
            meta.schedule_slot: exact @name("slot");
        }
        actions = {
            assign_member;
            @defaultonly no_member;
        }
        const default_action = no_member;
        size = SCHEDULE_TABLE_SIZE;
    }

    action take_hashed_slot() {
        hash(meta.schedule_slot, HashAlgorithm.crc32, 16w0,
             { meta.addr_hi, meta.port_lo, meta.port_hi, meta.addr_lo, meta.protocol }, meta.schedule_size);
    }

    action take_next_slot() {
        schedule_cursor.read(meta.schedule_slot, (bit<32>)meta.vip_id);
        if (meta.schedule_slot >= meta.schedule_size) {
            meta.schedule_slot = 0;  // the schedule has become shorter
        }
        schedule_cursor.write((bit<32>)meta.vip_id,
                              meta.schedule_slot + 1 >= meta.schedule_size ? 16w0 : meta.schedule_slot + 1);
    }

    apply {
        bit<32> hash_a;
        bit<32> hash_b;
        bit<145> slot_a;
        bit<145> slot_b;
        cache_time_t now = standard_metadata.ingress_global_timestamp[41:10] + 1;  // 0: a slot never used
        hash(hash_a, HashAlgorithm.crc32, 32w0,
             { meta.addr_lo, meta.port_lo, meta.addr_hi, meta.port_hi, meta.protocol }, 64w0x100000000);
        hash(hash_b, HashAlgorithm.crc32, 32w0,
             { meta.port_hi, meta.protocol, meta.addr_hi, meta.addr_lo, meta.port_lo }, 64w0x100000000);
        bit<32> index_a = (bit<32>)hash_a[FLOW_CACHE_INDEX];
        bit<32> index_b = (bit<32>)hash_b[FLOW_CACHE_INDEX];
        flow_cache_a.read(slot_a, index_a);
        flow_cache_b.read(slot_b, index_b);
        cache_time_t age_a = slot_a[63:32] == 0 ? FLOW_CACHE_NEVER : now - slot_a[63:32];
        cache_time_t age_b = slot_b[63:32] == 0 ? FLOW_CACHE_NEVER : now - slot_b[63:32];
        bool in_a = slot_a[143:112] == hash_b && age_a < FLOW_CACHE_LIFETIME;
        bool in_b = !in_a && slot_b[143:112] == hash_a && age_b < FLOW_CACHE_LIFETIME;

        // A SYN with another sequence number is another session; with the same one, a retransmission
        // (RFC 9293, 3.8.1). Every other packet is known by its flow alone. Beside the
        // entry of an ended session only its successor counts: the ended one may have moved to another member.
        bit<145> slot = in_a ? slot_a : slot_b;
        bool is_syn = meta.opens == 1 && meta.protocol == PROTOCOL_TCP;
        bit<32> sequence = is_syn ? hdr.tcp.sequence : slot[95:64];
        bit<1> successor = meta.session_known ? 1w1 : 1w0;
        bool remembered = (in_a || in_b) && sequence == slot[95:64] &&
                          (!meta.session_known || slot[144:144] == 1);
        // A datagram looks the same whether it opens a session or belongs to one that a peer has.
        bool may_open = meta.opens == 1 && (meta.shared == 0 || is_syn || meta.held || meta.session_known);
        meta.from_client = true;

        if (remembered) {
            meta.member_id = slot[111:96];
            meta.session_known = true;
            meta.announced = now - slot[31:0] > FLOW_CACHE_REANNOUNCE;
            successor = slot[144:144];
        } else if (may_open) {
            if (meta.by_hash && meta.schedule_size != 0) {
                take_hashed_slot();
            } else {
                take_next_slot();
            }
            if (schedule_table.apply().hit) {
                meta.session_known = true;
                meta.announced = true;
            }
        } else if (!meta.session_known) {
            if (meta.shared == 0 || meta.is_icmp_error) {
                refuse(DROP_NO_SESSION);
            } else if (meta.held) {
                refuse(DROP_HOLD_EXPIRED);
            } else {
                ask_controller(PUNT_UNKNOWN_FLOW);
            }
        }

        if (meta.verdict == UNDECIDED && (remembered || meta.announced)) {
            bool to_b = in_b || (!in_a && age_b > age_a);
            bool to_free = in_a || in_b || (to_b ? age_b : age_a) > FLOW_CACHE_CONTENTION;
            slot[144:144] = successor;
            slot[111:96] = meta.member_id;
            slot[95:64] = sequence;
            slot[63:32] = now;
            slot[31:0] = meta.announced ? now : slot[31:0];
            if (to_free && to_b) {
                slot[143:112] = hash_a;
                flow_cache_b.write(index_b, slot);
            } else if (to_free) {
                slot[143:112] = hash_b;
                flow_cache_a.write(index_a, slot);
            }
        }
        if (meta.verdict == UNDECIDED && meta.shared == 1 && !meta.is_icmp_error && (remembered || meta.announced)) {
            tell_peers_first();
        } else if (meta.announced) {
            digest<new_flow_t>(1, { meta.addr_lo, meta.addr_hi, meta.port_lo, meta.port_hi, meta.protocol,
                                    meta.src_is_hi ? 8w1 : 8w0, meta.tcp_flags, meta.vip_id,
                                    meta.member_id });
        }
    }
}
