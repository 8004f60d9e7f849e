// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// The end of ingress: what was decided happens, and is counted.

control verdict(inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    @id(DROP_COUNTER_ID)
    counter(DROP_COUNTER_SIZE, CounterType.packets_and_bytes) drops;  // by drop_reason_t

    @id(PUNT_COUNTER_ID)
    counter(PUNT_COUNTER_SIZE, CounterType.packets_and_bytes) punts;  // by punt_reason_t

    apply {
        if (meta.verdict == FORWARD || meta.verdict == ANSWER || meta.verdict == EMIT) {
            standard_metadata.egress_spec = meta.egress_port;
        } else if (meta.verdict == PUNT) {
            punts.count((bit<32>)meta.punt_reason);
            standard_metadata.egress_spec = CPU_PORT;
        } else {
            if (meta.verdict == DROP) {
                drops.count((bit<32>)meta.drop_reason);
            }
            mark_to_drop(standard_metadata);
        }
    }
}
