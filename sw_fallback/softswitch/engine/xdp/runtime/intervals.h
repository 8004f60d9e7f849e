/*
 * Longest prefix match: a sorted table of intervals while it holds them, the kernel's trie beyond.
 *
 * The key is taken as one big number, words most significant first, exact fields above the prefix, which is from the
 * top of its first word on. Prefixes lie in one another or apart, so that they cut all keys into intervals, each with
 * one longest prefix or none: at most two for each prefix and one.
 *
 * A half (`halves.h`) has the lowest key of each interval, in order, then the numbers of their rows. The first interval
 * begins at zero and its lowest key is never read. The low half of the live word has the first step of the binary
 * search, a power of two; up to twice that many places what is left is the last interval again, from the highest
 * key on.
 */
#define PREFIX_ENTRIES 256 /* as many as intervals are made for: beyond, there is the trie */
#define INTERVALS_HALF(words, places) ((places) * (8 * (words) + 4))

#define TABLE_INTERVALS(stem, words, places) TABLE_HALVES(stem##_intervals, INTERVALS_HALF(words, places))

/*
 * The function of one table, of `places` for intervals, a power of two. The generator writes `is_below`, whether `key` is
 * below `bound`, as one condition: of a function that says so clang would make a number and test that again.
 * stem_search: the number of the row of the longest prefix; zero: none; HALVES_UNUSED: the trie is to be asked.
 */
#define INTERVAL_SEARCH(stem, words, places, is_below)                                                                \
	static __always_inline u32 stem##_search(const u64 *key)                                                      \
	{                                                                                                             \
		u32 first = 0, number = 0;                                                                            \
		const u8 *all = bpf_map_lookup_elem(&stem##_intervals, &first);                                       \
                                                                                                                      \
		if (!all)                                                                                             \
			return 0;                                                                                     \
		_Pragma("clang loop unroll(disable)")                                                                 \
		for (u32 attempt = 0; attempt < HALVES_ATTEMPTS; attempt++) {                                         \
			const u64 live = live_of(all);                                                                \
			const u8 *half = half_of(all, live, INTERVALS_HALF(words, places));                           \
			u64 at = 0;                                                                                   \
                                                                                                                      \
			if ((u32)live > (places) / 2)                                                                 \
				return HALVES_UNUSED;                                                                 \
			_Pragma("clang loop unroll(disable)")                                                         \
			for (u64 step = (u32)live; step; step >>= 1) {                                                \
				const u64 next = (at + step) & ((places) - 1);                                        \
				const u64 *bound = (const u64 *)(half + 8 * (words) * next);                          \
                                                                                                                      \
				if (!(is_below))                                                                      \
					at = next;                                                                    \
			}                                                                                             \
			number = *(const u32 *)(half + 8 * (words) * (places) + 4 * at);                              \
			barrier();                                                                                    \
			if (live_of(all) == live)                                                                     \
				break;                                                                                \
		}                                                                                                     \
		return number;                                                                                        \
	}

/* For tables that may have more than PREFIX_ENTRIES; intervals are declared as well. */
#define TABLE_TRIE(stem, words, entries)                                                                              \
	struct stem##_prefix {                                                                                        \
		u32 length, part[2 * (words)];                                                                        \
	};                                                                                                            \
	struct {                                                                                                      \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);                                                                  \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                                                 \
		__uint(max_entries, entries);                                                                         \
		__type(key, struct stem##_prefix);                                                                    \
		__type(value, u32);                                                                                   \
	} stem##_trie SEC(".maps")

#define TRIE_WORDS 8

/* The number of the row of the longest prefix; zero: none. The key is as in intervals; `length`: in bits. */
static __always_inline u32 trie_find(void *trie, const u64 *key, const u32 words, const u32 length)
{
	u32 prefix[1 + 2 * TRIE_WORDS], *number;

	prefix[0] = length;
#pragma unroll
	for (u32 word = 0; word < TRIE_WORDS; word++) {
		if (word >= words)
			continue;
		prefix[1 + 2 * word] = __builtin_bswap32(key[word] >> 32);
		prefix[2 + 2 * word] = __builtin_bswap32(key[word]);
	}
	number = bpf_map_lookup_elem(trie, prefix);
	return number ? *number : 0;
}
