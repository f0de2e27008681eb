/* firmware/app.c on a board made of requests: time, bytes and samples come on stdin (u32 size, letter, content).
 *
 * 'B' u32 boot_id, schema_hash, period_us, u8 channels, sample_size, table   start
 * 'T' u32 us, step      set the clock, and what each look at it adds
 * 'W' u32 bytes         room of the transmitter from now on
 * 'R' bytes             bytes arrive
 * 'S' u32 us, values    the sampling interrupt
 * 'O' u32               bytes lost so far
 * 'Y' u8 reason         say BYE                'L' u8 level, text  say so
 * 'P'                   poll; the answer is what was transmitted since
 * 'Q'                   the answer is u8 state, u8 streaming, u32 times port_safe() was called
 * 'G'                   the answer is the latest prediction as u16, u8, u8, u32 x 3, f32 x count; nothing if none
 */
#include <stdio.h>

#include "app.h"
#include "port.h"

static uint8_t request[1 << 16], incoming[1 << 16], outgoing[1 << 16], table[1 << 12];
static size_t arrived, taken, transmitted, room = 1 << 16;
static uint32_t now, step, safes, overrun;
static struct app_board board;

uint32_t port_time_us(void) { return now += step; }
void port_safe(void) { safes++; }

size_t port_read(uint8_t *bytes, size_t space)
{
    size_t count = arrived - taken < space ? arrived - taken : space;
    memcpy(bytes, incoming + taken, count);
    taken += count;
    return count;
}

size_t port_write(const uint8_t *bytes, size_t size)
{
    size_t count = size < room ? size : room;
    memcpy(outgoing + transmitted, bytes, count);
    transmitted += count;
    room -= count;
    return count;
}

void port_health(uint32_t *rx_overrun, uint32_t *stack_free)
{
    *rx_overrun = overrun;
    *stack_free = 1234;
}

static void start(const uint8_t *p, size_t size)
{
    memcpy(table, p + 14, size - 14);
    board = (struct app_board){
        .firmware = "test 1", .schema = table, .schema_size = (uint16_t)(size - 14), .schema_hash = get_u32(p + 4),
        .channels = p[12], .sample_size = p[13], .period_us = get_u32(p + 8), .timer_hz = 84000000,
        .receive_window = 512, .uid = 0x0123456789abcdef, .boot_id = get_u32(p), .reset_reason = WIRE_REASON_POWER_ON,
    };
    app_start(&board);
}

static size_t latest(uint8_t *out)
{
    struct app_prediction p;
    if (!app_predicted(&p)) return 0;
    put_u16(out, p.ref_seq);
    put_u8(out + 2, p.status);
    put_u8(out + 3, p.count);
    put_u32(out + 4, p.age_us);
    put_u32(out + 8, p.horizon_us);
    put_u32(out + 12, p.received_us);
    for (size_t i = 0; i < p.count; i++) put_f32(out + 16 + 4 * i, p.y[i]);
    return 16 + 4u * p.count;
}

static void answer(const uint8_t *bytes, size_t size)
{
    uint8_t head[4];
    put_u32(head, (uint32_t)size);
    fwrite(head, 1, 4, stdout);
    fwrite(bytes, 1, size, stdout);
    fflush(stdout);
}

static void arrive(const uint8_t *bytes, size_t size)
{
    memcpy(incoming, bytes, size);
    arrived = size;
    taken = 0;
}

static void log_line(uint8_t level, const uint8_t *text, size_t size)
{
    char line[512] = {0};
    memcpy(line, text, size < sizeof line - 1 ? size : sizeof line - 1);
    app_log(level, line);
}

static void poll(void)
{
    app_poll();
    answer(outgoing, transmitted);
    transmitted = 0;
}

static void tell_state(void)
{
    uint8_t state[6] = {app_state(), app_streaming()};
    put_u32(state + 2, safes);
    answer(state, sizeof state);
}

static void serve(uint8_t letter, const uint8_t *p, size_t size)
{
    uint8_t reply[512];
    switch (letter) {
    case 'B': start(p, size); break;
    case 'T': now = get_u32(p), step = get_u32(p + 4); break;
    case 'W': room = get_u32(p); break;
    case 'O': overrun = get_u32(p); break;
    case 'R': arrive(p, size); break;
    case 'S': app_sample(get_u32(p), p + 4); break;
    case 'L': log_line(p[0], p + 1, size - 1); break;
    case 'Y': app_bye(p[0]); break;
    case 'P': poll(); break;
    case 'Q': tell_state(); break;
    case 'G': answer(reply, latest(reply)); break;
    }
}

int main(void)
{
    uint8_t head[4];
    while (fread(head, 1, 4, stdin) == 4) {
        size_t size = get_u32(head);
        if (size == 0 || size > sizeof request || fread(request, 1, size, stdin) != size) return 1;
        serve(request[0], request + 1, size - 1);
    }
    return 0;
}
