/* Fuzz target: the decoder between a sender and a hostile line.
 *
 * Each input sends FRAMES frames, damages each, and sends two sound ones after it. It fails where the decoder delivers what was never sent, or what a second,
 * plain decoder finds wrong, and where it is not back in step one frame after the damage.
 */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"
#include "hostile.h"
#include "wire.h"

#define FRAMES 64
#define SCHEMA 0x1b5e94c3u
#define SESSION 7

struct sent {
    uint8_t header[8], payload[WIRE_MAX_PAYLOAD];
    size_t size;
};

static struct wire_decoder decoder;
static uint16_t seq;
static unsigned long long hostile, refused, resynchronised;

static void fail(const char *why)
{
    fprintf(stderr, "%s after %llu hostile frames\n", why, hostile);
    abort();
}

static void report(void)
{
    fprintf(stderr, "hostile frames: %llu, refused: %llu, wrong accepts: 0, back in step: %llu\n", hostile, refused,
            resynchronised);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return atexit(report);
}

/* ---- a second opinion: bit by bit, as the standard says it ---- */

static uint32_t plain_crc(const uint8_t *bytes, size_t size, uint32_t seed)
{
    uint32_t crc = ~seed;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1u ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return ~crc;
}

/* Bytes of the block that `piece` encodes, 0 where it encodes none. */
static size_t plain_cobs(uint8_t *out, const uint8_t *piece, size_t size)
{
    size_t written = 0;
    for (size_t i = 0; i < size;) {
        size_t code = piece[i++];
        if (code - 1 > size - i) return 0;
        for (size_t k = 1; k < code; k++) out[written++] = piece[i++];
        if (code < 255 && i < size) out[written++] = 0;
    }
    return written;
}

static bool plain_sound(const uint8_t *piece, size_t size)
{
    uint8_t raw[LINE];
    size_t length = plain_cobs(raw, piece, size);
    if (length < 12) return false;
    bool seeded = raw[0] == WIRE_SAMPLE || raw[0] == WIRE_PREDICTION || raw[0] == WIRE_TRACE_SAMPLE;
    return plain_crc(raw, length - 4, seeded ? SCHEMA : 0) == get_u32(raw + length - 4);
}

/* ---- sending and hearing ---- */

static size_t draw_frame(struct line *line, struct sent *sent, uint8_t out[WIRE_BUFFER])
{
    static const uint8_t types[] = {WIRE_SAMPLE, WIRE_SAMPLE, WIRE_PREDICTION, WIRE_HEARTBEAT, WIRE_LOG, WIRE_HELLO};
    sent->size = line_draw(line, line_draw(line, 8) ? 72 : WIRE_MAX_PAYLOAD + 1);
    for (size_t i = 0; i < sent->size; i++)
        sent->payload[i] = line_draw(line, 3) ? (uint8_t)line_draw(line, 256) : 0;
    uint8_t type = line_draw(line, 16) ? types[line_draw(line, sizeof types)] : (uint8_t)line_draw(line, 256);
    struct wire_frame f = {type, SESSION, seq++, line_draw(line, 0xffffffffu), sent->payload, sent->size};
    put_u8(sent->header, f.type);
    put_u8(sent->header + 1, f.session);
    put_u16(sent->header + 2, f.seq);
    put_u32(sent->header + 4, f.t_us);
    return wire_encode(out, &f, SCHEMA);
}

static bool same(const struct wire_frame *f, const struct sent *sent)
{
    uint8_t header[8];
    put_u8(header, f->type);
    put_u8(header + 1, f->session);
    put_u16(header + 2, f->seq);
    put_u32(header + 4, f->t_us);
    return memcmp(header, sent->header, 8) == 0 && f->size == sent->size &&
           memcmp(f->payload, sent->payload, f->size) == 0;
}

/* Decode all bytes; whatever is delivered must be one of these two. The number of deliveries. */
static int hear(const uint8_t *bytes, size_t size, const struct sent *a, const struct sent *b)
{
    static uint8_t piece[LINE * 2];
    static size_t fill; /* since the last delimiter, over calls */
    struct wire_frame f;
    int delivered = 0;
    for (size_t i = 0; i < size; i++) {
        bool whole = wire_decode(&decoder, bytes[i], &f);
        if (bytes[i] != 0 && fill < sizeof piece) piece[fill++] = bytes[i];
        if (whole) {
            if (!plain_sound(piece, fill)) fail("wrong accept: the frame is not sound");
            if (!same(&f, a) && !(b && same(&f, b))) fail("wrong accept: the frame was never sent");
            delivered++;
        }
        if (bytes[i] == 0) fill = 0;
    }
    return delivered;
}

/* The frames after the damage: the first may be joined with what was left open, the second must arrive. */
static void must_hear_again(struct line *line)
{
    struct sent ping[2] = {0};
    uint8_t out[WIRE_BUFFER];
    for (int i = 0; i < 2; i++) {
        struct wire_frame f = {WIRE_BYE, SESSION, seq++, line_draw(line, 0xffffffffu), ping[i].payload, 1};
        put_u8(ping[i].header, f.type);
        put_u8(ping[i].header + 1, f.session);
        put_u16(ping[i].header + 2, f.seq);
        put_u32(ping[i].header + 4, f.t_us);
        ping[i].size = 1;
        int heard = hear(out, wire_encode(out, &f, SCHEMA), &ping[0], &ping[1]);
        if (i == 1 && heard != 1) fail("not back in step");
    }
    resynchronised++;
}

/* One frame, at times with another one behind it, and one to three kinds of damage to them. */
static void trouble(struct line *line, const uint8_t *data, size_t size, size_t *at)
{
    struct sent a, b;
    uint8_t out[WIRE_BUFFER];
    bool two = line_draw(line, 4) == 0;
    line->size = 0;
    line_append(line, out, draw_frame(line, &a, out));
    if (two) line_append(line, out, draw_frame(line, &b, out));
    for (unsigned left = 1 + line_draw(line, 3); left > 0; left--) line_damage(line, data[(*at)++ % size]);
    hostile++;
    refused += hear(line->bytes, line->size, &a, two ? &b : NULL) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct line line;
    static const uint8_t delimiter = 0;
    const struct sent none = {.size = LINE};
    size_t at = 0;
    if (size == 0) return 0;
    line_seed(&line, data, size);
    wire_decoder_start(&decoder, SCHEMA, SESSION);
    hear(&delimiter, 1, &none, NULL);
    for (int i = 0; i < FRAMES; i++) {
        trouble(&line, data, size, &at);
        must_hear_again(&line);
    }
    return 0;
}
