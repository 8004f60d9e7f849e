/*
 * Ternary, range and optional fields: bit vectors, in halves (`halves.h`).
 *
 * Every entry is one bit; the entry that wins among those that fit is the lowest. A plane has for each value of one
 * byte of the key the bits of the entries that it fits. What is left when the planes of all bytes are put together by
 * AND, 64 entries at a time, are the entries that fit the key.
 *
 * A field with ranges is taken byte by byte from its least significant end: the key is above an entry's low end if
 * its byte is above the end's, or equals it and the bytes below are. The planes are, for the last byte: not below the
 * low end's byte, not above the high end's; for the other bytes: above it, below it, equal to the low end's, equal to
 * the high end's.
 *
 * The low half of the live word has the words of 64 entries that are in use. A half has the numbers of the entries' rows
 * and then the planes, whose vectors are as long as the words in use say.
 */
#define VECTOR_WORDS(entries) (((entries) + 63) / 64)
#define VECTOR_HALF(planes, entries) (VECTOR_WORDS(entries) * (64 * 4 + (planes) * 256 * 8))

#define TABLE_VECTORS(stem, planes, entries) TABLE_HALVES(stem##_vectors, VECTOR_HALF(planes, entries))

/* The number of the lowest bit that is set, by a de Bruijn sequence. */
const u8 lowest_bits[64] = {
	0,  1,  48, 2,  57, 49, 28, 3,  61, 58, 50, 42, 38, 29, 17, 4,  62, 55, 59, 36, 53, 51, 43, 22, 45, 39, 33, 30, 24, 18, 12, 5,
	63, 47, 56, 27, 60, 41, 37, 16, 54, 35, 52, 21, 44, 32, 23, 11, 46, 26, 40, 15, 34, 20, 31, 10, 25, 14, 19, 9,  13, 8,  7,  6,
};

static __always_inline u32 lowest_bit(u64 bits)
{
	return lowest_bits[(bits & -bits) * 0x03f79d71b4cb0a89ull >> 58];
}

/* One word of the vector of a byte's value. */
static __always_inline u64 vector_of(const u8 *planes, u32 plane, u32 value, u32 words, u32 at)
{
	return *(const u64 *)(planes + 8 * ((u64)(plane << 8 | value) * words + at));
}

/* Read from the stack each time: kept in variables, the bytes of a long key would not fit there. */
static __always_inline u32 key_byte(const u64 *key, u32 byte)
{
	return *((const volatile u8 *)key + byte);
}

/* Up to eight bits of the key from a bit on. */
static __always_inline u32 key_bits(const u64 *key, const u32 bit, const u32 count)
{
	u32 bits = key_byte(key, bit / 8) >> bit % 8;

	if (bit % 8 + count > 8)
		bits |= key_byte(key, bit / 8 + 1) << (8 - bit % 8);
	return bits & ((1u << count) - 1);
}

/*
 * Functions of one table. The generator writes `stem_match`: of the 64 entries from 64 * `at` on those that fit the key.
 * stem_scan: the number of the row that wins; zero: none fits.
 */
#define VECTOR_SCAN(stem, planes, entries)                                                                            \
	static __always_inline u32 stem##_scan(const u64 *key)                                                        \
	{                                                                                                             \
		u32 first = 0, number = 0;                                                                            \
		const u8 *all = bpf_map_lookup_elem(&stem##_vectors, &first);                                         \
                                                                                                                      \
		if (!all)                                                                                             \
			return 0;                                                                                     \
		_Pragma("clang loop unroll(disable)")                                                                 \
		for (u32 attempt = 0; attempt < HALVES_ATTEMPTS; attempt++) {                                         \
			const u64 live = live_of(all);                                                                \
			const u8 *half = half_of(all, live, VECTOR_HALF(planes, entries));                            \
			u32 words = live;                                                                             \
                                                                                                                      \
			number = 0;                                                                                   \
			if (words > VECTOR_WORDS(entries)) /* never, but the verifier asks */                         \
				return 0;                                                                             \
			if (words == 1) { /* mostly: where places are known they need no arithmetic */                \
				const u64 match = stem##_match(half + 4 * 64 * VECTOR_WORDS(entries), 1, 0, key);     \
                                                                                                                      \
				if (match)                                                                            \
					number = *(const u32 *)(half + 4 * (lowest_bit(match) & 63));                 \
				words = 0;                                                                            \
			}                                                                                             \
			_Pragma("clang loop unroll(disable)")                                                         \
			for (u32 at = 0; at < VECTOR_WORDS(entries) && at < words; at++) {                            \
				u64 match;                                                                            \
                                                                                                                      \
				barrier_var(words); /* or the places of all vectors are kept on the stack */          \
				match = stem##_match(half + 4 * 64 * VECTOR_WORDS(entries), words, at, key);          \
				if (match) {                                                                          \
					number = *(const u32 *)(half + 4 * (64 * at + (lowest_bit(match) & 63)));     \
					break;                                                                        \
				}                                                                                     \
			}                                                                                             \
			barrier();                                                                                    \
			if (live_of(all) == live)                                                                     \
				break;                                                                                \
		}                                                                                                     \
		return number;                                                                                        \
	}
