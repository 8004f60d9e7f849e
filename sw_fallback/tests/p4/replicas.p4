// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Everything that makes more packets of one, or sends one round again; digests, meters, selectors, controller headers.

#include <core.p4>
#include <v1model.p4>

@controller_header("packet_in")
header packet_in_t {
    bit<16> ingress_port;
    bit<8> reason;
}

@controller_header("packet_out")
header packet_out_t {
    bit<16> egress_port;
}

header order_t {
    bit<8> op;
    bit<8> argument;
    bit<8> passes;
    bit<8> instance_type;
    bit<16> ingress_port;
    bit<16> egress_port;
    bit<16> egress_rid;
    bit<16> kept;
    bit<16> length;
    bit<8> colour;
    bit<8> chosen;
}

struct headers_t {
    packet_in_t packet_in;
    packet_out_t packet_out;
    order_t order;
}

struct metadata_t {
    @field_list(1)
    bit<16> kept;
    @field_list(1, 2)
    bit<8> passes;
    bit<16> lost;
}

struct seen_t {
    bit<8> argument;
    bit<16> port;
}

const bit<9> CPU_PORT = 500;

parser replicas_parser(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    state start {
        transition select(standard.ingress_port) {
            CPU_PORT: parse_packet_out;
            default: parse_order;
        }
    }
    state parse_packet_out {
        packet.extract(hdr.packet_out);
        transition parse_order;
    }
    state parse_order {
        packet.extract(hdr.order);
        transition accept;
    }
}

control no_verify(inout headers_t hdr, inout metadata_t meta) {
    apply {}
}

control ingress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    counter(200, CounterType.packets_and_bytes) orders;
    meter(16, MeterType.bytes) byte_meter;
    direct_meter<bit<8>>(MeterType.packets) packet_meter;
    action_selector(HashAlgorithm.crc16, 64, 16) chooser;
    action_profile(16) profile;

    action choose(bit<8> value) {
        hdr.order.chosen = value;
    }
    action refuse() {
        mark_to_drop(standard);
        exit;
    }
    table selector_table {
        key = {
            hdr.order.argument: exact @name("argument");
            hdr.order.length: selector;
            hdr.order.kept: selector;
        }
        actions = { choose; refuse; }
        implementation = chooser;
        size = 64;
    }
    table profile_table {
        key = {
            hdr.order.argument: exact @name("argument");
        }
        actions = { choose; refuse; NoAction; }
        implementation = profile;
        size = 64;
    }
    action metered() {
        packet_meter.read(hdr.order.colour);
    }
    table meter_table {
        key = {
            hdr.order.argument: exact @name("argument");
        }
        actions = { metered; NoAction; }
        default_action = NoAction;
        meters = packet_meter;
        size = 64;
    }

    apply {
        orders.count((bit<32>)hdr.order.op);
        hdr.order.passes = hdr.order.passes + 1;
        hdr.order.ingress_port = (bit<16>)standard.ingress_port;
        if (hdr.packet_out.isValid()) {
            standard.egress_spec = hdr.packet_out.egress_port[8:0];
            hdr.packet_out.setInvalid();
            exit;
        }
        if (!hdr.order.isValid()) {
            mark_to_drop(standard);
            return;
        }
        standard.egress_spec = standard.ingress_port;
        if (standard.instance_type == 4 || standard.instance_type == 6) {
            standard.egress_spec = 9w3;
            hdr.order.kept = meta.kept;
            hdr.order.passes = hdr.order.passes + meta.passes;
        }
        if (hdr.order.op == 1) {
            standard.mcast_grp = (bit<16>)hdr.order.argument;
        } else if (hdr.order.op == 2) {
            meta.kept = 16w0xbeef;
            meta.lost = 16w0xdead;
            hdr.order.kept = 16w1;
            clone_preserving_field_list(CloneType.I2E, (bit<32>)hdr.order.argument, 1);
        } else if (hdr.order.op == 3) {
            meta.kept = 16w0xcafe;
        } else if (hdr.order.op == 4 && standard.instance_type != 6) {
            meta.kept = 16w0xf00d;
            meta.passes = 40;
            hdr.order.kept = 16w7;
            resubmit_preserving_field_list(1);
        } else if (hdr.order.op == 5) {
            mark_to_drop(standard);
        } else if (hdr.order.op == 6) {
            digest<seen_t>(1, { hdr.order.argument, (bit<16>)standard.ingress_port });
        } else if (hdr.order.op == 7) {
            standard.egress_spec = CPU_PORT;
        } else if (hdr.order.op == 8) {
            byte_meter.execute_meter((bit<32>)hdr.order.argument, hdr.order.colour);
        } else if (hdr.order.op == 9) {
            meter_table.apply();
        } else if (hdr.order.op == 10) {
            selector_table.apply();
        } else if (hdr.order.op == 11) {
            if (profile_table.apply().hit) {
                hdr.order.kept = 16w21;
            } else {
                hdr.order.kept = 16w22;
            }
        } else if (hdr.order.op == 12) {
            truncate((bit<32>)hdr.order.argument);
        } else if (hdr.order.op == 13) {
            clone(CloneType.I2E, (bit<32>)hdr.order.argument);
            mark_to_drop(standard);
        } else if (hdr.order.op == 14) {
            assert(hdr.order.argument != 1);
            log_msg("argument {} of {}", { hdr.order.argument, hdr.order.op });
        } else if (hdr.order.op == 15) {
            bit<8> low = hdr.order.argument;
            random(hdr.order.chosen, low, 8w20);
        } else if (hdr.order.op == 16) {
            standard.mcast_grp = 1;
            truncate(20);
        }
        hdr.order.length = standard.packet_length[15:0];
    }
}

control egress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    apply {
        hdr.order.instance_type = standard.instance_type[7:0];
        hdr.order.egress_port = (bit<16>)standard.egress_port;
        hdr.order.egress_rid = standard.egress_rid;
        if (standard.egress_port == CPU_PORT) {
            hdr.packet_in.setValid();
            hdr.packet_in.ingress_port = (bit<16>)standard.ingress_port;
            hdr.packet_in.reason = hdr.order.op;
        }
        if (!hdr.order.isValid()) {
            return;
        }
        if (standard.instance_type == 1 || standard.instance_type == 2) {
            hdr.order.kept = meta.kept + meta.lost;
        } else if (hdr.order.op == 3) {
            hdr.order.chosen = 8w99;
            clone_preserving_field_list(CloneType.E2E, (bit<32>)hdr.order.argument, 1);
            hdr.order.colour = 8w3;
        } else if (hdr.order.op == 17 && hdr.order.passes < hdr.order.argument) {
            meta.passes = 0;
            recirculate_preserving_field_list(2);
        } else if (hdr.order.op == 18) {
            mark_to_drop(standard);
        } else if (hdr.order.op == 19) {
            truncate((bit<32>)hdr.order.argument);
            hdr.order.length = standard.packet_length[15:0];
        }
    }
}

control no_update(inout headers_t hdr, inout metadata_t meta) {
    apply {}
}

control replicas_deparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.packet_in);
        packet.emit(hdr.order);
    }
}

V1Switch(replicas_parser(), no_verify(), ingress(), egress(), no_update(), replicas_deparser()) main;
