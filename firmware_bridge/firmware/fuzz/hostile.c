#include "hostile.h"

#include <string.h>

void line_seed(struct line *line, const uint8_t *data, size_t size)
{
    line->state = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < size; i++) line->state = (line->state ^ data[i]) * 0x100000001b3u;
    line->size = 0;
}

/* Ref: splitmix64, G. Steele, D. Lea and C. Flood, OOPSLA 2014. */
static uint64_t next(struct line *line)
{
    uint64_t z = line->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint32_t line_draw(struct line *line, uint32_t limit) { return (uint32_t)(next(line) >> 32) % limit; }

static uint8_t byte(struct line *line) { return (uint8_t)line_draw(line, 256); }

static size_t place(struct line *line) { return line_draw(line, (uint32_t)line->size); }

void line_append(struct line *line, const uint8_t *bytes, size_t size)
{
    if (size > LINE - line->size) size = LINE - line->size;
    memcpy(line->bytes + line->size, bytes, size);
    line->size += size;
}

static void flip(struct line *line) { line->bytes[place(line)] ^= (uint8_t)(1u << line_draw(line, 8)); }

static void burst(struct line *line)
{
    for (size_t i = place(line), end = i + 1 + line_draw(line, 40); i < end && i < line->size; i++)
        line->bytes[i] = byte(line);
}

static void drop(struct line *line)
{
    size_t at = place(line), count = 1 + line_draw(line, (uint32_t)(line->size - at));
    if (count > 8) count = 1 + count % 8;
    memmove(line->bytes + at, line->bytes + at + count, line->size - at - count);
    line->size -= count;
}

static void insert(struct line *line)
{
    if (line->size == LINE) return;
    size_t at = place(line);
    memmove(line->bytes + at + 1, line->bytes + at, line->size - at);
    line->bytes[at] = line_draw(line, 4) ? byte(line) : 0;
    line->size++;
}

static void repeat(struct line *line)
{
    size_t from = place(line);
    line_append(line, line->bytes + from, (line->size - from) < LINE - line->size ? line->size - from : 0);
}

static void cut(struct line *line) { line->size = place(line); }

static void swap(struct line *line)
{
    size_t a = place(line), b = place(line);
    uint8_t kept = line->bytes[a];
    line->bytes[a] = line->bytes[b];
    line->bytes[b] = kept;
}

static void noise(struct line *line)
{
    uint8_t bytes[300];
    size_t size = line_draw(line, sizeof bytes);
    for (size_t i = 0; i < size; i++) bytes[i] = byte(line);
    line_append(line, bytes, size);
}

static void babble(struct line *line)
{
    uint8_t bytes[600];
    memset(bytes, 1 + (int)line_draw(line, 255), sizeof bytes);
    line_append(line, bytes, line_draw(line, sizeof bytes));
}

static void undelimit(struct line *line)
{
    uint8_t *zero = memchr(line->bytes, 0, line->size);
    if (zero) *zero = (uint8_t)(1 + line_draw(line, 255));
}

void line_damage(struct line *line, uint8_t what)
{
    static void (*const ways[])(struct line *) = {flip, burst, drop,  insert, repeat,
                                                  cut,  swap,  noise, babble, undelimit};
    if (line->size == 0) what = 7; /* there is nothing to harm: make noise */
    ways[what % (sizeof ways / sizeof *ways)](line);
}
