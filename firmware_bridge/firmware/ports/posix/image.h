/* The data of a simulated board: its channel table and the samples of a trace, as firmware_bridge/device.py writes it.
 *
 * "RTSIMAGE", u32 schema_hash, u64 period_ns, u32 rows, u8 channels, u8 sample_size, u16 schema_size, table, rows.
 */
#ifndef RTSYSID_IMAGE_H
#define RTSYSID_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

struct image {
    uint64_t period_ns;
    uint32_t schema_hash, rows;
    uint16_t schema_size;
    uint8_t channels, sample_size;
    const uint8_t *schema, *samples;
};

/* Read a whole file into memory; false, with one line on stderr, where it is no image. */
bool image_open(struct image *image, const char *path);

#endif
