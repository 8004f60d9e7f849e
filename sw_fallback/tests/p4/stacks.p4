// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// A parser with a loop over a header stack, lookahead, advance, verify and a varbit header; pushes, pops and copies.

#include <core.p4>
#include <v1model.p4>

error {
    BadVersion
}

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> type;
}

header label_t {
    bit<20> label;
    bit<3> traffic_class;
    bit<1> bottom;
    bit<8> ttl;
}

header ipv4_t {
    bit<4> version;
    bit<4> ihl;
    bit<8> tos;
    bit<16> total_length;
    bit<16> identification;
    bit<3> flags;
    bit<13> fragment_offset;
    bit<8> ttl;
    bit<8> protocol;
    bit<16> checksum;
    bit<32> src;
    bit<32> dst;
    varbit<320> options;
}

header marker_t {
    bit<8> kind;
    bit<24> value;
}

struct headers_t {
    ethernet_t ethernet;
    label_t[4] labels;
    label_t[4] kept;
    ipv4_t ipv4;
    marker_t marker;
    marker_t copy;
}

struct metadata_t {
    bit<8> ahead;
    bit<8> depth;
}

parser stacks_parser(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.type) {
            0x8847: parse_labels;
            0x0800: parse_ipv4;
            0x1000 &&& 0xf000: parse_marker;
            0x9999: skip;
            default: accept;
        }
    }
    state parse_labels {
        packet.extract(hdr.labels.next);
        meta.depth = meta.depth + 1;
        transition select(hdr.labels.last.bottom) {
            0: parse_labels;
            default: after_labels;
        }
    }
    state after_labels {
        transition select(packet.lookahead<bit<4>>()) {
            4: parse_ipv4;
            default: accept;
        }
    }
    state parse_ipv4 {
        meta.ahead = packet.lookahead<bit<8>>();
        packet.extract(hdr.ipv4, (bit<32>)((bit<9>)(meta.ahead[3:0]) * 9w32) - 160);
        verify(hdr.ipv4.version == 4, error.BadVersion);
        transition accept;
    }
    state parse_marker {
        packet.extract(hdr.marker);
        transition select(hdr.marker.kind, hdr.marker.value) {
            (1, _): parse_ipv4;
            (2, 0x10 &&& 0xf0): skip;
            (3, 5): parse_marker_copy;
            default: accept;
        }
    }
    state parse_marker_copy {
        packet.extract(hdr.copy);
        transition accept;
    }
    state skip {
        packet.advance(32);
        packet.extract(hdr.marker);
        transition accept;
    }
}

control no_verify(inout headers_t hdr, inout metadata_t meta) {
    apply {}
}

control ingress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    action swap() {
        hdr.copy = hdr.marker;
        hdr.marker.value = 24w0xc0ffee;
    }
    apply {
        standard.egress_spec = standard.ingress_port;
        if (hdr.labels[0].isValid()) {
            if (hdr.labels[0].label == 1) {
                hdr.labels.push_front(1);
                hdr.labels[0].setValid();
                hdr.labels[0].label = 20w77;
                hdr.labels[0].ttl = 64;
            } else if (hdr.labels[0].label == 2) {
                hdr.labels.pop_front(1);
            } else if (hdr.labels[0].label == 3) {
                hdr.kept = hdr.labels;
                hdr.labels.pop_front(2);
            } else if (hdr.labels[0].label == 4) {
                hdr.labels[1].ttl = hdr.labels[1].ttl - 1;
                hdr.labels[2].setInvalid();
            } else if (hdr.labels[0].label == 5) {
                bit<32> index = (bit<32>)hdr.labels[0].ttl & 3;
                if (hdr.labels[3].isValid()) {
                    hdr.labels[index].traffic_class = 5;
                    hdr.ethernet.src[19:0] = hdr.labels[index].label;
                }
            } else if (hdr.labels[0].label == 6) {
                hdr.labels.push_front(3);
            }
        }
        if (hdr.marker.isValid() && hdr.marker.kind == 4) {
            swap();
        }
        if (hdr.marker.isValid() && hdr.copy.isValid() && hdr.marker == hdr.copy) {
            hdr.marker.value = 24w0x5a5a5a;
        }
        if (hdr.ipv4.isValid() && hdr.ipv4.ttl == 9) {
            hdr.ipv4.ttl = 8;
        }
        if (hdr.ipv4.isValid() && hdr.ipv4.ttl == 10) {
            hdr.ipv4.setInvalid();
        }
        if (standard.parser_error != error.NoError) {
            hdr.ethernet.dst = 0;
            if (standard.parser_error == error.PacketTooShort) {
                hdr.ethernet.dst = 48w1;
            } else if (standard.parser_error == error.StackOutOfBounds) {
                hdr.ethernet.dst = 48w2;
            } else if (standard.parser_error == error.BadVersion) {
                hdr.ethernet.dst = 48w3;
            } else if (standard.parser_error == error.HeaderTooShort) {
                hdr.ethernet.dst = 48w4;
            }
        }
        hdr.ethernet.src[47:40] = meta.depth;
    }
}

control egress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    apply {
        hdr.ethernet.src[39:24] = standard.packet_length[15:0];
    }
}

control update_checksums(inout headers_t hdr, inout metadata_t meta) {
    apply {
        update_checksum(hdr.ipv4.isValid() && hdr.ipv4.tos == 1,
            { hdr.ipv4.version, hdr.ipv4.ihl, hdr.ipv4.tos, hdr.ipv4.total_length, hdr.ipv4.identification,
              hdr.ipv4.flags, hdr.ipv4.fragment_offset, hdr.ipv4.ttl, hdr.ipv4.protocol, hdr.ipv4.src, hdr.ipv4.dst,
              hdr.ipv4.options }, hdr.ipv4.checksum, HashAlgorithm.csum16);
    }
}

control stacks_deparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.ethernet);
        packet.emit(hdr.labels);
        packet.emit(hdr.ipv4);
        packet.emit(hdr.marker);
        packet.emit(hdr.copy);
        packet.emit(hdr.kept);
    }
}

V1Switch(stacks_parser(), no_verify(), ingress(), egress(), update_checksums(), stacks_deparser()) main;
