// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// The largest segment that a side of a TCP session announces in its SYN, made small enough for a tunnel between
// members of the cluster (RFC 9293, 3.7.1). Only as the first option: that is where every stack we know writes it.

control segment_size(inout headers_t hdr, inout metadata_t meta) {
    bit<1> is_ipv6 = 0;
    bit<16> largest = 0;

    @id(CLAMP_MSS_ACTION_ID)
    action clamp_mss(bit<16> max) {
        largest = max;
    }

    // What fits, in bytes, by the session's family. Without an entry every segment does.
    @id(MSS_TABLE_ID)
    table mss_table {
        key = {
            is_ipv6: exact @name("is_ipv6");
        }
        actions = {
            clamp_mss;
            @defaultonly NoAction;
        }
        const default_action = NoAction;
        size = MSS_TABLE_SIZE;
    }

    apply {
        if ((meta.session_known || meta.reply_of_member) && !meta.bypassed &&
            hdr.tcp_option.kind == TCP_OPTION_MSS && hdr.tcp_option.length == TCP_OPTION_MSS_LENGTH) {
            is_ipv6 = hdr.ipv6.isValid() ? 1w1 : 1w0;
            if (mss_table.apply().hit && hdr.tcp_option.value > largest) {
                hdr.tcp.checksum = adjust(hdr.tcp.checksum, ~hdr.tcp_option.value);
                hdr.tcp.checksum = adjust(hdr.tcp.checksum, largest);
                hdr.tcp_option.value = largest;
            }
        }
    }
}
