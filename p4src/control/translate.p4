// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// NAT: one endpoint becomes another, in the packet itself or in the one that an ICMP error quotes. A quoted IPv4
// header corrects its own sum, so that ICMP's sum over it stays.
//
// A quoted TCP or UDP checksum stays as it was: who reads the quotation goes by its ports (RFC 5508, 3.2 allows
// for checksums that a NAT could not correct).

control translate(inout headers_t hdr, inout metadata_t meta) {
    address_t gone_addr = 0;
    port_t gone_port = 0;

    action weigh(address_t old_addr, port_t old_port) {
        gone_addr = ~old_addr;
        gone_port = ~old_port;
        hash(meta.address_delta, HashAlgorithm.csum16, 16w0, { meta.new_addr, gone_addr }, 32w0x10000);
        hash(meta.endpoint_delta, HashAlgorithm.csum16, 16w0,
             { meta.new_addr, gone_addr, meta.new_port, gone_port }, 32w0x10000);
        hash(meta.port_delta, HashAlgorithm.csum16, 16w0, { meta.new_port, gone_port }, 32w0x10000);
        meta.address_delta = ~meta.address_delta;
        meta.endpoint_delta = ~meta.endpoint_delta;
        meta.port_delta = ~meta.port_delta;
    }

    // The outer addresses. ICMPv6 sums them in its pseudo-header.
    action translate_destination() {
        hdr.ipv4.dst_addr = meta.new_addr[31:0];
        hdr.ipv6.dst_addr = meta.new_addr;
        hdr.ipv4.checksum = adjust(hdr.ipv4.checksum, meta.address_delta);
    }

    action translate_source() {
        hdr.ipv4.src_addr = meta.new_addr[31:0];
        hdr.ipv6.src_addr = meta.new_addr;
        hdr.ipv4.checksum = adjust(hdr.ipv4.checksum, meta.address_delta);
    }

    apply {
        bool to_member = meta.rewrite == REWRITE_DESTINATION;
        bool adds_pseudo_header = hdr.ipv6.isValid();
        if (to_member) {
            weigh(meta.dst_addr, meta.dst_port);
            translate_destination();
        } else {
            weigh(meta.src_addr, meta.src_port);
            if (!meta.is_icmp_error || (hdr.ipv4.isValid() && hdr.ipv4.src_addr == meta.src_addr[31:0]) ||
                (hdr.ipv6.isValid() && hdr.ipv6.src_addr == meta.src_addr)) {
                translate_source();
            } else {
                adds_pseudo_header = false;  // an error that a router on the way wrote keeps its author
            }
        }

        if (hdr.tcp.isValid()) {
            hdr.tcp.checksum = adjust(hdr.tcp.checksum, meta.endpoint_delta);
            if (to_member) {
                hdr.tcp.dst_port = meta.new_port;
            } else {
                hdr.tcp.src_port = meta.new_port;
            }
        } else if (hdr.udp.isValid()) {
            if (hdr.udp.checksum != 0) {
                hdr.udp.checksum = adjust(hdr.udp.checksum, meta.endpoint_delta);
                if (hdr.udp.checksum == 0) {
                    hdr.udp.checksum = 0xffff;  // RFC 768: zero means none
                }
            }
            if (to_member) {
                hdr.udp.dst_port = meta.new_port;
            } else {
                hdr.udp.src_port = meta.new_port;
            }
        } else if (meta.is_icmp_error) {
            hdr.icmp.checksum = adjust(hdr.icmp.checksum, meta.port_delta);
            if (adds_pseudo_header) {
                hdr.icmp.checksum = adjust(hdr.icmp.checksum, meta.address_delta);
            }
            if (hdr.inner_ipv4.isValid()) {
                hdr.inner_ipv4.checksum = adjust(hdr.inner_ipv4.checksum, meta.address_delta);
            } else {
                hdr.icmp.checksum = adjust(hdr.icmp.checksum, meta.address_delta);
            }
            if (to_member) {
                hdr.inner_ipv4.src_addr = meta.new_addr[31:0];
                hdr.inner_ipv6.src_addr = meta.new_addr;
                hdr.inner_ports.src_port = meta.new_port;
            } else {
                hdr.inner_ipv4.dst_addr = meta.new_addr[31:0];
                hdr.inner_ipv6.dst_addr = meta.new_addr;
                hdr.inner_ports.dst_port = meta.new_port;
            }
        }
    }
}
