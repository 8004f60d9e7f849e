// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
// How many entries each object holds. Nothing else in the program is a size.

#ifndef SIZES_P4
#define SIZES_P4

#define LOCAL_ADDRESS_TABLE_SIZE 8192
#define ADMISSION_TABLE_SIZE 4096
#define VIRTUAL_MAC_TABLE_SIZE 16384
#define NAT_SOURCE_TABLE_SIZE 16384
#define CONNECTION_TABLE_SIZE 1048576
#define VIP_TABLE_SIZE 4096
#define SCHEDULE_TABLE_SIZE 262144
#define MEMBER_TABLE_SIZE 16384
#define ROUTE_TABLE_SIZE 16384
#define NEIGHBOUR_TABLE_SIZE 16384
#define TUNNEL_TABLE_SIZE 1024
#define POLICY_TABLE_SIZE 1024
#define ORIGINATOR_TABLE_SIZE 4096
#define MSS_TABLE_SIZE 2  // one for each family

#define SCHEDULE_CURSOR_SIZE 65536  // one for every vip_id
#define FLOW_CACHE_SIZE 65536  // sets of two slots; a power of two, FLOW_CACHE_INDEX takes as many bits
#define FLOW_CACHE_INDEX 63:48  // of a hash, whose highest bits are the best mixed
#define FLOW_CACHE_FINGERPRINT 47:16  // the next ones
#define DROP_COUNTER_SIZE 32
#define PUNT_COUNTER_SIZE 16

#endif  // SIZES_P4
