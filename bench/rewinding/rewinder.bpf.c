// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
//
// Restores the frame before every repeat of BPF_PROG_TEST_RUN, which does not do it itself, and then calls the program
// under test: a program that encapsulates would otherwise run out of headroom, and one that rewrites would see its own
// output. With a bare verdict behind it, it times itself.
//
// Given with -D: FRAME, the frame's length; REWOUND, how many of its first bytes are restored; FLOWS, a power of two.
// With more than one flow, also where what tells them apart is found in the frame: ADDRESS_AT (the low 16 bits of one
// address), PORT_AT, CHECKSUM_AT (of TCP or UDP) and, for IPv4 only, ID_AT. Every flow's checksums are right.

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define WORDS (REWOUND / 8)

#if REWOUND % 8 || REWOUND > FRAME
#error "REWOUND is to be a multiple of 8 and at most FRAME"
#endif
#if FLOWS & (FLOWS - 1)
#error "FLOWS is to be a power of two"
#endif

struct template {
	__u64 words[WORDS];
	__u32 turn;
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct template);
} template_map SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target_map SEC(".maps");

#if FLOWS > 1
#define STRIDE 0x9e3779b1u // odd: every flow has its turn before one has a second, and neighbours are far apart
#define PORTS 15           // bits of a flow's number that go into its port, the rest goes into its address

// Add to a 16-bit field in network byte order.
static __always_inline void add(void *data, __u32 offset, __u32 number)
{
	__u16 *field = data + offset;

	*field = bpf_htons(bpf_ntohs(*field) + number);
}

// Subtract in the arithmetic of checksums (RFC 1071).
static __always_inline void subtract_sum(void *data, __u32 offset, __u32 number)
{
	__u16 *field = data + offset;
	__u32 sum = bpf_ntohs(*field) + 2 * 0xffff - number;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	*field = bpf_htons(sum);
}

// Write the number of the next flow over the template's. The IPv4 header's sum stays as it was, for the
// identification makes up for the address.
static __always_inline void choose_flow(void *data, struct template *template)
{
	__u32 flow = (template->turn++ * STRIDE) & (FLOWS - 1);
	__u32 port = flow & ((1 << PORTS) - 1), address = flow >> PORTS;

	add(data, PORT_AT, port);
	add(data, ADDRESS_AT, address);
	subtract_sum(data, CHECKSUM_AT, port + address);
#ifdef ID_AT
	subtract_sum(data, ID_AT, address);
#endif
}
#endif

SEC("xdp")
int rewinder(struct xdp_md *ctx)
{
	__u32 first = 0;
	struct template *template = bpf_map_lookup_elem(&template_map, &first);
	long added = (long)ctx->data_end - (long)ctx->data - FRAME;
	void *data;

	if (!template || (added && bpf_xdp_adjust_head(ctx, added)))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	if (data + FRAME > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
#pragma unroll
	for (int word = 0; word < WORDS; word++)
		((__u64 *)data)[word] = template->words[word];
#if FLOWS > 1
	choose_flow(data, template);
#endif
	bpf_tail_call(ctx, &target_map, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int bare_transmit(struct xdp_md *ctx)
{
	return XDP_TX;
}

SEC("xdp")
int bare_encapsulation(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -20) ? XDP_ABORTED : XDP_TX;
}

char _license[] SEC("license") = "GPL";
