/*
 * Two-rate three-colour meters (RFC 2698, colour-blind). A cell is shared with user space, which configures it and
 * may execute it too (softswitch/engine/xdp/memory/meters.py): both count alike. All zero, it is not configured and
 * everything is green.
 *
 * Rates and bursts are below 2^43, so that no product leaves 64 bits.
 */

#define METER_MICROS 1000000

struct meter_bucket {
	u64 per_second; /* tokens that come in */
	u64 burst;      /* and at most are in */
	u64 tokens;
	u64 full; /* microseconds after which it is full for certain; not zero */
};

struct meter {
	struct lock lock;
	u64 credited; /* nanoseconds: tokens have come in until then */
	struct meter_bucket committed, peak;
	u32 committed_rest, peak_rest; /* millionths of a token beside those that are in */
};

static __always_inline void meter_credit(struct meter_bucket *bucket, u32 *rest, u64 micros)
{
	u64 millionths;

	if (micros >= bucket->full) {
		/* many microseconds times a rate may be too much; their remainders are not */
		millionths = (micros % METER_MICROS) * (bucket->per_second % METER_MICROS) + *rest;
		bucket->tokens = bucket->burst;
	} else {
		millionths = micros * bucket->per_second + *rest;
		bucket->tokens += millionths / METER_MICROS;
		if (bucket->tokens > bucket->burst)
			bucket->tokens = bucket->burst;
	}
	*rest = millionths % METER_MICROS;
}

/* The colour of a packet that takes `amount` tokens (its octets, or one): 0 green, 1 yellow, 2 red. */
static __noinline u32 meter_execute(struct meter *meter, u64 now, u32 amount)
{
	u32 taken, colour = 0;

	if (!*(volatile u64 *)&meter->peak.full)
		return 0;
	taken = take_lock(&meter->lock);
	if (now >= meter->credited + 1000) {
		u64 micros = (now - meter->credited) / 1000;

		meter->credited += 1000 * micros;
		meter_credit(&meter->committed, &meter->committed_rest, micros);
		meter_credit(&meter->peak, &meter->peak_rest, micros);
	}
	if (meter->peak.tokens < amount) {
		colour = 2;
	} else {
		meter->peak.tokens -= amount;
		if (meter->committed.tokens < amount)
			colour = 1;
		else
			meter->committed.tokens -= amount;
	}
	if (taken)
		*(volatile u32 *)&meter->lock.busy = 0;
	return colour;
}

#define METER(stem, entries) SHARED_ARRAY(stem##_cells, struct meter, entries)
