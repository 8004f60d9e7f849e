// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// Operators of every kind, hashes, registers, checksums with and without payload.

#include <core.p4>
#include <v1model.p4>

header operands_t {
    bit<8> op;
    bit<32> left;
    bit<32> right;
    int<16> left_signed;
    int<16> right_signed;
    bit<48> result;
    bit<16> checksum;
}

header wide_t {
    bit<96> value;
    bit<128> other;
    bit<3> small;
    bit<13> rest;
}

struct headers_t {
    operands_t operands;
    wide_t wide;
}

struct metadata_t {
    bit<1> flag;
    int<16> signed_result;
}

parser arithmetic_parser(
    packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(hdr.operands);
        transition select(hdr.operands.op) {
            0x80 &&& 0x80: parse_wide;
            default: accept;
        }
    }
    state parse_wide {
        packet.extract(hdr.wide);
        transition accept;
    }
}

control verify_checksums(inout headers_t hdr, inout metadata_t meta) {
    apply {
        verify_checksum_with_payload(hdr.operands.op == 60,
            { hdr.operands.op, 8w0, hdr.operands.left, hdr.operands.right }, hdr.operands.checksum,
            HashAlgorithm.csum16);
    }
}

control ingress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    register<bit<96>>(64) wide_register;
    register<bit<48>>(16) register_of_48;

    apply {
        bit<32> l = hdr.operands.left;
        bit<32> r = hdr.operands.right;
        int<16> ls = hdr.operands.left_signed;
        int<16> rs = hdr.operands.right_signed;
        int<16> s = 0;
        bit<48> result = 0;
        bit<16> half = 0;
        standard.egress_spec = standard.ingress_port;
        if (hdr.operands.op == 1) { result = (bit<48>)(l + r); }
        else if (hdr.operands.op == 2) { result = (bit<48>)(l - r); }
        else if (hdr.operands.op == 3) { result = (bit<48>)l * (bit<48>)r; }
        else if (hdr.operands.op == 4) { result = (bit<48>)(l |+| r); }
        else if (hdr.operands.op == 5) { result = (bit<48>)(l |-| r); }
        else if (hdr.operands.op == 6) { result = (bit<48>)(l & r); }
        else if (hdr.operands.op == 7) { result = (bit<48>)(l | r); }
        else if (hdr.operands.op == 8) { result = (bit<48>)(l ^ r); }
        else if (hdr.operands.op == 9) { result = (bit<48>)(~l); }
        else if (hdr.operands.op == 10) { result = (bit<48>)(l << r[7:0]); }
        else if (hdr.operands.op == 11) { result = (bit<48>)(l >> r[7:0]); }
        else if (hdr.operands.op == 12) { result = l > r ? 48w1 : 48w2; }
        else if (hdr.operands.op == 13) { result = (bit<48>)l[15:8] ++ r[7:0] == 0 ? 48w5 : (bit<48>)(l[15:8] ++ r[7:0]); }
        else if (hdr.operands.op == 14) { result = (bit<48>)(-l); }
        else if (hdr.operands.op == 15) { result[31:16] = r[15:0]; }
        else if (hdr.operands.op == 20) { s = ls + rs; }
        else if (hdr.operands.op == 21) { s = ls - rs; }
        else if (hdr.operands.op == 22) { s = ls |+| rs; }
        else if (hdr.operands.op == 23) { s = ls |-| rs; }
        else if (hdr.operands.op == 24) { s = -ls; }
        else if (hdr.operands.op == 25) { s = ls >> 3; }
        else if (hdr.operands.op == 26) { s = ls < rs ? 16s1 : -16s1; }
        else if (hdr.operands.op == 27) { s = ls * rs; }
        else if (hdr.operands.op == 28) { s = (int<16>)(int<8>)ls; }
        else if (hdr.operands.op == 29) { result = (bit<48>)(bit<16>)ls; }
        else if (hdr.operands.op == 30) { hash(result, HashAlgorithm.crc32, 32w0, { l, r }, 64w0x100000000); }
        else if (hdr.operands.op == 31) { hash(result, HashAlgorithm.crc16, 32w10, { l, r }, 64w100); }
        else if (hdr.operands.op == 32) { hash(result, HashAlgorithm.csum16, 16w0, { l, r, 8w5 }, 32w0x10000); }
        else if (hdr.operands.op == 33) { hash(result, HashAlgorithm.xor16, 16w0, { l, r, 8w5 }, 32w0x10000); }
        else if (hdr.operands.op == 34) { hash(result, HashAlgorithm.identity, 16w0, { l, r }, 64w0x1000000000000); }
        else if (hdr.operands.op == 35) { hash(result, HashAlgorithm.crc32_custom, 16w0, { l, r }, 64w0x100000000); }
        else if (hdr.operands.op == 36) { hash(result, HashAlgorithm.crc16_custom, 16w0, { l, r }, 32w0x10000); }
        else if (hdr.operands.op == 37) { hash(half, HashAlgorithm.crc16, 16w0, { hdr.wide.value, hdr.wide.small }, 32w0); result = (bit<48>)half; }
        else if (hdr.operands.op == 40) { register_of_48.read(result, (bit<32>)r); }
        else if (hdr.operands.op == 41) { register_of_48.write(r, (bit<48>)l); }
        else if (hdr.operands.op == 0x90) {
            bit<96> old;
            wide_register.read(old, r);
            wide_register.write(r, hdr.wide.value);
            hdr.wide.value = old;
        }
        else if (hdr.operands.op == 0x91) { hash(result, HashAlgorithm.crc32, 32w7, { hdr.wide.value, hdr.wide.other, hdr.wide.small, hdr.wide.rest }, 32w1000); }
        else if (hdr.operands.op == 0x92) { hash(result, HashAlgorithm.crc16, 32w0, { hdr.wide.value, hdr.wide.other, hdr.wide.small }, 32w65536); }
        else if (hdr.operands.op == 0x93) { hash(result, HashAlgorithm.csum16, 32w0, { hdr.wide.small, hdr.wide.value }, 32w65536); }
        else if (hdr.operands.op == 0x94) { hdr.wide.other = hdr.wide.other + (bit<128>)hdr.wide.value; hdr.wide.small = hdr.wide.small + 3; }
        else if (hdr.operands.op == 0x95) { hdr.wide.setInvalid(); }
        else if (hdr.operands.op == 0x96) { hdr.wide.rest = hdr.wide.rest - 1; }
        else if (hdr.operands.op == 50) { hdr.wide.setValid(); hdr.wide.other = 128w0x0123456789abcdef0123456789abcdef; }
        else if (hdr.operands.op == 60) { result = (bit<48>)standard.checksum_error; }
        else if (hdr.operands.op == 61) { result = (bit<48>)standard.packet_length; }
        if (hdr.operands.op >= 20 && hdr.operands.op < 29) {
            hdr.operands.left_signed = s;
        }
        hdr.operands.result = result;
    }
}

control egress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard) {
    apply {}
}

control update_checksums(inout headers_t hdr, inout metadata_t meta) {
    apply {
        update_checksum(hdr.operands.op == 70,
            { hdr.operands.op, 8w0, hdr.operands.left, hdr.operands.right }, hdr.operands.checksum,
            HashAlgorithm.csum16);
        update_checksum_with_payload(hdr.operands.op == 71,
            { hdr.operands.op, 8w0, hdr.operands.left, hdr.operands.right }, hdr.operands.checksum,
            HashAlgorithm.csum16);
        update_checksum(hdr.operands.op == 72, { hdr.operands.op, hdr.operands.left, hdr.wide.other },
            hdr.operands.checksum, HashAlgorithm.csum16);
        update_checksum_with_payload(hdr.operands.op == 73, { hdr.operands.op }, hdr.operands.checksum,
            HashAlgorithm.csum16);
    }
}

control arithmetic_deparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.operands);
        packet.emit(hdr.wide);
    }
}

V1Switch(arithmetic_parser(), verify_checksums(), ingress(), egress(), update_checksums(), arithmetic_deparser()) main;
