/* Cut the frame to the length that was asked for; a negative number when that is less than a frame has to have. */
static __always_inline int truncate(struct xdp_md *ctx, struct state *s)
{
	const u64 size = (u64)(long)ctx->data_end - (u64)(long)ctx->data;

	return s->cut < size ? bpf_xdp_adjust_tail(ctx, (int)s->cut - (int)size) : 0;
}
