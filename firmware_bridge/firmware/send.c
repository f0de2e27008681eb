/* Messages to the host: samples, answers, heartbeats, lines of log. */
#include <string.h>

#include "app_state.h"
#include "port.h"

#define LOG_INTERVAL_US 100000u

static void send_at(uint8_t type, uint32_t t_us, const uint8_t *payload, size_t size, size_t reserve)
{
    static uint8_t out[1 + WIRE_BUFFER];
    uint32_t now = port_time_us();
    struct wire_frame frame = {type, app.rx.session, app.seq++, t_us, payload, size};
    size_t wake = !app.spoke || now - app.spoke_us >= WIRE_SILENCE_US; /* out[0] is the delimiter that does it */
    size_t length = wire_encode(out + 1, &frame, app.board->schema_hash);
    if (!tx_put(&app.tx, out + 1 - wake, length + wake, reserve)) return;
    app.spoke = true;
    app.spoke_us = now;
}

void send_message(uint8_t type, const uint8_t *payload, size_t size)
{
    send_at(type, port_time_us(), payload, size, 0);
}

void send_hello_ack(void)
{
    const struct app_board *b = app.board;
    struct wire_hello_ack m = {
        .magic = WIRE_MAGIC, .major = WIRE_MAJOR, .minor = WIRE_MINOR, .session = app.rx.session,
        .max_payload = WIRE_MAX_PAYLOAD, .receive_window = b->receive_window, .timer_hz = b->timer_hz, .uid = b->uid,
        .boot_id = b->boot_id, .reset_reason = b->reset_reason, .channels = b->channels,
        .sample_size = b->sample_size, .period_us = b->period_us, .schema_hash = b->schema_hash,
        .schema_size = b->schema_size, .model_hash = APP_MODEL_HASH,
        .firmware_count = (uint8_t)strlen(b->firmware), .firmware = b->firmware,
    };
    uint8_t payload[WIRE_MAX_PAYLOAD];
    send_message(WIRE_HELLO_ACK, payload, wire_hello_ack_put(payload, &m));
}

void send_ack(const struct wire_frame *request, uint32_t samples)
{
    struct wire_ack m = {request->type, request->seq, app.streams, app.divider, samples};
    uint8_t payload[WIRE_ACK_SIZE];
    send_message(WIRE_ACK, payload, wire_ack_put(payload, &m));
}

void send_refusal(const struct wire_frame *request, uint8_t fault, uint32_t detail, const char *text)
{
    struct wire_error m = {fault, request->type, request->seq, detail, (uint8_t)strlen(text), text};
    uint8_t payload[WIRE_MAX_PAYLOAD];
    send_message(WIRE_ERROR, payload, wire_error_put(payload, &m));
}

void app_log(uint8_t level, const char *text)
{
    uint32_t now = port_time_us();
    if (app.logged && now - app.log_us < LOG_INTERVAL_US) return;
    app.logged = true;
    app.log_us = now;
    size_t length = strlen(text);
    struct wire_log m = {level, (uint8_t)(length < 200 ? length : 200), text};
    uint8_t payload[WIRE_MAX_PAYLOAD];
    send_message(WIRE_LOG, payload, wire_log_put(payload, &m));
}

void send_samples(void)
{
    uint32_t t_us;
    uint8_t values[WIRE_MAX_PAYLOAD];
    while (capture_get(&app.capture, &t_us, values, app.board->sample_size)) {
        app.taken++;
        send_at(WIRE_SAMPLE, t_us, values, app.board->sample_size, TX_RESERVE);
    }
}

void send_heartbeat(void)
{
    const struct wire_counters *rx = &app.rx.count;
    struct wire_heartbeat m = {
        .uptime_ms = (uint32_t)(app.uptime_us / 1000u), .state = app_state(), .schema_hash = app.board->schema_hash,
        .rx_ok = rx->ok, .rx_crc = rx->crc, .rx_cobs = rx->cobs, .rx_oversize = rx->oversize, .rx_runt = rx->runt,
        .rx_schema = rx->schema, .rx_foreign = rx->foreign, .rx_unknown = rx->unknown,
        .rx_malformed = rx->malformed, .rx_duplicate = rx->duplicate, .rx_lost = rx->lost,
        .rx_reordered = rx->reordered, .tx_frames = app.tx.frames, .tx_drop = app.tx.dropped,
        .tx_high_water = app.tx.high_water, .missed_samples = app.capture.missed - app.missed_before, .predictions = app.predictions,
        .predictions_ignored = app.ignored, .loop_max_us = app.loop_max_us,
        .infer_max_us = app.infer_max_us,
    };
    uint8_t payload[WIRE_HEARTBEAT_SIZE];
    port_health(&m.rx_overrun, &m.stack_free);
    m.rx_overrun -= app.overrun_before;
    app.loop_max_us = app.infer_max_us = 0;
    send_message(WIRE_HEARTBEAT, payload, wire_heartbeat_put(payload, &m));
}
