/* What user space is told: digests, frames for ports that are no device of the kernel's, and packets that go on in the
 * python engine. A record is struct event, then
 *   EVENT_DIGEST  the members, u64 words, the least significant first
 *   EVENT_OUT     the frame as it leaves
 *   all others    struct state, struct event once more (of no meaning), the frame
 * A record that finds no room in the ring buffer is counted, and its packet or digest is lost.
 *
 * Functions without `static` are verified once, apart from the packet's way; they find this CPU's workspace again.
 */
enum event_kind {
	EVENT_DIGEST = 1,
	EVENT_OUT,
	EVENT_CLONE,
	EVENT_RESUBMIT,
	EVENT_RECIRCULATE,
	EVENT_REPLICATE,
	EVENT_EGRESS_CLONE,
	EVENT_TRACE,
};

/* The frame as it is now into the workspace; its size, zero when there is no room for it. The barriers keep clang from
 * making one comparison of the two, from which the verifier would learn nothing about the size.
 */
static __always_inline u64 gather(struct xdp_md *ctx, struct workspace *w)
{
	u64 size = (u64)(long)ctx->data_end - (u64)(long)ctx->data;

	if (size < 1)
		return 0;
	barrier_var(size);
	if (size > FRAME_ROOM)
		return 0;
	barrier_var(size);
	return bpf_xdp_load_bytes(ctx, 0, w->frame, size) ? 0 : size;
}

/* The whole state and the frame, for the python engine to go on with. */
__noinline int dump(struct xdp_md *ctx, u32 kind)
{
	struct workspace *w = this_workspace();

	if (!w)
		return XDP_ABORTED;
	const u64 size = gather(ctx, w), length = offsetof(struct workspace, frame) + size;
	w->before_state = (struct event){
		.kind = kind, .length = length, .number = generation, .port = w->state.port, .size = size,
	};
	if (!size || bpf_ringbuf_output(&events, w, length, 0))
		COUNT(events_lost);
	return XDP_DROP;
}

/* A frame that leaves by a port of user space's: the CPU port, a TAP interface. */
__noinline int deliver(struct xdp_md *ctx)
{
	struct workspace *w = this_workspace();
	const u32 zero = 0;
	const struct user_ports *known = bpf_map_lookup_elem(&user_ports, &zero);

	if (!w || !known)
		return XDP_ABORTED;
	const u32 port = w->state.port;
	if (port >= PORTS || !known->serves[port]) {
		COUNT(unknown_port);
		return XDP_DROP;
	}
	COUNT(packets_out);
	const u64 size = gather(ctx, w), length = sizeof(struct event) + size;
	w->before_frame = (struct event){ .kind = EVENT_OUT, .length = length, .port = port, .size = size };
	if (!size || bpf_ringbuf_output(&events, &w->before_frame, length, 0))
		COUNT(events_lost);
	return XDP_DROP;
}
