// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// What came in is verified once; a rewrite updates incrementally (RFC 1624), as hardware would; only a header
// that the program itself makes is summed as a whole.

#ifndef CHECKSUMS_P4
#define CHECKSUMS_P4

// A change of a packet is one number, its delta: the one's complement sum of the words that come and of the
// complements of those that go. RFC 1624, equation 3: HC' = ~(~HC + delta).
bit<16> adjust(in bit<16> checksum, in bit<16> delta) {
    bit<32> sum = (bit<32>)(~checksum) + (bit<32>)delta;
    return ~(sum[15:0] + sum[31:16]);
}

control verify_checksums(inout headers_t hdr, inout metadata_t meta) {
    apply {
        verify_checksum(hdr.ipv4.isValid() && hdr.ipv4.ihl == 5,
            { hdr.ipv4.version, hdr.ipv4.ihl, hdr.ipv4.traffic_class, hdr.ipv4.total_length,
              hdr.ipv4.identification, hdr.ipv4.reserved, hdr.ipv4.dont_fragment,
              hdr.ipv4.more_fragments, hdr.ipv4.fragment_offset, hdr.ipv4.ttl, hdr.ipv4.protocol,
              hdr.ipv4.src_addr, hdr.ipv4.dst_addr },
            hdr.ipv4.checksum, HashAlgorithm.csum16);
        verify_checksum(hdr.tunnelled_ipv4.isValid() && hdr.tunnelled_ipv4.ihl == 5,
            { hdr.tunnelled_ipv4.version, hdr.tunnelled_ipv4.ihl, hdr.tunnelled_ipv4.traffic_class,
              hdr.tunnelled_ipv4.total_length, hdr.tunnelled_ipv4.identification, hdr.tunnelled_ipv4.reserved,
              hdr.tunnelled_ipv4.dont_fragment, hdr.tunnelled_ipv4.more_fragments,
              hdr.tunnelled_ipv4.fragment_offset, hdr.tunnelled_ipv4.ttl, hdr.tunnelled_ipv4.protocol,
              hdr.tunnelled_ipv4.src_addr, hdr.tunnelled_ipv4.dst_addr },
            hdr.tunnelled_ipv4.checksum, HashAlgorithm.csum16);
    }
}

control compute_checksums(inout headers_t hdr, inout metadata_t meta) {
    apply {
        update_checksum(hdr.outer_ipv4.isValid(),
            { hdr.outer_ipv4.version, hdr.outer_ipv4.ihl, hdr.outer_ipv4.traffic_class,
              hdr.outer_ipv4.total_length, hdr.outer_ipv4.identification, hdr.outer_ipv4.reserved,
              hdr.outer_ipv4.dont_fragment, hdr.outer_ipv4.more_fragments,
              hdr.outer_ipv4.fragment_offset, hdr.outer_ipv4.ttl, hdr.outer_ipv4.protocol,
              hdr.outer_ipv4.src_addr, hdr.outer_ipv4.dst_addr },
            hdr.outer_ipv4.checksum, HashAlgorithm.csum16);
        // The responder's neighbour advertisement (RFC 4443, 2.3); for a solicitation of the controller's own,
        // which passes here too, the sum stays what it was.
        update_checksum(hdr.nd_option.isValid(),
            { hdr.ipv6.src_addr, hdr.ipv6.dst_addr, 16w0, hdr.ipv6.payload_length, 24w0,
              hdr.ipv6.next_header, hdr.icmp.type, hdr.icmp.code, hdr.nd.flags, hdr.nd.target,
              hdr.nd_option.type, hdr.nd_option.length, hdr.nd_option.mac },
            hdr.icmp.checksum, HashAlgorithm.csum16);
    }
}

#endif  // CHECKSUMS_P4
