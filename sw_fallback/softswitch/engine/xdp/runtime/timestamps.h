/*
 * The time of a packet, asked for once in its pass. Wants from the generator: clock_of_packets, which tells the exact
 * nanoseconds of CLOCK_MONOTONIC or, where the program reads no more than that, those of the kernel's last tick.
 */
static __always_inline u64 packet_time(struct state *s)
{
	if (!s->moment)
		s->moment = clock_of_packets();
	return s->moment;
}

/* Microseconds since the program was loaded; divided once in a packet's pass. */
static __always_inline u64 micros(struct state *s)
{
	const u32 zero = 0;
	const struct clock *shared = bpf_map_lookup_elem(&clock, &zero);

	if (!s->micros && shared)
		s->micros = (packet_time(s) - shared->started) / 1000;
	return s->micros;
}
