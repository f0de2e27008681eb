/* A board that is a process: its serial line is a pseudo-terminal, its sensors are a recorded trace.
 *
 *   device IMAGE [--repeat] [--boot-id N] [--clock US]
 *
 * The first line on stdout is the path of the port. Each line on stdin is an order, answered by a line when it is done:
 *   stall MS   the main loop stands still, while the sampling interrupt does not
 *   reset      as by the reset button: another boot id, the clock and the trace from their beginning
 *   unplug     the cable is pulled         plug   it is back, perhaps under another path, which is the answer
 *   status     state, times made safe, and of the latest prediction: ref_seq, status, y
 *   captured   samples that the interrupt gave to a stream, over all boots
 * The end of stdin ends it, so that it never outlives who started it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "app.h"
#include "image.h"
#include "port.h"

static struct image image;
static struct app_board board;
static bool repeat;
static uint64_t boot_ns, first_clock_us; /* when the board's clock began, and with what */
static uint64_t ticks;                   /* of the sampling timer since boot */
static uint64_t captured;                /* samples that a stream was given, over all boots */
static uint32_t row, safes;
static int cable = -1, far_end = -1; /* both ends of the line: the far one stays open while no host has it */

/* ---- port.h ---- */

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint32_t port_time_us(void) { return (uint32_t)(first_clock_us + (now_ns() - boot_ns) / 1000u); }

size_t port_read(uint8_t *bytes, size_t room)
{
    ssize_t count = cable < 0 ? 0 : read(cable, bytes, room);
    return count < 0 ? 0 : (size_t)count;
}

size_t port_write(const uint8_t *bytes, size_t size)
{
    if (cable < 0) return size; /* a transmitter does not know whether anyone listens */
    ssize_t count = write(cable, bytes, size);
    return count < 0 ? 0 : (size_t)count;
}

void port_safe(void) { safes++; }

void port_health(uint32_t *rx_overrun, uint32_t *stack_free) { *rx_overrun = *stack_free = 0; }

/* ---- the cable ---- */

static bool plug(void)
{
    struct termios raw;
    cable = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (cable < 0 || grantpt(cable) != 0 || unlockpt(cable) != 0) return false;
    far_end = open(ptsname(cable), O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (far_end < 0 || tcgetattr(far_end, &raw) != 0) return false;
    cfmakeraw(&raw);
    return tcsetattr(far_end, TCSANOW, &raw) == 0;
}

static void unplug(void)
{
    close(cable);
    close(far_end);
    cable = far_end = -1;
}

/* ---- the sampling interrupt ---- */

static bool finished(void) { return row == image.rows && !(repeat && image.rows); }

static void sampling_interrupt(void)
{
    ticks++;
    if (!app_streaming() || finished()) return;
    if (row == image.rows) row = 0;
    captured++;
    uint64_t captured_us = first_clock_us + ticks * image.period_ns / 1000u; /* exact, even if this runs late */
    app_sample((uint32_t)captured_us, image.samples + (size_t)row++ * image.sample_size);
}

static uint64_t expirations(int timer)
{
    uint64_t count;
    return read(timer, &count, sizeof count) == (ssize_t)sizeof count ? count : 0;
}

static void set_timer(int timer)
{
    uint64_t first = boot_ns + image.period_ns;
    struct itimerspec when = {
        .it_interval = {(time_t)(image.period_ns / 1000000000u), (long)(image.period_ns % 1000000000u)},
        .it_value = {(time_t)(first / 1000000000u), (long)(first % 1000000000u)},
    };
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* ---- orders ---- */

static void boot(int timer, uint8_t reason)
{
    boot_ns = now_ns();
    ticks = 0;
    row = 0;
    board.reset_reason = reason;
    set_timer(timer);
    app_start(&board);
}

static void stall(int timer, long ms)
{
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
    for (uint64_t left = expirations(timer); left > 0; left--) sampling_interrupt();
}

static void print_status(void)
{
    struct app_prediction p;
    printf("%d %" PRIu32, app_state(), safes);
    if (app_predicted(&p)) {
        printf(" %d %d", p.ref_seq, p.status);
        for (int i = 0; i < p.count; i++) printf(" %.9g", (double)p.y[i]);
    }
    printf("\n");
}

static void obey(const char *order, int timer)
{
    if (strncmp(order, "stall ", 6) == 0) {
        stall(timer, strtol(order + 6, NULL, 10));
    } else if (strcmp(order, "reset") == 0) {
        board.boot_id++;
        first_clock_us = 0;
        boot(timer, WIRE_REASON_RESET);
    } else if (strcmp(order, "unplug") == 0) {
        if (cable >= 0) unplug();
    } else if (strcmp(order, "plug") == 0) {
        if (cable < 0 && !plug()) exit(3);
        printf("%s\n", ptsname(cable));
        return;
    } else if (strcmp(order, "status") == 0) {
        print_status();
        return;
    } else if (strcmp(order, "captured") == 0) {
        printf("%" PRIu64 "\n", captured);
        return;
    } else {
        printf("unknown order\n");
        return;
    }
    printf("done\n");
}

/* False at the end of stdin. */
static bool take_orders(int timer)
{
    static char line[64];
    static size_t fill;
    char bytes[64];
    ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
    for (ssize_t i = 0; i < count; i++) {
        if (bytes[i] != '\n') {
            if (fill < sizeof line - 1) line[fill++] = bytes[i];
            continue;
        }
        line[fill] = 0;
        fill = 0;
        obey(line, timer);
    }
    return count > 0;
}

/* ---- main ---- */

static void run(int timer)
{
    for (;;) {
        struct pollfd wait[] = {{timer, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}, {cable, POLLIN, 0}};
        poll(wait, 3, 10);
        if (wait[0].revents)
            for (uint64_t left = expirations(timer); left > 0; left--) {
                sampling_interrupt();
                app_poll();
            }
        if (wait[1].revents && !take_orders(timer)) return;
        app_poll();
        if (app_streaming() && finished()) app_bye(WIRE_REASON_FINISHED);
    }
}

static const char *read_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"repeat", no_argument, NULL, 'r'},
        {"boot-id", required_argument, NULL, 'b'},
        {"clock", required_argument, NULL, 'c'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'r') repeat = true;
        else if (option == 'b') board.boot_id = (uint32_t)strtoul(optarg, NULL, 0);
        else if (option == 'c') first_clock_us = strtoull(optarg, NULL, 0);
        else return NULL;
    }
    return optind == argc - 1 ? argv[optind] : NULL;
}

static void describe_board(void)
{
    board.firmware = "rtsysid simulated board";
    board.schema = image.schema;
    board.schema_size = image.schema_size;
    board.schema_hash = image.schema_hash;
    board.channels = image.channels;
    board.sample_size = image.sample_size;
    board.period_us = (uint32_t)((image.period_ns + 500u) / 1000u);
    board.timer_hz = 1000000u;
    board.receive_window = 4095u; /* of a pseudo-terminal */
    board.uid = (uint64_t)getpid();
}

int main(int argc, char **argv)
{
    board.boot_id = (uint32_t)now_ns();
    const char *path = read_options(argc, argv);
    if (path == NULL) {
        fprintf(stderr, "usage: %s IMAGE [--repeat] [--boot-id N] [--clock US]\n", argv[0]);
        return 1;
    }
    if (!image_open(&image, path)) return 1;
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer < 0 || !plug()) {
        fprintf(stderr, "cannot open a pseudo-terminal: %s\n", strerror(errno));
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    describe_board();
    boot(timer, WIRE_REASON_POWER_ON);
    printf("%s\n", ptsname(cable));
    run(timer);
    return 0;
}
