#define _POSIX_C_SOURCE 200809L
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"

#define MAGIC "RTSIMAGE"
#define HEAD 28u

static bool parse(struct image *image, const uint8_t *p, uint64_t size)
{
    if (size < HEAD || memcmp(p, MAGIC, 8) != 0) return false;
    image->schema_hash = get_u32(p + 8);
    image->period_ns = get_u64(p + 12);
    image->rows = get_u32(p + 20);
    image->channels = p[24];
    image->sample_size = p[25];
    image->schema_size = get_u16(p + 26);
    image->schema = p + HEAD;
    image->samples = image->schema + image->schema_size;
    bool sound = image->period_ns > 0 && image->sample_size > 0;
    return sound && size == HEAD + (uint64_t)image->schema_size + (uint64_t)image->rows * image->sample_size;
}

bool image_open(struct image *image, const char *path)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0) {
        fprintf(stderr, "cannot read %s: %s\n", path, strerror(errno));
        return false;
    }
    void *bytes = info.st_size ? mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (bytes != MAP_FAILED && parse(image, bytes, (uint64_t)info.st_size)) return true;
    fprintf(stderr, "%s is no image of a board; let firmware_bridge.device write one\n", path);
    return false;
}
