/* Traced packets: struct state and the frame are told when a filter fits and again when the packet ends.
 *
 * A trace never takes more than half of the ring buffer, so it costs no digest and no packet of the python engine's.
 */
static __always_inline int tell_trace(struct xdp_md *ctx, struct workspace *w)
{
	const u64 size = gather(ctx, w), length = offsetof(struct workspace, frame) + size;

	w->before_state = (struct event){
		.kind = EVENT_TRACE, .length = length, .number = generation, .port = w->state.port, .size = size,
	};
	return size ? bpf_ringbuf_output(&events, w, length, 0) : -1;
}

__noinline int begin_trace(struct xdp_md *ctx)
{
	struct workspace *w = this_workspace();

	if (!w)
		return XDP_ABORTED;
	w->state.trace_time = bpf_ktime_get_ns();
	w->state.trace_cpu = bpf_get_smp_processor_id();
	w->state.trace_serial++;
	w->state.trace_verdict = TRACE_BEGIN;
	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > bpf_ringbuf_query(&events, BPF_RB_RING_SIZE) / 2 ||
	    tell_trace(ctx, w)) {
		w->state.trace_wanted = 0;
		COUNT(traces_lost);
	}
	return XDP_PASS;
}

__noinline int finish_trace(struct xdp_md *ctx)
{
	struct workspace *w = this_workspace();

	if (!w || tell_trace(ctx, w))
		COUNT(traces_lost);
	return XDP_PASS;
}

static __always_inline void end_trace(struct xdp_md *ctx, struct state *s, u32 verdict)
{
	if (s->trace_wanted) {
		s->trace_verdict = verdict;
		finish_trace(ctx);
	}
}
