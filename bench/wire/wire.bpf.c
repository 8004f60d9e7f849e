// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
//
// The ends of a switch's ports in a benchmark, and the least switch of all. `generate` is run over live frames
// (BPF_F_TEST_XDP_LIVE_FRAMES) as if they came in at an interface, and sends each back out of it. Frames are used again
// by the kernel as they were when the last program let go of them, so it writes them anew.
//
// FRAME, the frame's length, is given with -D.

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#define WORDS (FRAME / 8)
#define KEPT 256

#if FRAME % 8
#error "FRAME is to be a multiple of 8"
#endif

const volatile __u64 template[WORDS];

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} arrived SEC(".maps");

struct frame {
	__u32 length;
	__u8 bytes[KEPT];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct frame);
} kept SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} other SEC(".maps");

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u64 *data = (__u64 *)(long)ctx->data;

	if (data + WORDS > (__u64 *)(long)ctx->data_end)
		return XDP_ABORTED;
#pragma unroll
	for (int word = 0; word < WORDS; word++)
		data[word] = template[word];
	return XDP_TX;
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&arrived, &zero);

	if (count)
		*count += 1;
	return XDP_DROP;
}

SEC("xdp")
int discard(struct xdp_md *ctx)
{
	return XDP_DROP;
}

// The last frame, to be looked at.
SEC("xdp")
int keep(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct frame *frame = bpf_map_lookup_elem(&kept, &zero);
	__u8 *data = (__u8 *)(long)ctx->data;

	if (!frame)
		return XDP_DROP;
	frame->length = ctx->data_end - ctx->data;
	for (int at = 0; at < KEPT && data + at + 1 <= (__u8 *)(long)ctx->data_end; at++)
		frame->bytes[at] = data[at];
	return XDP_DROP;
}

SEC("xdp")
int bare_redirect(struct xdp_md *ctx)
{
	return bpf_redirect_map(&other, 0, XDP_ABORTED);
}

char _license[] SEC("license") = "GPL";
