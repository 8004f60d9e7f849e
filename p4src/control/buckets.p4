// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Which of the virtual MACs is a host's: h(host) = base | bucket. All that there are differ from base in bits of
// mask alone. Told to the host by the responder, written towards it by routing.

control buckets(in mac_t host, in mac_t base, in mac_t mask, in bit<1> by_crc, inout mac_t virtual_mac) {
    bit<32> bucket;

    action take_remainder() {
        virtual_mac = base | (host & mask);
    }

    // CRC-32 of IEEE 802.3, whole: the bound is 2^32.
    action take_crc() {
        hash(bucket, HashAlgorithm.crc32, 32w0, { host }, 33w0x100000000);
        virtual_mac = base | (16w0 ++ bucket & mask);
    }

    apply {
        if (by_crc == 1) {
            take_crc();
        } else {
            take_remainder();
        }
    }
}
