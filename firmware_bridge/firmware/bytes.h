/* Little-endian numbers in a byte buffer, on any byte order and any alignment. */
#ifndef RTSYSID_BYTES_H
#define RTSYSID_BYTES_H

#include <stdint.h>
#include <string.h>

static inline void put_u8(uint8_t *p, uint8_t x) { p[0] = x; }

static inline void put_u16(uint8_t *p, uint16_t x)
{
    p[0] = (uint8_t)x;
    p[1] = (uint8_t)(x >> 8);
}

static inline void put_u32(uint8_t *p, uint32_t x)
{
    put_u16(p, (uint16_t)x);
    put_u16(p + 2, (uint16_t)(x >> 16));
}

static inline void put_u64(uint8_t *p, uint64_t x)
{
    put_u32(p, (uint32_t)x);
    put_u32(p + 4, (uint32_t)(x >> 32));
}

static inline uint8_t get_u8(const uint8_t *p) { return p[0]; }

static inline uint16_t get_u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static inline uint32_t get_u32(const uint8_t *p) { return get_u16(p) | (uint32_t)get_u16(p + 2) << 16; }

static inline uint64_t get_u64(const uint8_t *p) { return get_u32(p) | (uint64_t)get_u32(p + 4) << 32; }

_Static_assert(sizeof(float) == 4, "IEEE-754 binary32");

static inline void put_f32(uint8_t *p, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    put_u32(p, bits);
}

static inline float get_f32(const uint8_t *p)
{
    uint32_t bits = get_u32(p);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#endif
