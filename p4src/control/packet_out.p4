// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Step 1: packets from the controller.

control packet_out_handler(inout headers_t hdr, inout metadata_t meta) {
    action refuse() {
        meta.verdict = DROP;
        meta.drop_reason = DROP_BAD_PACKET_OUT;
    }

    apply {
        if (hdr.packet_out.isValid()) {
            meta.from_peer = hdr.packet_out.from_peer == 1;
            if (hdr.packet_out.submit_to_ingress == PACKET_OUT_EMIT) {
                meta.egress_port = hdr.packet_out.egress_port[8:0];
                meta.verdict = EMIT;
                if (hdr.packet_out.egress_port > LAST_PORT || hdr.packet_out.egress_port == CPU_PORT) {
                    refuse();
                }
            } else if (hdr.packet_out.submit_to_ingress == PACKET_OUT_RELEASE ||
                       hdr.packet_out.submit_to_ingress == PACKET_OUT_RELEASE_FROM_MEMBER) {
                // The controller knows the session: there is nothing to look up, and no news in its flags.
                meta.protocol = NO_PROTOCOL;
                meta.tcp_flags = 0;
                meta.from_client = hdr.packet_out.submit_to_ingress == PACKET_OUT_RELEASE;
                meta.session_known = hdr.packet_out.member_id != 0 || !meta.from_client;
                meta.member_id = hdr.packet_out.member_id;
            } else if (hdr.packet_out.submit_to_ingress == PACKET_OUT_SUBMIT_HELD) {
                meta.held = true;
            } else if (hdr.packet_out.submit_to_ingress != PACKET_OUT_SUBMIT) {
                refuse();
            }
            hdr.packet_out.setInvalid();
        }
    }
}
