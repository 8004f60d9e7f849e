// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// One table of each match kind; each says in a byte of the packet which entry was hit.

#include <core.p4>
#include <v1model.p4>

header probe_t {
    bit<32> a;
    bit<16> b;
    bit<12> c;
    bit<4> d;
    bit<8> exact_result;
    bit<8> lpm_result;
    bit<8> ternary_result;
    bit<8> range_result;
    bit<8> optional_result;
    bit<8> const_result;
    bit<8> mixed_result;
}

header extra_t {
    bit<16> x;
}

struct headers_t {
    probe_t probe;
    extra_t extra;
}

struct metadata_t {
    bit<8> seen;
}

parser matches_parser(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(hdr.probe);
        transition select(hdr.probe.d) {
            1: parse_extra;
            default: accept;
        }
    }
    state parse_extra {
        packet.extract(hdr.extra);
        transition accept;
    }
}

control no_verify(inout headers_t hdr, inout metadata_t meta) {
    apply {}
}

control ingress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    direct_counter(CounterType.packets_and_bytes) exact_counter;

    action exact_hit(bit<8> value) {
        hdr.probe.exact_result = value;
    }
    table exact_table {
        key = {
            hdr.probe.a: exact @name("a");
            hdr.probe.b: exact @name("b");
        }
        actions = { exact_hit; NoAction; }
        default_action = NoAction;
        counters = exact_counter;
        support_timeout = true;
        size = 16;
    }

    action lpm_hit(bit<8> value) {
        hdr.probe.lpm_result = value;
    }
    table lpm_table {
        key = {
            hdr.probe.b: exact @name("b");
            hdr.probe.a: lpm @name("a");
        }
        actions = { lpm_hit; }
        default_action = lpm_hit(0xee);
        size = 1024;
    }

    action ternary_hit(bit<8> value) {
        hdr.probe.ternary_result = value;
    }
    table ternary_table {
        key = {
            hdr.probe.a: ternary @name("a");
            hdr.probe.b: exact @name("b");
            hdr.probe.c: ternary @name("c");
        }
        actions = { ternary_hit; }
        size = 1024;
    }

    action range_hit(bit<8> value) {
        hdr.probe.range_result = value;
    }
    table range_table {
        key = {
            hdr.probe.b: range @name("b");
            hdr.probe.c: ternary @name("c");
            hdr.probe.a: lpm @name("a");
        }
        actions = { range_hit; }
        size = 1024;
    }

    action optional_hit(bit<8> value) {
        hdr.probe.optional_result = value;
    }
    table optional_table {
        key = {
            hdr.probe.a: optional @name("a");
            hdr.extra.x: optional @name("x");
        }
        actions = { optional_hit; }
        size = 1024;
    }

    action const_hit(bit<8> value) {
        hdr.probe.const_result = value;
    }
    table const_table {
        key = {
            hdr.probe.b: range;
            hdr.probe.a: ternary;
        }
        actions = { const_hit; NoAction; }
        const entries = {
            (1 .. 10, 0x0a000000 &&& 0xff000000): const_hit(1);
            (5 .. 20, _): const_hit(2);
            (_, 0xffffffff): const_hit(3);
        }
        const default_action = NoAction;
    }

    action low() {
        hdr.probe.mixed_result = 1;
    }
    action high(bit<8> value) {
        hdr.probe.mixed_result = value;
        meta.seen = 1;
    }
    // A field of a header that may be invalid is looked up as zero.
    table mixed_table {
        key = {
            hdr.extra.isValid(): exact @name("valid");
            hdr.extra.x: exact @name("x");
        }
        actions = { low; high; NoAction; }
        default_action = NoAction;
        size = 16;
    }

    apply {
        standard.egress_spec = standard.ingress_port;
        if (!exact_table.apply().hit) {
            lpm_table.apply();
        }
        ternary_table.apply();
        range_table.apply();
        optional_table.apply();
        const_table.apply();
        switch (mixed_table.apply().action_run) {
            low: {
                hdr.probe.d = 7;
            }
            high: {
                hdr.probe.d = 8;
            }
            default: {
                hdr.probe.d = 9;
            }
        }
        if (meta.seen == 1) {
            hdr.probe.c = 0xabc;
        }
    }
}

control egress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    apply {}
}

control no_update(inout headers_t hdr, inout metadata_t meta) {
    apply {}
}

control matches_deparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.probe);
        packet.emit(hdr.extra);
    }
}

V1Switch(matches_parser(), no_verify(), ingress(), egress(), no_update(), matches_deparser()) main;
