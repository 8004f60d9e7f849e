// Copyright The Depot authors. SPDX-License-Identifier: Apache-2.0
//
// One read of memory for each packet, at a place that only the read before tells: what a packet pays for a row that is in
// no cache. LINES is given with -D.

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct line {
	__u32 next;
	__u8 unused[60];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, LINES);
	__type(key, __u32);
	__type(value, struct line);
} lines SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} place SEC(".maps");

SEC("xdp")
int random_read(struct xdp_md *ctx)
{
	__u32 first = 0, *at = bpf_map_lookup_elem(&place, &first);
	struct line *line = at ? bpf_map_lookup_elem(&lines, at) : NULL;

	if (!line)
		return XDP_ABORTED;
	*at = line->next;
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
