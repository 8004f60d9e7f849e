/*
 * Tables in memory that user space writes and programs read without locks. softswitch/engine/xdp/memory/ is the other
 * side; what lies where is said here and nowhere else.
 *
 * Rows are an array map. Row 0 is no row: its first word is the number of the row that a miss runs, or zero, and at
 * HOMES_AT an exact table whose index grows says how far it has grown. A row is filled before its number is put where
 * programs find it, is not changed while they may find it, and is used again only after a grace period (membarrier). This
 * counts on stores being seen in the order they are made (x86, or the address dependency from a number to its row
 * elsewhere).
 *
 * Wants from the generator: COUNTER_CELLS and CPUS, both powers of two; HASH_WORDS, the most words of an exact key.
 */

#pragma clang diagnostic ignored "-Wunused-function" /* no program uses everything */

_Static_assert(!(COUNTER_CELLS & (COUNTER_CELLS - 1)), "COUNTER_CELLS is to be a power of two");

#ifndef HASH_WORDS
#define HASH_WORDS 16
#endif

/* An array map that user space maps into its memory. */
#define SHARED_ARRAY(map, contents, entries)                                                                          \
	struct {                                                                                                      \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                     \
		__uint(map_flags, BPF_F_MMAPABLE);                                                                    \
		__uint(max_entries, entries);                                                                         \
		__type(key, u32);                                                                                     \
		__type(value, contents);                                                                              \
	} map SEC(".maps")

/* The rows of a table whose `struct stem_row` is known. */
#define TABLE_ROWS(stem, entries) SHARED_ARRAY(stem##_rows, struct stem##_row, entries)

/* Row of this number; NULL for none. */
static __always_inline void *row_of(void *rows, u32 number)
{
	return number ? bpf_map_lookup_elem(rows, &number) : NULL;
}

/* What a miss runs; NULL for nothing. */
static __always_inline void *default_row(void *rows)
{
	u32 first = 0, *number = bpf_map_lookup_elem(rows, &first);

	return number ? row_of(rows, *(volatile u32 *)number) : NULL;
}

/* ---- Counters ---- */

struct counter {
	u64 packets, octets;
};

/* Count a packet in this CPU's cell of COUNTER_CELLS; with fewer cells than CPUs some share one. */
static __always_inline void count_in(struct counter *cells, u32 octets)
{
	struct counter *mine = &cells[bpf_get_smp_processor_id() & (COUNTER_CELLS - 1)];

	if (COUNTER_CELLS >= CPUS) {
		mine->packets += 1;
		mine->octets += octets;
	} else {
		__sync_fetch_and_add(&mine->packets, 1);
		__sync_fetch_and_add(&mine->octets, octets);
	}
}

/* One index of an indirect counter. */
struct counters {
	struct counter cells[COUNTER_CELLS];
};

#define COUNTER(stem, entries) SHARED_ARRAY(stem##_cells, struct counters, entries)

/* Count a packet at an index; nothing happens beyond the last one. */
static __always_inline void count_at(void *counters, u32 index, u32 octets)
{
	struct counters *found = bpf_map_lookup_elem(counters, &index);

	if (found)
		count_in(found->cells, octets);
}

/* ---- Exact match: a hash table of buckets of seven ---- */

/*
 * A slot has a row's number in its low bits, as many as the rows need, and above them the same bits of the key's hash,
 * the topmost one always set; zero is an empty slot. A row that finds its bucket full goes to one of the next BUCKET_REACH.
 *
 * The bucket that a key hashes to is its home. Of a small table all buckets are homes. The index of a large one grows
 * with its entries by linear hashing (Litwin, VLDB 1980), or else a table with few entries would have them, and with
 * them the misses of all other keys, in as many cache lines as a full one. Its homes are the buckets below a number that
 * user space raises one by one, each time putting the rows that move at their new place too before it says so.
 */
struct bucket {
	u32 slots[7];
	u16 overflow; /* how many rows that hash to this bucket are in a later one */
	u16 reach;    /* how many buckets on the farthest of them may be */
};

#define BUCKET_SLOTS 7
#define BUCKET_REACH 31
#define HASH_FACTOR 0x9e3779b97f4a7c15ull /* 2^64 divided by the golden ratio */

