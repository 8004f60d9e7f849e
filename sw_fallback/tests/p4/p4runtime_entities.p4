// One of every entity that P4Runtime can write or read, for the tests of the server.
#include <core.p4>
#include <v1model.p4>

typedef bit<9> port_t;
typedef bit<48> mac_t;

@controller_header("packet_in")
header packet_in_t {
    bit<9> ingress_port;
    bit<3> reason;
    bit<4> padding;
}

@controller_header("packet_out")
header packet_out_t {
    bit<9> egress_port;
    bit<7> padding;
}

header ethernet_t {
    mac_t dst;
    mac_t src;
    bit<16> ether_type;
}

struct headers_t {
    packet_in_t packet_in;
    packet_out_t packet_out;
    ethernet_t ethernet;
}

struct learned_t {
    mac_t src;
    port_t port;
}

struct metadata_t {
    learned_t learned;
    bit<2> color;
}

const port_t CPU_PORT = 255;

parser parse(packet_in packet, out headers_t hdr, inout metadata_t meta, inout standard_metadata_t std) {
    state start {
        transition select(std.ingress_port) {
            CPU_PORT: parse_packet_out;
            default: parse_ethernet;
        }
    }
    state parse_packet_out {
        packet.extract(hdr.packet_out);
        transition parse_ethernet;
    }
    state parse_ethernet {
        packet.extract(hdr.ethernet);
        transition accept;
    }
}

control verify_checksums(inout headers_t hdr, inout metadata_t meta) { apply { } }
control compute_checksums(inout headers_t hdr, inout metadata_t meta) { apply { } }

control ingress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) mac_counter;
    direct_meter<bit<2>>(MeterType.bytes) acl_meter;
    counter(8, CounterType.packets_and_bytes) port_counter;
    meter(4, MeterType.packets) port_meter;
    register<bit<32>>(16) seen;
    action_selector(HashAlgorithm.crc16, 64, 8) uplinks;

    action drop() { mark_to_drop(std); }
    action forward(port_t port) { std.egress_spec = port; }
    action flood(bit<16> group) { std.mcast_grp = group; }
    action to_controller(bit<3> reason) {
        std.egress_spec = CPU_PORT;
        hdr.packet_in.setValid();
        hdr.packet_in.ingress_port = std.ingress_port;
        hdr.packet_in.reason = reason;
    }
    action learn() { digest<learned_t>(1, { hdr.ethernet.src, std.ingress_port }); }
    action ignore_source() { }
    action mark() { acl_meter.read(meta.color); }
    action count_and_forward(port_t port) { mac_counter.count(); std.egress_spec = port; }

    // exact, direct counter, idle timeout
    table mac_table {
        key = { hdr.ethernet.dst: exact @name("dst"); }
        actions = { count_and_forward; flood; @defaultonly drop; @defaultonly to_controller; }
        default_action = to_controller(1);
        counters = mac_counter;
        support_timeout = true;
        size = 65536;
    }
    // two exact fields, a small table
    table source_table {
        key = { hdr.ethernet.src: exact @name("src"); std.ingress_port: exact @name("port"); }
        actions = { ignore_source; learn; }
        const default_action = learn();
        size = 4;
    }
    table route_table {
        key = { hdr.ethernet.dst: lpm @name("dst"); }
        actions = { forward; @tableonly drop; NoAction; }
        size = 64;
    }
    // every kind that needs a priority, with a direct meter
    table acl_table {
        key = {
            hdr.ethernet.src: ternary @name("src");
            hdr.ethernet.ether_type: range @name("ether_type");
            std.ingress_port: optional @name("port");
        }
        actions = { mark; drop; NoAction; }
        meters = acl_meter;
        size = 64;
    }
    table uplink_table {
        key = { hdr.ethernet.ether_type: exact @name("ether_type"); hdr.ethernet.src: selector; }
        actions = { forward; drop; }
        implementation = uplinks;
        size = 16;
    }
    table const_table {
        key = { hdr.ethernet.ether_type: exact @name("ether_type"); }
        actions = { drop; NoAction; }
        const entries = {
            0x88cc: drop();
            0x88f7: NoAction();
        }
    }
    table keyless_table {
        actions = { drop; NoAction; }
        default_action = NoAction();
    }

    apply {
        if (hdr.packet_out.isValid()) {
            std.egress_spec = hdr.packet_out.egress_port;
            hdr.packet_out.setInvalid();
            exit;
        }
        port_counter.count((bit<32>) std.ingress_port);
        port_meter.execute_meter<bit<2>>((bit<32>) std.ingress_port, meta.color);
        seen.write((bit<32>) std.ingress_port, (bit<32>) hdr.ethernet.ether_type);
        source_table.apply();
        acl_table.apply();
        const_table.apply();
        keyless_table.apply();
        if (!mac_table.apply().hit) {
            if (route_table.apply().hit) { hdr.packet_in.setInvalid(); }
            if (uplink_table.apply().hit) { hdr.packet_in.setInvalid(); }
        }
    }
}

control egress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t std) { apply { } }

control deparse(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.packet_in);
        packet.emit(hdr.ethernet);
    }
}

V1Switch(parse(), verify_checksums(), ingress(), egress(), compute_checksums(), deparse()) main;
