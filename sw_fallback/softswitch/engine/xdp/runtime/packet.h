/* Bytes of the frame as numbers. The machine is little-endian, and the verifier of such a machine lets packet memory be
 * read and written at any alignment; clang makes each of the natural widths one load or store and one byte swap. The
 * same bytes are accessed in several widths, which C allows only with types that may be aliases of one another.
 */
typedef u16 __attribute__((may_alias)) frame_u16;
typedef u32 __attribute__((may_alias)) frame_u32;
typedef u64 __attribute__((may_alias)) frame_u64;

static __always_inline u64 load_be8(const u8 *p)
{
	return p[0];
}

static __always_inline u64 load_be16(const u8 *p)
{
	return __builtin_bswap16(*(const frame_u16 *)p);
}

static __always_inline u64 load_be32(const u8 *p)
{
	return __builtin_bswap32(*(const frame_u32 *)p);
}

static __always_inline u64 load_be64(const u8 *p)
{
	return __builtin_bswap64(*(const frame_u64 *)p);
}

static __always_inline u64 load_be24(const u8 *p)
{
	return load_be16(p) << 8 | p[2];
}

static __always_inline u64 load_be40(const u8 *p)
{
	return load_be32(p) << 8 | p[4];
}

static __always_inline u64 load_be48(const u8 *p)
{
	return load_be16(p) << 32 | load_be32(p + 2);
}

static __always_inline u64 load_be56(const u8 *p)
{
	return load_be32(p) << 24 | load_be24(p + 4);
}

static __always_inline void store_be8(u8 *p, u64 value)
{
	p[0] = value;
}

static __always_inline void store_be16(u8 *p, u64 value)
{
	*(frame_u16 *)p = __builtin_bswap16(value);
}

static __always_inline void store_be32(u8 *p, u64 value)
{
	*(frame_u32 *)p = __builtin_bswap32(value);
}

static __always_inline void store_be64(u8 *p, u64 value)
{
	*(frame_u64 *)p = __builtin_bswap64(value);
}

static __always_inline void store_be24(u8 *p, u64 value)
{
	store_be16(p, value >> 8);
	p[2] = value;
}

static __always_inline void store_be40(u8 *p, u64 value)
{
	store_be32(p, value >> 8);
	p[4] = value;
}

static __always_inline void store_be48(u8 *p, u64 value)
{
	store_be16(p, value >> 32);
	store_be32(p + 2, value);
}

static __always_inline void store_be56(u8 *p, u64 value)
{
	store_be32(p, value >> 24);
	store_be24(p + 4, value);
}

/* Bytes as they are. Where the two overlap, `to` is the lower one and parts are copied in ascending order. */
static __always_inline void copy8(u8 *to, const u8 *from)
{
	*(frame_u64 *)to = *(const frame_u64 *)from;
}

static __always_inline void copy4(u8 *to, const u8 *from)
{
	*(frame_u32 *)to = *(const frame_u32 *)from;
}

static __always_inline void copy2(u8 *to, const u8 *from)
{
	*(frame_u16 *)to = *(const frame_u16 *)from;
}

static __always_inline void copy1(u8 *to, const u8 *from)
{
	*to = *from;
}