#define TABLE_BUCKETS(stem, buckets) SHARED_ARRAY(stem##_buckets, struct bucket, buckets)

const volatile u64 hash_keys[2 * HASH_WORDS + 1]; /* random, new at each load: nobody outside can make keys collide */

/*
 * A sum of products after Lemire and Kaser, Strongly universal string hashing is fast (Computer Journal 57(11), 2014),
 * "multilinear-HM": of two words that differ in the high half the difference has a multiple, below 2^32, of the first
 * key; else of the second. Either way all values of the sum's high half are alike likely, whoever chose the words.
 * Then mixed, so that keys in arithmetic progression spread too.
 */
static __always_inline u64 hash_of(const u64 *key, const u32 words)
{
	u64 hash = hash_keys[0];

#pragma unroll
	for (u32 word = 0; word < HASH_WORDS; word++) /* the bound is a number: `words` is not known before inlining */
		if (word < words)
			hash += (hash_keys[2 * word + 1] + key[word]) * (hash_keys[2 * word + 2] + (key[word] >> 32));
	hash ^= hash >> 32;
	hash *= HASH_FACTOR;
	return hash ^ hash >> 29;
}

static __always_inline u32 mask_for(const u32 count)
{
	return count > 1 ? 0xffffffffu >> __builtin_clz(count - 1) : 0;
}

#define HOMES_AT 8

/*
 * The home of keys with this hash, in an index that grows. What row 0 says is one word, so that it is read whole: how
 * many homes there are, and above it the least power of two that is not less, minus one. A bucket of as many bits of the
 * hash that is no home yet is still in one with the home of one bit less.
 */
static __always_inline u32 home_of(void *rows, const u64 hash)
{
	u32 first = 0;
	const u8 *row = bpf_map_lookup_elem(rows, &first);
	u64 grown, mask, home, is_home;

	if (!row)
		return 0;
	grown = *(const volatile u64 *)(row + HOMES_AT);
	mask = grown >> 32;
	home = hash >> 32 & mask;
	is_home = (s64)(home - (u32)grown) >> 63; /* all bits or none */
	barrier_var(is_home); /* or clang makes a jump of it, as likely taken as not */
	return home & (mask >> 1 | is_home);
}

/* exact_find from this home on. */
static __always_inline void *find_from(void *buckets, const u32 bucket_count, void *rows, const u32 row_count,
				       const u64 *key, const u32 words, const u64 hash, const u32 home)
{
	const u32 numbers = mask_for(row_count);
	const u32 tag = ((u32)hash | 1u << 31) & ~numbers;
	u32 reach = 0;

#pragma clang loop unroll(disable)
	for (u32 further = 0; further <= BUCKET_REACH; further++) {
		u32 index = (home + further) & (bucket_count - 1);
		struct bucket *bucket = bpf_map_lookup_elem(buckets, &index);

		if (!bucket)
			return NULL;
#pragma unroll
		for (u32 slot = 0; slot < BUCKET_SLOTS; slot++) {
			/* with the tag taken off, a slot of another tag is larger than any number */
			u32 number = *(volatile u32 *)&bucket->slots[slot] ^ tag;

			if (number <= numbers) {
				u64 *row = bpf_map_lookup_elem(rows, &number), differs = 0;

				if (!row)
					return NULL;
#pragma unroll
				for (u32 word = 0; word < HASH_WORDS; word++)
					if (word < words)
						differs |= row[word] ^ key[word];
				if (!differs)
					return row;
			}
		}
		if (!further)
			reach = *(volatile u16 *)&bucket->reach;
		if (further >= reach)
			return NULL;
	}
	return NULL;
}

/* The row with this key, which is the row's first `words` words, or NULL. Counts are the maps' sizes: constants. */
static __always_inline void *exact_find(void *buckets, const u32 bucket_count, void *rows, const u32 row_count,
					const u64 *key, const u32 words)
{
	const u64 hash = hash_of(key, words);

	return find_from(buckets, bucket_count, rows, row_count, key, words, hash, hash >> 32);
}

