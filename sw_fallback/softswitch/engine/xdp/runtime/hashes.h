/*
 * The hash and checksum algorithms of v1model; softswitch/hashes.py has the same in Python.
 *
 * Input comes as words of up to eight bytes, the first byte the highest; what is above the `count` lowest bytes of a
 * word is ignored. Counts are constants.
 */

/*
 * CRCs, a word at a time ("slicing"): a CRC is linear, so that of a word is the exclusive or of what each of its bytes
 * contributes, which depends on the byte and on how many bytes come after it. table[n] has that of a byte with n bytes
 * after it. Such a table again has 256 sums of the contributions of eight bits, each one step of the CRC from the last:
 * b0 … b7 below, of which l0 … lf and h0 … hf are the sums for the lower and the upper half of a byte.
 */
#define CRC_DOWN(crc, polynomial) ((crc) >> 1 ^ ((crc) & 1 ? (polynomial) : 0))
#define CRC_UP(crc, top, polynomial) (((crc) << 1 ^ ((crc) & (top) ? (polynomial) : 0)) & (2 * (top) - 1))

#define CRC_HALF(half, b0, b1, b2, b3)                                                                                \
	half##0 = 0, half##1 = b0, half##2 = b1, half##3 = b1 ^ b0, half##4 = b2, half##5 = b2 ^ b0,                  \
	half##6 = b2 ^ b1, half##7 = b2 ^ b1 ^ b0, half##8 = b3, half##9 = b3 ^ b0, half##a = b3 ^ b1,                \
	half##b = b3 ^ b1 ^ b0, half##c = b3 ^ b2, half##d = b3 ^ b2 ^ b0, half##e = b3 ^ b2 ^ b1,                    \
	half##f = b3 ^ b2 ^ b1 ^ b0

