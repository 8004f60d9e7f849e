/* A traced packet's way through the tables, noted in struct state. */
static __always_inline void trace_step(struct state *s, u32 step)
{
	const u32 at = s->trace_steps;

	if (s->trace_wanted && at < TRACE_STEPS) {
		((u32 *)&s->trace_way)[at] = step;
		s->trace_steps = at + 1;
	}
}