/* The same where the index grows. */
static __always_inline void *growing_find(void *buckets, const u32 bucket_count, void *rows, const u32 row_count,
					  const u64 *key, const u32 words)
{
	const u64 hash = hash_of(key, words);

	return find_from(buckets, bucket_count, rows, row_count, key, words, hash, home_of(rows, hash));
}

/* ---- Locks: where two words must change together ---- */

/*
 * Programs on several CPUs settle with `busy` who goes first. User space cannot exchange a word atomically: it sets
 * `wanted`, which no program passes, and waits until `busy` is zero. All waiting here is bounded: a packet is worth
 * more than a count, and who gives up goes ahead unprotected.
 */
struct lock {
	u32 busy, wanted;
};

#define LOCK_SPINS (1 << 14)

static __always_inline u32 try_lock(struct lock *lock)
{
	if (*(volatile u32 *)&lock->busy || __sync_lock_test_and_set(&lock->busy, 1))
		return 0;
	if (!*(volatile u32 *)&lock->wanted)
		return 1;
	*(volatile u32 *)&lock->busy = 0;
	return 0;
}

struct lock_attempt {
	struct lock *lock;
	u32 taken;
};

static long lock_again(u32 turn, struct lock_attempt *attempt)
{
	attempt->taken = try_lock(attempt->lock);
	return attempt->taken;
}

static __noinline u32 wait_for(struct lock *lock)
{
	struct lock_attempt attempt = {lock, 0};

	bpf_loop(LOCK_SPINS, lock_again, &attempt, 0);
	return attempt.taken;
}

/* Whether the lock was taken, perhaps after some waiting. */
static __always_inline u32 take_lock(struct lock *lock)
{
	return try_lock(lock) || wait_for(lock);
}

/* The lock of an array, taken; NULL if it could not be had. `unlock` takes either. */
static __always_inline struct lock *lock(void *locks)
{
	u32 first = 0;
	struct lock *found = bpf_map_lookup_elem(locks, &first);

	return found && take_lock(found) ? found : NULL;
}

static __always_inline void unlock(struct lock *lock)
{
	asm volatile("" ::: "memory"); /* clang is to leave what was locked before this */
	if (lock)
		*(volatile u32 *)&lock->busy = 0;
}

/* ---- Registers ---- */

#define REGISTER(stem, words, entries)                                                                                \
	struct stem##_cell {                                                                                          \
		u64 word[words];                                                                                      \
	};                                                                                                            \
	SHARED_ARRAY(stem##_cells, struct stem##_cell, entries);                                                      \
	SHARED_ARRAY(stem##_lock, struct lock, 1)

/* The words of a cell, the least significant first; NULL beyond the last one. */
static __always_inline u64 *cell_of(void *cells, u32 index)
{
	return bpf_map_lookup_elem(cells, &index);
}

/* ---- Action profiles ---- */

/*
 * A row of an indirect table has the number of a group. A group is the first of its seats and their count; a group of
 * one has the number of the member's row in place of a seat. Rows of members have no key.
 */
#define PROFILE(stem, groups, seats, members)                                                                         \
	SHARED_ARRAY(stem##_groups, u64, groups);                                                                     \
	SHARED_ARRAY(stem##_seats, u32, seats);                                                                       \
	TABLE_ROWS(stem, members)

/* A group as one word; zero, an empty group, where there is none. */
static __always_inline u64 group_of(void *groups, u32 number)
{
	u64 *group = bpf_map_lookup_elem(groups, &number);

	return group ? *(volatile u64 *)group : 0;
}

static __always_inline u32 group_size(u64 group)
{
	return group >> 32;
}

/* The member of a group of one: all that a profile without selector has. */
static __always_inline void *only_member(void *rows, u64 group)
{
	return row_of(rows, (u32)group);
}

/* The member that a hash chooses, which is not looked at if there is one only; NULL for an empty group. */
static __always_inline void *group_member(void *seats, void *rows, u64 group, u64 hash)
{
	u32 size = group_size(group), number = (u32)group;

	if (size > 1) {
		u32 index = number + (u32)(hash % size), *seat = bpf_map_lookup_elem(seats, &index);

		if (!seat)
			return NULL;
		number = *(volatile u32 *)seat;
	}
	return row_of(rows, number);
}
