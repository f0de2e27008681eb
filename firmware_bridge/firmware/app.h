/* The firmware's side of the link: sends samples, answers requests, keeps the latest prediction.
 *
 * A board calls app_start() once, app_sample() from its sampling interrupt and app_poll() from its main loop, and
 * supplies the functions of port.h. All memory is static.
 */
#ifndef RTSYSID_APP_H
#define RTSYSID_APP_H

#include <stdbool.h>
#include <stdint.h>

#include "messages.h"

#define APP_MAX_OUTPUTS ((WIRE_MAX_PAYLOAD - WIRE_PREDICTION_SIZE) / 4u)

/* Description of this board; the firmware keeps the pointer. */
struct app_board {
    const char *firmware; /* its name and version */
    const uint8_t *schema; /* the channel table, zlib */
    uint16_t schema_size;
    uint32_t schema_hash;
    uint8_t channels, sample_size; /* values and bytes of a sample */
    uint32_t period_us, timer_hz;
    uint16_t receive_window; /* bytes that its driver can hold before they are read */
    uint64_t uid;
    uint32_t boot_id; /* differs after each reset: a counter, or noise */
    uint8_t reset_reason;
};

struct app_prediction {
    uint16_t ref_seq; /* of the sample that it is based on */
    uint8_t status, count;
    uint32_t age_us, horizon_us, received_us;
    float y[APP_MAX_OUTPUTS];
};

void app_start(const struct app_board *board);

/* Store one sample, `sample_size` bytes as in the channel table, captured at `t_us`. For interrupts: never waits. */
void app_sample(uint32_t t_us, const uint8_t *values);

/* Receive, answer, send. Call it at least once per millisecond. */
void app_poll(void);

/* Whether the host wants samples. */
bool app_streaming(void);

/* Copy the latest prediction; false where there is no valid one: none came yet, or the host is gone. May be called from
 * an interrupt. The caller checks by app_usable() whether it may use it. */
bool app_predicted(struct app_prediction *latest);

/* Whether a controller may use a prediction at `now_us`: its status allows it, and its sample is not older than
 * `oldest_us`. The status is the gravest one alone; its age says whether it is stale, too. */
static inline bool app_usable(const struct app_prediction *p, uint32_t now_us, uint32_t oldest_us)
{
    bool allowed = p->status < 32u && (WIRE_USABLE >> p->status & 1u) != 0;
    return allowed && p->age_us <= oldest_us && now_us - p->received_us <= oldest_us - p->age_us;
}

/* Send a line of log; at most 10 per second are sent. */
void app_log(uint8_t level, const char *text);

/* Send what was captured, then end the session. */
void app_bye(uint8_t reason);

/* One of WIRE_STATE_*. */
uint8_t app_state(void);

#endif
