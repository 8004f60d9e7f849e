// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Step 4: is this frame for us, and may the packet in it go one hop further? Asked before a session is begun.

// What holds for every frame that is ours, whichever of our MACs it has.
control accepted_frame(in headers_t hdr, inout metadata_t meta) {
    apply {
        if (hdr.ethernet.ether_type == ETHER_TYPE_GATEWAY_FRAME) {
            meta.verdict = DROP;
            meta.drop_reason = DROP_UNKNOWN_ETHER_TYPE;
        } else if (meta.ttl <= 1) {
            meta.verdict = PUNT;
            meta.punt_reason = PUNT_TTL_EXPIRED;
        }
    }
}

control admission(inout headers_t hdr, inout metadata_t meta) {
    accepted_frame() accepted;

    @id(ADMIT_ACTION_ID)
    action admit() {}

    // Not a router's; virtual_macs.p4 knows whether it is a virtual one of ours.
    action suppose_virtual() {
        meta.virtual_mac = hdr.ethernet.dst_mac;
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
            @defaultonly suppose_virtual;
        }
        const default_action = suppose_virtual;
        size = ADMISSION_TABLE_SIZE;
    }

    apply {
        if (admission_table.apply().hit) {
            accepted.apply(hdr, meta);
        } else if (hdr.ethernet.dst_mac == 0) {
            meta.verdict = DROP;  // as a virtual_mac it would mean that there is none
            meta.drop_reason = DROP_NOT_OUR_MAC;
        }
    }
}
