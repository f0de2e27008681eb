/* The C codec as a process: requests on stdin, answers on stdout, each a u32 size and so many bytes.
 *
 * 'N' u32 schema, u8 session         a new decoder; no answer
 * 'D' bytes                          decode: for each frame 8 bytes of header, u8 size, payload; then u8 255, u8 0,
 *                                    and the counters, u32 each
 * 'E' u32 schema, header, payload    encode: the bytes of the frame
 */
#include <stdio.h>
#include <stdlib.h>

#include "wire.h"

static struct wire_decoder decoder;
static uint8_t request[1 << 16], reply[1 << 20];

static size_t decode(const uint8_t *bytes, size_t size)
{
    struct wire_frame f;
    uint8_t *out = reply;
    for (size_t i = 0; i < size; i++) {
        if (!wire_decode(&decoder, bytes[i], &f)) continue;
        put_u8(out, f.type);
        put_u8(out + 1, f.session);
        put_u16(out + 2, f.seq);
        put_u32(out + 4, f.t_us);
        put_u8(out + 8, (uint8_t)f.size);
        memcpy(out + 9, f.payload, f.size);
        out += 9 + f.size;
    }
    const struct wire_counters *c = &decoder.count;
    const uint32_t counters[] = {c->ok,      c->crc,       c->cobs,      c->oversize, c->runt, c->schema, c->foreign,
                                 c->unknown, c->malformed, c->duplicate, c->lost,     c->reordered};
    *out++ = 255;
    *out++ = 0;
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++, out += 4) put_u32(out, counters[i]);
    return (size_t)(out - reply);
}

static size_t encode(const uint8_t *p, size_t size)
{
    struct wire_frame f = {p[4], p[5], get_u16(p + 6), get_u32(p + 8), p + 12, size - 12};
    uint8_t *out = malloc(WIRE_BUFFER); /* on the heap, so that the sanitizer sees every byte beyond it */
    size_t written = wire_encode(out, &f, get_u32(p));
    memcpy(reply, out, written);
    free(out);
    return written;
}

static void answer(size_t size)
{
    uint8_t head[4];
    put_u32(head, (uint32_t)size);
    fwrite(head, 1, 4, stdout);
    fwrite(reply, 1, size, stdout);
    fflush(stdout);
}

int main(void)
{
    uint8_t head[4];
    while (fread(head, 1, 4, stdin) == 4) {
        size_t size = get_u32(head);
        if (size == 0 || size > sizeof request || fread(request, 1, size, stdin) != size) return 1;
        if (request[0] == 'N') wire_decoder_start(&decoder, get_u32(request + 1), request[5]);
        if (request[0] == 'D') answer(decode(request + 1, size - 1));
        if (request[0] == 'E') answer(encode(request + 1, size - 1));
    }
    return 0;
}
