// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Step 4: is this frame for us, and may the packet in it go one hop further? Asked before a session is begun.

control admission(inout headers_t hdr, inout metadata_t meta) {
    @id(ADMIT_ACTION_ID)
    action admit() {}

    action refuse() {
        meta.verdict = DROP;
        meta.drop_reason = DROP_NOT_OUR_MAC;
    }

    // The router MACs, by the port they are reached through.
    @id(ADMISSION_TABLE_ID)
    table admission_table {
        key = {
            meta.ingress_port: exact @name("port");
            hdr.ethernet.dst_mac: exact @name("mac");
        }
        actions = {
            admit;
            @defaultonly refuse;
        }
        const default_action = refuse;
        size = ADMISSION_TABLE_SIZE;
    }

    apply {
        if (admission_table.apply().hit && meta.ttl <= 1) {
            meta.verdict = PUNT;
            meta.punt_reason = PUNT_TTL_EXPIRED;
        }
    }
}
