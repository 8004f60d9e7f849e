// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Every way to take a frame apart and to put it together again: no tables, the frame says what is to happen.

#include <core.p4>
#include <v1model.p4>

error {
    WrongMark
}

// Fields of all kinds of widths and places.
header order_t {
    bit<16> change;  // bit i: change i of ingress
    bit<8> layout;   // what follows
    bit<8> gap;      // bytes to be skipped
    bit<3> three;
    bit<13> thirteen;
    bit<4> four;
    int<12> signed;
    bit<24> three_bytes;
    bit<40> five_bytes;
    bit<48> six_bytes;
    bit<56> seven_bytes;
    bit<7> crooked;
    bit<65> wide;
    bit<64> eight_bytes;
    bit<128> address;
}

header part_t {
    bit<8> name;
    bit<24> untouched;
    bit<16> number;
}

header long_t {
    bit<8> name;
    bit<160> content;
    bit<16> number;
}

// Never in a frame that arrives.
header seen_t {
    bit<128> address;
    bit<65> wide;
    bit<7> crooked;
    bit<16> peeked;
    bit<8> parser_error;
    bit<8> parts;
    bit<32> length;
}

struct headers_t {
    seen_t first;
    order_t order;
    seen_t middle;
    part_t left;
    part_t skipped;  // extracted, never emitted
    long_t big;
    part_t right;
    part_t copy;
    part_t last;
}

struct metadata_t {
    bit<16> peeked;
    bit<128> peeked_address;
    @field_list(1)
    bit<8> tail;
    @field_list(1, 2)
    int<12> signed;
}

parser frames_parser(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(hdr.order);
        meta.peeked = packet.lookahead<bit<16>>();
        transition select(hdr.order.layout, packet.lookahead<bit<4>>()) {
            (0, _): accept;
            (1, _): parse_left;
            (2, _): parse_big;
            (3, 0xf &&& 0xc): parse_right;
            (3, _): parse_skipped;
            (4, _): skip_some;
            (5, _): peek_address;
            (6, _): parse_right_first;
            (7 &&& 0x0f, _): parse_marked;
            default: accept;
        }
    }
    state parse_left {
        packet.extract(hdr.left);
        transition select(hdr.left.name) {
            1: parse_big;
            2: parse_right;
            0x80 &&& 0xf0: parse_last;
            default: accept;
        }
    }
    state parse_big {
        packet.extract(hdr.big);
        transition select(hdr.big.name, hdr.big.number) {
            (1, 0x0100 &&& 0x0f00): parse_right;
            (2, _): parse_last;
            default: accept;
        }
    }
    state parse_right {
        packet.extract(hdr.right);
        transition select(hdr.right.number) {
            0: accept;
            default: parse_last;
        }
    }
    state parse_last {
        packet.extract(hdr.last);
        meta.tail = hdr.last.name;
        transition accept;
    }
    state parse_skipped {
        packet.extract(hdr.skipped);
        transition parse_right;
    }
    state skip_some {
        packet.advance((bit<32>)hdr.order.gap << 2);
        transition parse_left;
    }
    state peek_address {
        meta.peeked_address = packet.lookahead<bit<128>>();
        packet.advance(24);
        transition parse_right;
    }
    state parse_right_first {
        packet.extract(hdr.right);
        packet.extract(hdr.left);
        transition accept;
    }
    state parse_marked {
        packet.extract(hdr.left);
        verify(hdr.left.number == 0x4d4d, error.WrongMark);
        packet.extract(hdr.right);
        transition parse_last;
    }
}

control no_verify(inout headers_t hdr, inout metadata_t meta) {
    apply {}
}

control ingress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    apply {
        standard.egress_spec = 2;
        if (standard.parser_error == error.WrongMark) {
            standard.egress_spec = 3;
        }
        if (!hdr.order.isValid()) {
            mark_to_drop(standard);
            exit;
        }
        if (hdr.order.change[0:0] == 1) {
            hdr.left.number = hdr.left.number + 1;
            hdr.order.three = hdr.order.three + 1;
            hdr.order.signed = hdr.order.signed - 1;
        }
        if (hdr.order.change[1:1] == 1) {
            hdr.order.six_bytes = hdr.order.six_bytes + 0x100000000;
            hdr.order.five_bytes = ~hdr.order.five_bytes;
            hdr.order.seven_bytes = hdr.order.seven_bytes ^ 0xff00ff00ff00ff;
            hdr.order.three_bytes = hdr.order.three_bytes + 0x10001;
            hdr.order.wide = hdr.order.wide + 1;
            hdr.order.address = hdr.order.address ^ 0xffff;
            hdr.order.eight_bytes = hdr.order.eight_bytes - 1;
        }
        if (hdr.order.change[2:2] == 1) {
            hdr.first.setValid();
            hdr.first.address = meta.peeked_address;
            hdr.first.peeked = meta.peeked;
        }
        if (hdr.order.change[3:3] == 1) {
            hdr.middle.setValid();
            hdr.middle.wide = hdr.order.wide;
            hdr.middle.crooked = hdr.order.crooked;
            hdr.middle.parts = meta.tail;
        }
        if (hdr.order.change[4:4] == 1) {
            hdr.left.setInvalid();
        }
        if (hdr.order.change[5:5] == 1) {
            hdr.right.setValid();
            hdr.right.number = 0xabcd;
        }
        if (hdr.order.change[6:6] == 1) {
            hdr.copy = hdr.left;
        }
        if (hdr.order.change[7:7] == 1) {
            hdr.copy.setValid();
            hdr.copy.name = 0x77;
        }
        if (hdr.order.change[8:8] == 1) {
            hdr.big.setInvalid();
        }
        if (hdr.order.change[9:9] == 1) {
            hdr.right.setInvalid();
            hdr.last.number = 0x1111;
        }
        if (hdr.order.change[10:10] == 1) {
            hdr.last = hdr.right;
        }
        meta.signed = hdr.order.signed;
        if (hdr.order.change[12:12] == 1) {
            standard.mcast_grp = 1;
        }
        if (hdr.order.change[13:13] == 1) {
            clone_preserving_field_list(CloneType.I2E, 1, 1);
        }
        if (hdr.order.change[15:15] == 1 && standard.instance_type == 0) {
            resubmit_preserving_field_list(2);
        }
        if (hdr.order.change[11:11] == 1) {
            hdr.order.setInvalid();
        }
    }
}

control egress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    apply {
        if (hdr.first.isValid()) {
            hdr.first.length = standard.packet_length;
            if (standard.parser_error == error.PacketTooShort) {
                hdr.first.parser_error = 1;
            }
        }
        if (standard.instance_type != 0) {
            hdr.big.name = meta.tail;
            hdr.right.number = standard.egress_rid;
            hdr.middle.peeked = meta.peeked;
            hdr.left.number = (bit<16>)(int<16>)meta.signed;
        } else if (hdr.order.isValid() && hdr.order.change[14:14] == 1) {
            clone_preserving_field_list(CloneType.E2E, 2, 2);
        }
    }
}

control no_update(inout headers_t hdr, inout metadata_t meta) {
    apply {}
}

control frames_deparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.first);
        packet.emit(hdr.order);
        packet.emit(hdr.middle);
        packet.emit(hdr.left);
        packet.emit(hdr.big);
        packet.emit(hdr.right);
        packet.emit(hdr.copy);
        packet.emit(hdr.last);
    }
}

V1Switch(frames_parser(), no_verify(), ingress(), egress(), no_update(), frames_deparser()) main;
