/*
 * An index that user space writes whole, while programs read. As with `tables.h`, softswitch/engine/xdp/memory/ is the
 * other side.
 *
 * The map has one value: a word that says what is live (a count of changes in its high half; its low half is the
 * index's own), 56 bytes of nothing, and two halves for even and odd counts. User space writes the half that is not
 * live and then the word. A reader that finds the word changed has perhaps read what was being written.
 */
#define HALVES_HEADER 64
#define HALVES_ATTEMPTS 3
#define HALVES_UNUSED 0xffffffffu /* in the word's low half: something else has what is too much for this index */

#define TABLE_HALVES(map, size)                                                                                       \
	struct map##_value {                                                                                          \
		u64 live, unused[7];                                                                                  \
		u8 halves[2][size];                                                                                   \
	};                                                                                                            \
	SHARED_ARRAY(map, struct map##_value, 1)

static __always_inline u64 live_of(const u8 *all)
{
	return *(const volatile u64 *)all;
}

static __always_inline const u8 *half_of(const u8 *all, const u64 live, const u32 size)
{
	return all + HALVES_HEADER + (live >> 32 & 1) * size;
}
