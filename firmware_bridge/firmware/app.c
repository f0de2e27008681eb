/* The functions that a board calls: start, sample, poll, latest prediction; and the watch on the host. */
#include "app.h"

#include <string.h>

#include "app_state.h"
#include "port.h"

static void watch_host(uint32_t now)
{
    if (!app.ready || app.lost || now - app.heard_us <= WIRE_HEARTBEATS_MISSED * WIRE_HEARTBEAT_US) return;
    app.lost = true;
    session_forget_prediction();
    app_log(WIRE_LEVEL_WARNING, "host lost: outputs safe, predictions ignored");
}

static void keep_time(uint32_t now)
{
    uint32_t since = now - app.polled_us;
    app.polled_us = now;
    app.uptime_us += since;
    if (since > app.loop_max_us) app.loop_max_us = since;
}

void app_start(const struct app_board *board)
{
    memset(&app, 0, sizeof app);
    app.board = board;
    app.divider = 1;
    app.polled_us = port_time_us();
    wire_decoder_start(&app.rx, board->schema_hash, 0);
    port_safe();
    send_hello_ack();
}

void app_sample(uint32_t t_us, const uint8_t *values)
{
    if (!app.streams) return;
    uint16_t phase = app.phase;
    if (phase == 0) capture_put(&app.capture, t_us, values, app.board->sample_size);
    app.phase = phase + 1u < app.divider ? (uint16_t)(phase + 1u) : 0;
}

void app_poll(void)
{
    keep_time(port_time_us());
    session_receive();
    uint32_t now = port_time_us(); /* read again, so that nothing that was just received is later than `now` */
    watch_host(now);
    send_samples();
    if (app.ready && now - app.beat_us >= WIRE_HEARTBEAT_US) {
        app.beat_us = now;
        send_heartbeat();
    }
    tx_pump(&app.tx);
}

bool app_streaming(void) { return app.streams != 0; }

bool app_predicted(struct app_prediction *latest)
{
    if (!app.mailed) return false;
    *latest = app.mail[app.newest];
    return true;
}

void app_bye(uint8_t reason)
{
    session_finish();
    app.ready = false;
    struct wire_bye m = {reason, session_samples()};
    uint8_t payload[WIRE_BYE_SIZE];
    send_message(WIRE_BYE, payload, wire_bye_put(payload, &m));
    tx_pump(&app.tx);
}
