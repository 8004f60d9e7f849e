// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Before anything is decided by a packet's contents: is it whole, and could an honest host have sent it? Of a
// tunnel that is the outer header's matter; what it holds is asked when the tunnel has been taken off.

control sanity(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    action refuse(drop_reason_t reason) {
        meta.verdict = DROP;
        meta.drop_reason = reason;
    }

    apply {
        // The frame's length without Ethernet, and the least that the headers we read must take. A submitted
        // packet-out carries its controller header in packet_length, which only makes the test milder.
        bit<32> room = standard_metadata.packet_length - (bit<32>)ETHERNET_LENGTH;
        bit<16> least = 0;
        if (hdr.ipv4.isValid()) {
            least = IPV4_LENGTH;
        } else if (hdr.ipv6.isValid()) {
            least = IPV6_LENGTH;
        }
        if (hdr.tcp.isValid()) {
            least = least + TCP_LENGTH;
            if (hdr.tcp_option.isValid()) {
                least = least + TCP_OPTION_LENGTH;
            }
        } else if (hdr.udp.isValid()) {
            least = least + UDP_LENGTH;
        }

        if (standard_metadata.parser_error != error.NoError) {
            refuse(DROP_MALFORMED);
        } else if (hdr.ipv4.isValid() || hdr.ipv6.isValid()) {
            if ((hdr.ipv4.isValid() && (hdr.ipv4.version != 4 || hdr.ipv4.ihl < 5)) ||
                (hdr.ipv6.isValid() && hdr.ipv6.version != 6) ||
                meta.ip_length < least || (bit<32>)meta.ip_length > room ||
                (hdr.tcp.isValid() && hdr.tcp.data_offset < 5 && !meta.in_tunnel) ||
                (meta.is_icmp_error && meta.dst_addr != meta.route_addr && !meta.in_tunnel)) {
                refuse(DROP_MALFORMED);
            } else if (hdr.ipv4.isValid() && hdr.ipv4.ihl != 5) {
                refuse(DROP_IP_OPTIONS);
            } else if (standard_metadata.checksum_error == 1) {
                refuse(DROP_BAD_CHECKSUM);
            } else if (hdr.ipv4.isValid() &&
                       (hdr.ipv4.src_addr[31:28] >= 0xe || hdr.ipv4.src_addr[31:24] == 127 ||
                        hdr.ipv4.src_addr[31:24] == 0)) {
                refuse(DROP_MARTIAN);
            } else if (hdr.ipv6.isValid() &&
                       (hdr.ipv6.src_addr[127:120] == 0xff || hdr.ipv6.src_addr == 1 ||
                        hdr.ipv6.src_addr[127:32] == IPV4_MAPPED ||
                        hdr.ipv6.dst_addr[127:32] == IPV4_MAPPED)) {
                refuse(DROP_MARTIAN);  // ::ffff:0:0/96 would pass for IPv4 in our tables
            }
        } else if (!hdr.arp.isValid() && hdr.ethernet.ether_type != ETHER_TYPE_GATEWAY_FRAME) {
            refuse(DROP_UNKNOWN_ETHER_TYPE);
        }
    }
}
