// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
//
// The depot's forwarding program: the only description of how packets are handled.
//
//            +------------------------ ingress: what is to happen ------------------------+
//            |                                                                            |
//  parser -> | 1 packet-out   2 responder   3 tunnels   4 admission   5 connections       | -> egress: rewrite
//  verify    |   sanity         (ARP, ND,     (from a     (our MAC?)    (exact entry:     |    (NAT, IP-in-IP,
//  checksums |                   ping)         peer?)     virtual MACs   member, peer)    |     MACs, MSS,
//            |                                              (ours too?)                   |     packet-in)
//            |                   6 vips   7 policy        allocation                      |
//            |                     (a service of ours?)     (flow cache, schedule)        |
//            |                                                                            |
//            | 8 TCP tracking   9 members   10 routing   verdict                          | -> deparser
//            |   (digests)        (how)        (where)     (drop, punt, count)            |
//            +----------------------------------------------------------------------------+

#include <core.p4>
#include <v1model.p4>

#include "constants.p4"
#include "ids.p4"
#include "sizes.p4"
#include "headers.p4"
#include "metadata.p4"
#include "parser.p4"
#include "checksums.p4"
#include "control/packet_out.p4"
#include "control/sanity.p4"
#include "control/buckets.p4"
#include "control/responder.p4"
#include "control/tunnels.p4"
#include "control/admission.p4"
#include "control/virtual_macs.p4"
#include "control/connections.p4"
#include "control/vips.p4"
#include "control/policy.p4"
#include "control/allocation.p4"
#include "control/tcp_tracking.p4"
#include "control/members.p4"
#include "control/routing.p4"
#include "control/verdict.p4"
#include "control/translate.p4"
#include "control/segment_size.p4"
#include "control/rewrite.p4"

control ingress(inout headers_t hdr, inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    packet_out_handler() packet_outs;
    sanity() sane;
    responder() responses;
    tunnels() openings;
    admission() admissions;
    virtual_macs() virtual_addresses;
    connections() sessions;
    vips() services;
    policy() policies;
    allocation() allocations;
    tcp_tracking() tracking;
    members() destinations;
    routing() routes;
    verdict() verdicts;

    apply {
        packet_outs.apply(hdr, meta);
        if (meta.verdict == UNDECIDED) {
            sane.apply(hdr, meta, standard_metadata);
        }
        if (meta.verdict == UNDECIDED) {
            responses.apply(hdr, meta, standard_metadata);
        }
        if (meta.verdict == UNDECIDED && meta.in_tunnel) {
            openings.apply(hdr, meta, standard_metadata);
        }
        if (meta.verdict == UNDECIDED) {
            admissions.apply(hdr, meta);
        }
        // Set by admission, or with an answer that is perhaps another gateway's to give.
        if (meta.virtual_mac != 0) {
            virtual_addresses.apply(hdr, meta);
        }
        if (meta.verdict == UNDECIDED && meta.protocol != NO_PROTOCOL) {
            sessions.apply(hdr, meta);
            // The way back of a NAT session needs no member, and an ended session may be succeeded by a new one,
            // which either end may open: a proxy its own on the ports of the last.
            if (meta.verdict == UNDECIDED && !meta.reply_of_member &&
                (!meta.session_known ||
                 (meta.closing && (meta.from_client || (meta.tcp_flags & TCP_SYN) != 0)))) {
                services.apply(meta);
                policies.apply(hdr, meta);
                if (meta.verdict == UNDECIDED && meta.served) {
                    allocations.apply(hdr, meta, standard_metadata);
                }
            }
        }
        if (meta.verdict == UNDECIDED) {
            tracking.apply(hdr, meta);
            destinations.apply(hdr, meta);
        }
        if (meta.verdict == UNDECIDED) {
            routes.apply(hdr, meta);
        }
        verdicts.apply(meta, standard_metadata);
    }
}

V1Switch(packet_parser(), verify_checksums(), ingress(), rewrite(), compute_checksums(), packet_deparser()) main;
