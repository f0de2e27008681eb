#include "wire.h"

#include <string.h>

struct shape {
    uint8_t type, seeded, required, tail_item;
};

static const struct shape *shape_of(uint8_t type)
{
    static const struct shape shapes[] = WIRE_SHAPES;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (shapes[i].type == type) return &shapes[i];
    return NULL;
}

uint32_t wire_crc(const uint8_t *bytes, size_t size, uint32_t seed)
{
    static const uint32_t nibble[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = ~seed;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ nibble[crc & 15u];
        crc = crc >> 4 ^ nibble[crc & 15u];
    }
    return ~crc;
}

/* Encode COBS in place: the block is block[1..size]; each zero becomes the distance to the next one. */
static void stuff(uint8_t *block, size_t size)
{
    size_t zero = 0;
    for (size_t i = 1; i <= size; i++)
        if (block[i] == 0) {
            block[zero] = (uint8_t)(i - zero);
            zero = i;
        }
    block[zero] = (uint8_t)(size + 1 - zero);
}

/* Decode COBS in place, from block[0..size) without zeros to block[1..size). False where a distance is too long. */
static bool unstuff(uint8_t *block, size_t size)
{
    for (size_t zero = 0; zero < size;) {
        size_t distance = block[zero];
        if (distance > size - zero) return false;
        block[zero] = 0;
        zero += distance;
    }
    return true;
}

size_t wire_encode(uint8_t out[WIRE_BUFFER], const struct wire_frame *frame, uint32_t schema)
{
    if (frame->size > WIRE_MAX_PAYLOAD) return 0;
    const struct shape *shape = shape_of(frame->type);
    size_t size = WIRE_HEADER_SIZE + frame->size;
    uint8_t *raw = out + 1;
    put_u8(raw, frame->type);
    put_u8(raw + 1, frame->session);
    put_u16(raw + 2, frame->seq);
    put_u32(raw + 4, frame->t_us);
    if (frame->size) memcpy(raw + WIRE_HEADER_SIZE, frame->payload, frame->size);
    put_u32(raw + size, wire_crc(raw, size, shape && shape->seeded ? schema : 0));
    size += WIRE_CRC_SIZE;
    stuff(out, size);
    out[size + 1] = 0;
    return size + 2;
}

void wire_decoder_start(struct wire_decoder *d, uint32_t schema, uint8_t session)
{
    memset(d, 0, sizeof *d);
    d->schema = schema;
    d->session = session;
}

/* A CRC is linear: under another seed, all frames of one length differ by the same value. */
static void blame(struct wire_counters *count, uint32_t in_a_row)
{
    if (in_a_row == 1) {
        count->crc++;
        return;
    }
    if (in_a_row == 2) { /* the frame before, which was counted as noise, was one of them */
        count->crc--;
        count->schema++;
    }
    count->schema++;
}

static bool intact(struct wire_decoder *d, const uint8_t *raw, size_t size)
{
    const struct shape *shape = shape_of(raw[0]);
    bool seeded = shape && shape->seeded;
    size_t body = size - WIRE_CRC_SIZE;
    uint32_t difference = wire_crc(raw, body, seeded ? d->schema : 0) ^ get_u32(raw + body);
    if (seeded) {
        d->misfits = difference == d->misfit ? d->misfits + 1 : 1;
        d->misfit = difference;
    }
    if (difference) blame(&d->count, seeded ? d->misfits : 1);
    return difference == 0;
}

static bool opens(const struct wire_frame *frame)
{
    return frame->type == WIRE_HELLO || frame->type == WIRE_HELLO_ACK;
}

/* Note that a number came, or that it did not yet; return what was noted before. */
static bool mark(struct wire_decoder *d, uint16_t seq, bool came)
{
    uint8_t *byte = &d->seen[seq % WIRE_WINDOW / 8u], bit = (uint8_t)(1u << seq % 8u);
    bool before = (*byte & bit) != 0;
    *byte = (uint8_t)(came ? *byte | bit : *byte & ~bit);
    return before;
}

/* Go on to a newer number: none of those between has come. */
static void advance(struct wire_decoder *d, uint16_t seq, uint16_t ahead)
{
    if (ahead >= WIRE_WINDOW) memset(d->seen, 0, sizeof d->seen);
    for (uint16_t n = 1; ahead < WIRE_WINDOW && n < ahead; n++) mark(d, (uint16_t)(d->last_seq + n), false);
    mark(d, seq, true);
    d->last_seq = seq;
}

/* Count the frames missing before this one; false for a repeated frame. Each session has its own numbers. */
static bool number(struct wire_decoder *d, const struct wire_frame *frame)
{
    uint16_t ahead = (uint16_t)(frame->seq - d->last_seq), behind = (uint16_t)-ahead;
    if (!d->numbered || d->last_session != frame->session || opens(frame)) {
        d->numbered = true;
        d->last_session = frame->session;
        advance(d, frame->seq, WIRE_WINDOW);
    } else if (behind >= WIRE_WINDOW) {
        d->count.lost += ahead - 1u;
        advance(d, frame->seq, ahead);
    } else {
        if (mark(d, frame->seq, true)) return false;
        d->count.reordered++;
        if (d->count.lost) d->count.lost--;
    }
    return true;
}

static bool complete(const struct shape *shape, const struct wire_frame *frame)
{
    if (frame->size < shape->required) return false;
    if (shape->tail_item == 0) return true;
    return frame->size - shape->required >= (size_t)frame->payload[shape->required - 1] * shape->tail_item;
}

static bool sort(struct wire_decoder *d, const struct wire_frame *frame)
{
    const struct shape *shape = shape_of(frame->type);
    uint32_t *fate = &d->count.ok;
    if (frame->session != d->session && !opens(frame))
        fate = &d->count.foreign;
    else if (!number(d, frame))
        fate = &d->count.duplicate;
    else if (!shape)
        fate = &d->count.unknown;
    else if (!complete(shape, frame))
        fate = &d->count.malformed;
    ++*fate;
    return fate == &d->count.ok;
}

static bool open_frame(struct wire_decoder *d, size_t size, struct wire_frame *frame)
{
    if (!unstuff(d->bytes, size)) {
        d->count.cobs++;
        return false;
    }
    const uint8_t *raw = d->bytes + 1;
    size -= 1;
    if (size < WIRE_HEADER_SIZE + WIRE_CRC_SIZE) {
        d->count.runt++;
        return false;
    }
    if (!intact(d, raw, size)) return false;
    frame->type = raw[0];
    frame->session = raw[1];
    frame->seq = get_u16(raw + 2);
    frame->t_us = get_u32(raw + 4);
    frame->payload = raw + WIRE_HEADER_SIZE;
    frame->size = size - WIRE_HEADER_SIZE - WIRE_CRC_SIZE;
    return sort(d, frame);
}

bool wire_decode(struct wire_decoder *d, uint8_t byte, struct wire_frame *frame)
{
    if (byte != 0) {
        if (d->fill < WIRE_MAX_FRAME - 1u)
            d->bytes[d->fill++] = byte;
        else
            d->overlong = true;
        return false;
    }
    size_t size = d->fill;
    bool overlong = d->overlong;
    d->fill = 0;
    d->overlong = false;
    if (overlong) d->count.oversize++;
    return !overlong && size > 0 && open_frame(d, size, frame);
}
