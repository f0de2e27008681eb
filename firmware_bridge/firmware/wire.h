/* Frames on a serial line: COBS(header 8 | payload 0..240 | CRC-32 4) 00. C99, no heap, 256-byte buffers. */
#ifndef RTSYSID_WIRE_H
#define RTSYSID_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "messages.h"

#define WIRE_HEADER_SIZE 8u
#define WIRE_CRC_SIZE 4u
#define WIRE_OVERHEAD (WIRE_HEADER_SIZE + WIRE_CRC_SIZE + 2u) /* with the COBS byte and the delimiter */
#define WIRE_MAX_FRAME (WIRE_MAX_PAYLOAD + WIRE_OVERHEAD)
#define WIRE_BUFFER 256u
_Static_assert(WIRE_MAX_FRAME <= WIRE_BUFFER, "a frame fits in a buffer");
_Static_assert(WIRE_MAX_FRAME - 2u < 254u, "a frame is one COBS block");

struct wire_frame {
    uint8_t type, session;
    uint16_t seq;
    uint32_t t_us; /* the sender's clock */
    const uint8_t *payload;
    size_t size; /* of the payload, at most WIRE_MAX_PAYLOAD */
};

#define WIRE_WINDOW 256u /* a frame comes late by fewer numbers than this */

/* Counts of what became of each piece between two delimiters; as in firmware_bridge/wire.py. */
struct wire_counters {
    uint32_t ok, crc, cobs, oversize, runt, schema, foreign, unknown, malformed, duplicate, lost, reordered;
};

struct wire_decoder {
    uint32_t schema; /* hash of the channel table: seeds the CRC of what carries samples */
    uint8_t session; /* frames of other sessions are dropped, except HELLO and HELLO_ACK */
    struct wire_counters count;
    uint8_t bytes[WIRE_BUFFER]; /* of the incoming frame; payload of the received one until the next byte */
    size_t fill;
    bool overlong;
    bool numbered; /* whether there was a frame to count from: */
    uint8_t last_session;
    uint16_t last_seq;
    uint8_t seen[WIRE_WINDOW / 8u]; /* which of the last numbers came: bit n is the number n modulo the window */
    uint32_t misfit, misfits; /* CRC difference of the last seeded frame, and how many in a row had it */
};

/* CRC-32/ISO-HDLC of `size` bytes, continued from `seed`. */
uint32_t wire_crc(const uint8_t *bytes, size_t size, uint32_t seed);

/* Write the frame with its delimiter and return its size; 0 where the payload is too long. */
size_t wire_encode(uint8_t out[WIRE_BUFFER], const struct wire_frame *frame, uint32_t schema);

void wire_decoder_start(struct wire_decoder *d, uint32_t schema, uint8_t session);

/* Decode one byte; true where it completes a valid frame, whose payload then is in the decoder. */
bool wire_decode(struct wire_decoder *d, uint8_t byte, struct wire_frame *frame);

#endif
