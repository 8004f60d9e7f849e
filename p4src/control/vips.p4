// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Step 6: is this packet, whose session has no entry, for a VIP?

control vips(inout metadata_t meta) {
    @id(VIP_COUNTER_ID)
    direct_counter(CounterType.packets_and_bytes) vip_counter;

    @id(SERVE_VIP_ACTION_ID)
    action serve_vip(vip_id_t vip_id, bit<16> schedule_size, bit<1> shared) {
        meta.served = true;
        meta.by_hash = false;
        meta.vip_id = vip_id;
        meta.schedule_size = schedule_size;
        meta.shared = shared;
    }

    // A new session takes the slot that its endpoints hash to, so every depot with this schedule agrees on it.
    @id(SERVE_VIP_BY_HASH_ACTION_ID)
    action serve_vip_by_hash(vip_id_t vip_id, bit<16> schedule_size, bit<1> shared) {
        meta.served = true;
        meta.by_hash = true;
        meta.vip_id = vip_id;
        meta.schedule_size = schedule_size;
        meta.shared = shared;
    }

    @id(VIP_TABLE_ID)
    table vip_table {
        key = {
            meta.dst_addr: exact @name("address");
            meta.dst_port: exact @name("port");
            meta.protocol: exact @name("protocol");
        }
        actions = {
            serve_vip;
            serve_vip_by_hash;
            @defaultonly NoAction;
        }
        const default_action = NoAction;
        counters = vip_counter;
        size = VIP_TABLE_SIZE;
    }

    apply {
        meta.opens = 0;
        if (!meta.is_icmp_error && (meta.protocol == PROTOCOL_UDP ||
                                    meta.tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN) == TCP_SYN)) {
            meta.opens = 1;
        }
        vip_table.apply();
    }
}
