// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Step 1: packets from the controller.

control packet_out_handler(inout headers_t hdr, inout metadata_t meta) {
    apply {
        if (hdr.packet_out.isValid()) {
            if (hdr.packet_out.submit_to_ingress == 0) {
                meta.egress_port = hdr.packet_out.egress_port[8:0];
                meta.verdict = EMIT;
                if (hdr.packet_out.egress_port > LAST_PORT || hdr.packet_out.egress_port == CPU_PORT) {
                    meta.verdict = DROP;
                    meta.drop_reason = DROP_BAD_PACKET_OUT;
                }
            }
            hdr.packet_out.setInvalid();
        }
    }
}
