/* Files of the machine at the other end of the debugger, or around the emulator (Arm semihosting, version 2.0). */
#ifndef RTSYSID_SEMIHOSTING_H
#define RTSYSID_SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { MODE_READ = 1, MODE_WRITE = 5 }; /* "rb" and "wb" */

static inline int semihosting(uint32_t operation, const void *arguments)
{
    register uint32_t r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = arguments;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return (int)r0;
}

/* A handle, or -1. */
static inline int file_open(const char *name, uint32_t mode)
{
    uint32_t arguments[] = {(uint32_t)name, mode, strlen(name)};
    return semihosting(SYS_OPEN, arguments);
}

/* How many of `size` bytes were not read. */
static inline int file_read(int file, void *bytes, size_t size)
{
    uint32_t arguments[] = {(uint32_t)file, (uint32_t)bytes, size};
    return semihosting(SYS_READ, arguments);
}

/* How many of `size` bytes were not written. */
static inline int file_write(int file, const void *bytes, size_t size)
{
    uint32_t arguments[] = {(uint32_t)file, (uint32_t)bytes, size};
    return semihosting(SYS_WRITE, arguments);
}

/* End the program, and the emulator with it, with this exit status. */
static inline void leave(uint32_t status)
{
    uint32_t arguments[] = {0x20026u, status}; /* ADP_Stopped_ApplicationExit */
    for (;;) semihosting(SYS_EXIT_EXTENDED, arguments);
}

#endif
