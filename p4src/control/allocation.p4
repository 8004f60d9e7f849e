// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Where steps 6 and 7 lead: a member for a packet of a service whose session has no entry. The flow cache
// remembers a session from its first packet until the controller's entry arrives, however long that takes.
//
// The cache is an array of sets of two slots, A and B, and a flow has its place in one set: one line of memory
// to look at. A slot is never cleared: it stops matching when it has not been used for FLOW_CACHE_LIFETIME, and
// may be taken by another flow after FLOW_CACHE_CONTENTION, or at once after the client's FIN, so that short
// sessions leave room for those that follow; a RST may be forged, and then the session goes on by its slot alone.
// A session whose digest may have been lost is announced again after FLOW_CACHE_REANNOUNCE.

// A slot of the flow cache, bit by bit.
#define SLOT_FINGERPRINT 127:96
#define SLOT_SEQUENCE 95:64  // of the session's SYN
#define SLOT_SEEN 63:32
#define SLOT_MEMBER 31:16
#define SLOT_ANNOUNCED 15:2
#define SLOT_OVER 1:1       // the client's FIN was seen: another flow may take the slot at once
#define SLOT_SUCCESSOR 0:0  // it was taken beside the entry of an ended session

control allocation(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    @id(SCHEDULE_CURSOR_ID)
    register<bit<16>>(SCHEDULE_CURSOR_SIZE) schedule_cursor;  // by vip_id: the slot that the next session takes

    @id(FLOW_CACHE_ID)
    register<bit<256>>(FLOW_CACHE_SIZE) flow_cache;  // B[255:128] A[127:0]

    // The flow cache's answer to a packet.
    bit<64> flow_mix;
    bit<32> set_index;
    bit<32> fingerprint;
    cache_time_t now;
    bit<256> slots;
    bit<128> slot;  // the flow's, or the one to take
    bool use_b;     // which one that is
    bool is_ours;
    bool is_free;   // to be written: ours, or unused for long enough

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

    // Place and fingerprint are bits of a product mixed from a sum over the whole key (docs/decisions/0001). It
    // has an action of its own, or the compiler would write it out wherever it is used.
    action mix_flow() {
        flow_mix = meta.addr_lo[127:64];
        flow_mix = flow_mix * FLOW_HASH_FACTOR + meta.addr_lo[63:0];
        flow_mix = flow_mix * FLOW_HASH_FACTOR + meta.addr_hi[127:64];
        flow_mix = flow_mix * FLOW_HASH_FACTOR + meta.addr_hi[63:0];
        flow_mix = flow_mix * FLOW_HASH_FACTOR + (24w0 ++ meta.protocol ++ meta.port_lo ++ meta.port_hi);
        flow_mix = (flow_mix ^ (flow_mix >> 32)) * FLOW_HASH_FACTOR;
        flow_mix = (flow_mix ^ (flow_mix >> 29)) * FLOW_FINGERPRINT_FACTOR;
    }

    // A slot never used is too old from the start on. Of two packets on two CPUs the first to get here may have
    // the later time, which must not look like an age of years: so ages begin with one.
    action find_slot() {
        set_index = (bit<32>)flow_mix[FLOW_CACHE_INDEX];
        fingerprint = flow_mix[FLOW_CACHE_FINGERPRINT];
        flow_cache.read(slots, set_index);
        now = standard_metadata.ingress_global_timestamp[45:14] + FLOW_CACHE_LIFETIME;
        bit<128> slot_a = slots[127:0];
        bit<128> slot_b = slots[255:128];
        cache_time_t age_a = now + 1 - slot_a[SLOT_SEEN];
        cache_time_t age_b = now + 1 - slot_b[SLOT_SEEN];
        bool in_a = slot_a[SLOT_FINGERPRINT] == fingerprint && age_a <= FLOW_CACHE_LIFETIME;
        bool in_b = slot_b[SLOT_FINGERPRINT] == fingerprint && age_b <= FLOW_CACHE_LIFETIME;
        is_ours = in_a || in_b;
        bool free_a = age_a > FLOW_CACHE_CONTENTION || slot_a[SLOT_OVER] == 1;
        bool free_b = age_b > FLOW_CACHE_CONTENTION || slot_b[SLOT_OVER] == 1;
        use_b = !in_a && (in_b || (free_b && (!free_a || age_b > age_a)));
        is_free = in_a || in_b || free_a || free_b;
        slot = use_b ? slot_b : slot_a;
    }

    // Only one slot is changed, whatever another packet did to its neighbour since.
    action keep_in_a() {
        flow_cache.read(slots, set_index);
        flow_cache.write(set_index, slots[255:128] ++ slot);
    }

    action keep_in_b() {
        flow_cache.read(slots, set_index);
        flow_cache.write(set_index, slot ++ slots[127:0]);
    }

    apply {
        mix_flow();
        find_slot();

        // A SYN with another sequence number is another session; with the same one, a retransmission
        // (RFC 9293, 3.8.1). Every other packet is known by its flow alone. Beside the entry of an ended
        // session only its successor counts: the ended one may have moved to another member.
        bool is_syn = meta.opens == 1 && meta.protocol == PROTOCOL_TCP;
        bit<32> sequence = is_syn ? hdr.tcp.sequence : slot[SLOT_SEQUENCE];
        bool remembered = is_ours && sequence == slot[SLOT_SEQUENCE] &&
                          (!meta.session_known || slot[SLOT_SUCCESSOR] == 1);
        bit<1> successor = (bit<1>)meta.session_known | ((bit<1>)remembered & slot[SLOT_SUCCESSOR]);
        // A datagram looks the same whether it opens a session or is of one that a peer has.
        bool may_open = meta.opens == 1 && (meta.shared == 0 || is_syn || meta.held || meta.session_known);
        meta.from_client = true;

        if (remembered) {
            meta.member_id = slot[SLOT_MEMBER];
            meta.session_known = true;
            meta.announced = (announced_t)now + 1 - slot[SLOT_ANNOUNCED] > FLOW_CACHE_REANNOUNCE;
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

        if ((remembered || meta.announced) && is_free) {
            announced_t announced = meta.announced ? (announced_t)now : slot[SLOT_ANNOUNCED];
            bool ends = (meta.tcp_flags & TCP_FIN) != 0;
            bit<1> over = (bit<1>)ends | ((bit<1>)remembered & slot[SLOT_OVER]);
            slot = fingerprint ++ sequence ++ now ++ meta.member_id ++ announced ++ over ++ successor;
            if (use_b) {
                keep_in_b();
            } else {
                keep_in_a();
            }
        }
        if (meta.shared == 1 && !meta.is_icmp_error && (remembered || meta.announced)) {
            tell_peers_first();
        } else if (meta.announced) {
            digest<new_flow_t>(1, { meta.addr_lo, meta.addr_hi, meta.port_lo, meta.port_hi, meta.protocol,
                                    meta.src_is_hi ? 8w1 : 8w0, meta.tcp_flags, meta.vip_id,
                                    meta.member_id, is_free ? 8w1 : 8w0 });
        }
    }
}
