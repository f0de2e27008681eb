/* A line between a sender and a decoder on which everything goes wrong, as a fuzzer's input decides.
 *
 * The input chooses what is done; the numbers come from a generator seeded by it, so that a fuzzer which follows
 * comparisons cannot forge checksums: a forged frame would be no wrong accept.
 */
#ifndef RTSYSID_HOSTILE_H
#define RTSYSID_HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE 2048u

struct line {
    uint64_t state; /* of the generator */
    uint8_t bytes[LINE];
    size_t size;
};

void line_seed(struct line *line, const uint8_t *data, size_t size);

/* A number below `limit`, which is not 0. */
uint32_t line_draw(struct line *line, uint32_t limit);

void line_append(struct line *line, const uint8_t *bytes, size_t size);

/* Do to the bytes what number `what` says. */
void line_damage(struct line *line, uint8_t what);

#endif
