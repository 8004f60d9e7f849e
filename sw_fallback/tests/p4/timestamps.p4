// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Writes what the switch says of a packet into it.

#include <core.p4>
#include <v1model.p4>

header times_t {
    bit<48> ingress;
    bit<48> egress;
    bit<32> queued;
    bit<16> ports;
    bit<16> rest;
}

struct headers_t {
    times_t times;
}

struct metadata_t {}

parser times_parser(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(hdr.times);
        transition accept;
    }
}

control no_verify(inout headers_t hdr, inout metadata_t meta) {
    apply {}
}

control ingress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    apply {
        hdr.times.ingress = standard.ingress_global_timestamp;
        standard.egress_spec = 9;
    }
}

control egress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    apply {
        hdr.times.egress = standard.egress_global_timestamp;
        hdr.times.queued = standard.deq_timedelta;
        hdr.times.ports = standard.ingress_port[7:0] ++ standard.egress_port[7:0];
        hdr.times.rest = (bit<16>)standard.deq_qdepth;
    }
}

control no_update(inout headers_t hdr, inout metadata_t meta) {
    apply {}
}

control times_deparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.times);
    }
}

V1Switch(times_parser(), no_verify(), ingress(), egress(), no_update(), times_deparser()) main;