#define CRC_HALVES(n)                                                                                                 \
	CRC_HALF(n##l, n##b0, n##b1, n##b2, n##b3), CRC_HALF(n##h, n##b4, n##b5, n##b6, n##b7)

/* The contributions of a byte's bits in a CRC that takes the lowest bit first: the highest bit is the last one in. */
#define CRC_BITS_DOWN(n, last, polynomial)                                                                            \
	n##b7 = CRC_DOWN(last, polynomial), n##b6 = CRC_DOWN(n##b7, polynomial), n##b5 = CRC_DOWN(n##b6, polynomial), \
	n##b4 = CRC_DOWN(n##b5, polynomial), n##b3 = CRC_DOWN(n##b4, polynomial),                                     \
	n##b2 = CRC_DOWN(n##b3, polynomial), n##b1 = CRC_DOWN(n##b2, polynomial),                                     \
	n##b0 = CRC_DOWN(n##b1, polynomial), CRC_HALVES(n)

/* The same for one that takes the highest bit first. */
#define CRC_BITS_UP(n, last, top, polynomial)                                                                         \
	n##b0 = CRC_UP(last, top, polynomial), n##b1 = CRC_UP(n##b0, top, polynomial),                                \
	n##b2 = CRC_UP(n##b1, top, polynomial), n##b3 = CRC_UP(n##b2, top, polynomial),                               \
	n##b4 = CRC_UP(n##b3, top, polynomial), n##b5 = CRC_UP(n##b4, top, polynomial),                               \
	n##b6 = CRC_UP(n##b5, top, polynomial), n##b7 = CRC_UP(n##b6, top, polynomial), CRC_HALVES(n)

#define CRC_ROW(h, l)                                                                                                 \
	h ^ l##0, h ^ l##1, h ^ l##2, h ^ l##3, h ^ l##4, h ^ l##5, h ^ l##6, h ^ l##7, h ^ l##8, h ^ l##9, h ^ l##a, \
		h ^ l##b, h ^ l##c, h ^ l##d, h ^ l##e, h ^ l##f

#define CRC_TABLE(n)                                                                                                  \
	{                                                                                                             \
		CRC_ROW(n##h0, n##l), CRC_ROW(n##h1, n##l), CRC_ROW(n##h2, n##l), CRC_ROW(n##h3, n##l),               \
		CRC_ROW(n##h4, n##l), CRC_ROW(n##h5, n##l), CRC_ROW(n##h6, n##l), CRC_ROW(n##h7, n##l),               \
		CRC_ROW(n##h8, n##l), CRC_ROW(n##h9, n##l), CRC_ROW(n##ha, n##l), CRC_ROW(n##hb, n##l),               \
		CRC_ROW(n##hc, n##l), CRC_ROW(n##hd, n##l), CRC_ROW(n##he, n##l), CRC_ROW(n##hf, n##l),               \
	}

#define CRC_4_TABLES(n) CRC_TABLE(n##0_), CRC_TABLE(n##1_), CRC_TABLE(n##2_), CRC_TABLE(n##3_)
#define CRC_8_TABLES(n)                                                                                               \
	CRC_4_TABLES(n), CRC_TABLE(n##4_), CRC_TABLE(n##5_), CRC_TABLE(n##6_), CRC_TABLE(n##7_)

#define CRC_4_DOWN(n, polynomial)                                                                                     \
	CRC_BITS_DOWN(n##0_, 1, polynomial), CRC_BITS_DOWN(n##1_, n##0_b0, polynomial),                               \
	CRC_BITS_DOWN(n##2_, n##1_b0, polynomial), CRC_BITS_DOWN(n##3_, n##2_b0, polynomial)
#define CRC_8_DOWN(n, polynomial)                                                                                     \
	CRC_4_DOWN(n, polynomial), CRC_BITS_DOWN(n##4_, n##3_b0, polynomial),                                         \
	CRC_BITS_DOWN(n##5_, n##4_b0, polynomial), CRC_BITS_DOWN(n##6_, n##5_b0, polynomial),                         \
	CRC_BITS_DOWN(n##7_, n##6_b0, polynomial)
#define CRC_8_UP(n, top, polynomial)                                                                                  \
	CRC_BITS_UP(n##0_, top, top, polynomial), CRC_BITS_UP(n##1_, n##0_b7, top, polynomial),                       \
	CRC_BITS_UP(n##2_, n##1_b7, top, polynomial), CRC_BITS_UP(n##3_, n##2_b7, top, polynomial),                   \
	CRC_BITS_UP(n##4_, n##3_b7, top, polynomial), CRC_BITS_UP(n##5_, n##4_b7, top, polynomial),                   \
	CRC_BITS_UP(n##6_, n##5_b7, top, polynomial), CRC_BITS_UP(n##7_, n##6_b7, top, polynomial)

enum { CRC_8_DOWN(crc32_, 0xedb88320u) };
enum { CRC_8_DOWN(crc16_, 0xa001u) };
enum { CRC_4_DOWN(crc64_, 0xd800000000000000ull) };
enum { CRC_8_UP(ccitt_, 0x8000u, 0x1021u) };
enum { CRC_8_UP(crc8_, 0x80u, 0x07u) };

/* Not static: the kernel's type information would have them all at the same place. */
const u32 crc32_table[8][256] = {CRC_8_TABLES(crc32_)};
const u16 crc16_table[8][256] = {CRC_8_TABLES(crc16_)};
const u64 crc64_table[4][256] = {CRC_4_TABLES(crc64_)};
const u16 ccitt_table[8][256] = {CRC_8_TABLES(ccitt_)};
const u8 crc8_table[8][256] = {CRC_8_TABLES(crc8_)};

/* What the bytes of a word, the first one the highest, contribute beside what is left of the CRC before. */
#define CRC_BYTES(table, word, count, rest)                                                                           \
	do {                                                                                                          \
		_Pragma("unroll") for (u32 byte = 0; byte < (count); byte++)                                          \
			(rest) ^= (table)[(count)-1 - byte][(u8)((word) >> (56 - 8 * byte))];                         \
	} while (0)

/* CRC-32 (ISO-HDLC): starts as 0xffffffff, and the complement is the result. */
static __always_inline u32 crc32_add(u32 crc, u64 bytes, const u32 count)
{
	u64 word = bytes << (64 - 8 * count) ^ __builtin_bswap64(crc);
	u32 rest = count < 4 ? crc >> 8 * (count & 3) : 0;

	CRC_BYTES(crc32_table, word, count, rest);
	return rest;
}

/* CRC-16/ARC: starts as 0. */
static __always_inline u16 crc16_add(u16 crc, u64 bytes, const u32 count)
{
	u64 word = bytes << (64 - 8 * count) ^ __builtin_bswap64(crc);
	u16 rest = count < 2 ? crc >> 8 : 0;

	CRC_BYTES(crc16_table, word, count, rest);
	return rest;
}

/* CRC-64 with the polynomial 0x1b, lowest bit first: starts as 0; at most four bytes at a time. */
static __always_inline u64 crc64_add(u64 crc, u64 bytes, const u32 count)
{
	u64 word = bytes << (64 - 8 * count) ^ __builtin_bswap64(crc);
	u64 rest = crc >> 8 * count;

	CRC_BYTES(crc64_table, word, count, rest);
	return rest;
}

/* CRC-16/CCITT-FALSE: starts as 0xffff. */
static __always_inline u16 ccitt_add(u16 crc, u64 bytes, const u32 count)
{
	u64 word = bytes << (64 - 8 * count) ^ (u64)crc << 48;
	u16 rest = count < 2 ? crc << 8 : 0;

	CRC_BYTES(ccitt_table, word, count, rest);
	return rest;
}

/* CRC-8 with the polynomial 0x07: starts as 0. */
static __always_inline u8 crc8_add(u8 crc, u64 bytes, const u32 count)
{
	u64 word = bytes << (64 - 8 * count) ^ (u64)crc << 56;
	u8 rest = 0;

	CRC_BYTES(crc8_table, word, count, rest);
	return rest;
}

/* The Internet checksum (RFC 1071) from a sum of 16-bit words; more of them fit than any packet has. */
static __always_inline u16 csum16_fold(u64 sum)
{
	sum = (sum >> 32) + (u32)sum;
	sum = (sum >> 32) + (u32)sum;
	sum = (sum >> 16) + (u16)sum;
	sum = (sum >> 16) + (u16)sum;
	return ~((sum >> 16) + sum);
}

/* Such a sum when fewer than 16 bits are to follow, so that words begin elsewhere. */
static __always_inline u64 csum16_shift(u64 sum, u32 bits)
{
	return ((sum >> 32) + (u32)sum) << bits;
}

/* The exclusive or of the 16-bit and of the 32-bit parts of words that have been put together in the same way. */
static __always_inline u16 xor16_fold(u64 words)
{
	words ^= words >> 32;
	return words ^ words >> 16;
}

static __always_inline u32 xor32_fold(u64 words)
{
	return words ^ words >> 32;
}
