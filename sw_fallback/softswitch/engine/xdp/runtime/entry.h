/* What one CPU works with, and what it counts. */

enum { FRESH = 0xffff, PORTS = 512, INTERFACES = 1 << 20, FRAME_ROOM = 4096, TICK = 10 * 1000 * 1000 };

/* Which translation of the program this is: the first one, or one that tells where packets go. */
const volatile u32 generation;

struct event {
	u32 kind;
	u32 length;
	u32 number;
	u16 port;
	u16 size;
};

/* The state and the frame lie behind their events, so that a record is sent as it lies here. `to` has the new places of
 * headers that are put together anew, `aside` their old bytes.
 */
struct workspace {
	struct event before_state;
	struct state state;
	struct event before_frame;
	u8 frame[FRAME_ROOM];
	u16 to[HEADERS];
	u8 aside[ASIDE];
};

struct clock {
	u64 now;
	u64 started;
};

struct ticker {
	struct bpf_timer timer;
};

/* The port of each interface by its index, plus one; zero where it is not the switch's. */
struct interfaces {
	u16 port[INTERFACES];
};

struct user_ports {
	u8 serves[PORTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct workspace);
} states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, CPUS);
	__type(key, u32);
	__type(value, struct statistics);
} statistics SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct clock);
} clock SEC(".maps");

/* Not shared with user space: the kernel refuses that for a map with a timer. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ticker);
} ticker SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct interfaces);
} port_of SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct user_ports);
} user_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, PORTS);
	__type(key, u32);
	__type(value, u32);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

static __always_inline struct workspace *this_workspace(void)
{
	const u32 zero = 0;

	return bpf_map_lookup_elem(&states, &zero);
}

static __always_inline struct state *this_state(void)
{
	struct workspace *w = this_workspace();

	return w ? &w->state : NULL;
}

/* This CPU's counters; never NULL, but the verifier cannot know. */
static __always_inline struct statistics *counts_here(void)
{
	const u32 cpu = bpf_get_smp_processor_id() & (CPUS - 1);

	return bpf_map_lookup_elem(&statistics, &cpu);
}

#define COUNT(member) \
	do { \
		struct statistics *here = counts_here(); \
		if (here) \
			here->member++; \
	} while (0)

/* Nanoseconds of CLOCK_MONOTONIC as of the last tick. */
static __always_inline u64 clock_now(void)
{
	const u32 zero = 0;
	struct clock *shared = bpf_map_lookup_elem(&clock, &zero);

	return shared ? *(volatile u64 *)&shared->now : 0;
}

/*
 * Digests wake nobody, which would take longer than the packets they are of: user space is woken for all that came since
 * the last tick, by an empty record that it never sees. If the ring is full, it looks by itself within a second.
 */
static __always_inline void wake(void)
{
	void *nothing;

	if (!bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA))
		return;
	nothing = bpf_ringbuf_reserve(&events, sizeof(u64), 0);
	if (nothing)
		bpf_ringbuf_discard(nothing, BPF_RB_FORCE_WAKEUP);
}

static int tick(void *map, const u32 *key, struct ticker *own)
{
	const u32 zero = 0;
	struct clock *shared = bpf_map_lookup_elem(&clock, &zero);

	if (shared)
		*(volatile u64 *)&shared->now = bpf_ktime_get_ns();
	wake();
	bpf_timer_start(&own->timer, TICK, 0);
	return 0;
}

/* Run once when the program is loaded, again when another process adopts the maps; the timer ends with its map. */
SEC("xdp")
int start_clock(struct xdp_md *ctx)
{
	const u32 zero = 0;
	struct ticker *own = bpf_map_lookup_elem(&ticker, &zero);
	struct clock *shared = bpf_map_lookup_elem(&clock, &zero);

	if (!own || !shared)
		return XDP_ABORTED;
	*(volatile u64 *)&shared->now = bpf_ktime_get_ns();
	const long made = bpf_timer_init(&own->timer, &ticker, 1 /* CLOCK_MONOTONIC */);
	if ((made && made != -16 /* EBUSY: a timer that was adopted with its map */) ||
	    bpf_timer_set_callback(&own->timer, tick))
		return XDP_ABORTED;
	return bpf_timer_start(&own->timer, TICK, 0) ? XDP_ABORTED : XDP_PASS;
}
