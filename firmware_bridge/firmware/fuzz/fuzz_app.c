/* Fuzz target: the whole application behind a hostile host.
 *
 * Sound frames with any content, damaged ones, time that jumps, samples and a stuck line in between. It fails where what
 * the device transmits is not a row of sound frames, or where it does not answer the next HELLO.
 */
#include <stdio.h>
#include <stdlib.h>

#include "app.h"
#include "fuzz.h"
#include "hostile.h"
#include "port.h"
#include "wire.h"

#define FRAMES 64
#define SCHEMA 0x1b5e94c3u

static const uint8_t table[450] = {1, 2, 3};
static const struct app_board board = {
    .firmware = "fuzz", .schema = table, .schema_size = sizeof table, .schema_hash = SCHEMA, .channels = 9,
    .sample_size = 36, .period_us = 2000,
};
static struct wire_decoder host;
static struct line line, incoming;
static uint32_t now;
static size_t taken, room;
static uint16_t seq;
static uint8_t session;
static bool answered, stuck;
static unsigned long long hostile, answers;

static void fail(const char *why)
{
    fprintf(stderr, "%s after %llu hostile frames\n", why, hostile);
    abort();
}

static void report(void)
{
    fprintf(stderr, "hostile frames: %llu, frames of the device: %llu, all sound\n", hostile, answers);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return atexit(report);
}

uint32_t port_time_us(void) { return now++; }
void port_safe(void) {}
void port_health(uint32_t *rx_overrun, uint32_t *stack_free) { *rx_overrun = *stack_free = 0; }

size_t port_read(uint8_t *bytes, size_t space)
{
    size_t count = incoming.size - taken < space ? incoming.size - taken : space;
    memcpy(bytes, incoming.bytes + taken, count);
    taken += count;
    return count;
}

size_t port_write(const uint8_t *bytes, size_t size)
{
    struct wire_frame f;
    size_t count = size < room ? size : room;
    for (size_t i = 0; i < count; i++) {
        if (!wire_decode(&host, bytes[i], &f)) continue;
        answers++;
        answered = answered || (f.type == WIRE_HELLO_ACK && f.session == session);
        host.session = f.session; /* it hears all sessions */
    }
    room -= count;
    const struct wire_counters *c = &host.count;
    if (c->crc || c->cobs || c->oversize || c->runt || c->unknown || c->malformed) fail("unsound frame of the device");
    return count;
}

static size_t draw_frame(uint8_t out[WIRE_BUFFER])
{
    static const uint8_t types[] = {WIRE_HELLO, WIRE_SCHEMA_GET, WIRE_START,     WIRE_STOP,         WIRE_PREDICTION, WIRE_BYE,
                                    WIRE_LOG,   WIRE_TIME_REQ,   WIRE_HEARTBEAT, WIRE_TRACE_SAMPLE, WIRE_ECHO,       0x77};
    uint8_t payload[WIRE_MAX_PAYLOAD];
    size_t size = line_draw(&line, line_draw(&line, 4) ? 16 : WIRE_MAX_PAYLOAD + 1);
    for (size_t i = 0; i < size; i++) payload[i] = (uint8_t)line_draw(&line, line_draw(&line, 2) ? 256 : 2);
    uint8_t type = types[line_draw(&line, sizeof types)];
    if (type == WIRE_START && size >= WIRE_START_SIZE) put_u32(payload + WIRE_START_SCHEMA_HASH_AT, SCHEMA);
    if (type == WIRE_HELLO && size >= WIRE_HELLO_SIZE) {
        put_u32(payload + WIRE_HELLO_MAGIC_AT, WIRE_MAGIC);
        session = payload[WIRE_HELLO_SESSION_AT];
        if (line_draw(&line, 8)) put_u32(payload + WIRE_HELLO_MAJOR_AT, WIRE_MAJOR);
    }
    struct wire_frame f = {type, session, seq++, 0, payload, size};
    return wire_encode(out, &f, SCHEMA);
}

static void arrive(const uint8_t *bytes, size_t size)
{
    incoming.size = taken = 0;
    line_append(&incoming, bytes, size);
    while (taken < incoming.size) app_poll();
}

static void trouble(uint8_t what)
{
    uint8_t out[WIRE_BUFFER], sample[36] = {0};
    line.size = 0;
    line_append(&line, out, draw_frame(out));
    if (line_draw(&line, 3) == 0) line_damage(&line, what);
    if (line_draw(&line, 4) == 0) now += line_draw(&line, 0xffffffffu);
    if (line_draw(&line, 16) == 0) stuck = !stuck;
    room = stuck ? line_draw(&line, 40) : 1u << 16;
    for (unsigned left = line_draw(&line, 12); left > 0; left--) app_sample(now, sample);
    arrive(line.bytes, line.size);
    hostile++;
}

static void must_answer(void)
{
    static const uint8_t delimiter = 0;
    uint8_t out[WIRE_BUFFER], payload[WIRE_HELLO_SIZE];
    struct wire_hello hello = {WIRE_MAGIC, WIRE_MAJOR, WIRE_MINOR, 99, WIRE_MAX_PAYLOAD};
    struct wire_frame f = {WIRE_HELLO, session = 99, seq++, 0, payload, wire_hello_put(payload, &hello)};
    room = 1u << 16;
    app_poll();
    answered = false;
    arrive(&delimiter, 1);
    arrive(out, wire_encode(out, &f, SCHEMA));
    app_poll();
    stuck = false;
    if (!answered) fail("no answer to HELLO");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    line_seed(&line, data, size);
    wire_decoder_start(&host, SCHEMA, 0);
    app_start(&board);
    for (size_t i = 0; i < FRAMES; i++) trouble(data[i % size]);
    must_answer();
    return 0;
}
