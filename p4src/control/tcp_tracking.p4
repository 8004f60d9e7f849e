// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Step 8: what a box in the middle can learn of a TCP session: the flags of both directions (seed 001, 4.1).

// A packet sends one digest at most: one that announces its session carries its flags there. What a peer serves is
// tracked there.

control tcp_tracking(inout headers_t hdr, inout metadata_t meta) {
    apply {
        if ((meta.tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)) != 0 &&
            (meta.session_known || meta.reply_of_member) && !meta.announced && !meta.is_icmp_error &&
            !meta.to_peer) {
            digest<tcp_event_t>(1, { meta.addr_lo, meta.addr_hi, meta.port_lo, meta.port_hi,
                                     meta.src_is_hi ? 8w1 : 8w0, meta.tcp_flags });
        }
    }
}
