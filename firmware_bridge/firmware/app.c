#include "app.h"

#include <string.h>

#include "capture.h"
#include "onboard.h"
#include "port.h"
#include "tx.h"
#include "wire.h"

#define STREAM_SAMPLES 1u
#define LOG_INTERVAL_US 100000u
#define READS_PER_POLL 16 /* of 64 bytes, so that no flood keeps the loop from its samples */
#define COUNT(words) ((uint8_t)(sizeof(words) - 1u))

static struct {
    const struct app_board *board;
    struct wire_decoder rx;
    struct tx tx;
    struct capture capture;
    volatile struct app_prediction mail[2];
    volatile uint8_t newest; /* the slot of `mail` to read */
    volatile bool mailed;
    uint16_t seq;
    bool ready, lost, spoke, logged;
    uint8_t streams;
    uint16_t divider, phase;
    uint32_t polled_us, spoke_us, heard_us, beat_us, log_us, loop_max_us;
    uint64_t uptime_us;
    uint32_t predictions, ignored, overrun_before;
} app;

/* ---- sending ---- */

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

static void send(uint8_t type, const uint8_t *payload, size_t size)
{
    send_at(type, port_time_us(), payload, size, 0);
}

static void send_hello_ack(void)
{
    const struct app_board *b = app.board;
    struct wire_hello_ack m = {
        .magic = WIRE_MAGIC, .major = WIRE_MAJOR, .minor = WIRE_MINOR, .session = app.rx.session,
        .max_payload = WIRE_MAX_PAYLOAD, .receive_window = b->receive_window, .timer_hz = b->timer_hz, .uid = b->uid,
        .boot_id = b->boot_id, .reset_reason = b->reset_reason, .channels = b->channels,
        .sample_size = b->sample_size, .period_us = b->period_us, .schema_hash = b->schema_hash,
        .schema_size = b->schema_size, .model_hash = ONBOARD_HASH, .firmware_count = (uint8_t)strlen(b->firmware), .firmware = b->firmware,
    };
    uint8_t payload[WIRE_MAX_PAYLOAD];
    send(WIRE_HELLO_ACK, payload, wire_hello_ack_put(payload, &m));
}

static void send_ack(const struct wire_frame *request)
{
    struct wire_ack m = {request->type, request->seq, app.streams, app.divider};
    uint8_t payload[WIRE_ACK_SIZE];
    send(WIRE_ACK, payload, wire_ack_put(payload, &m));
}

static void refuse(const struct wire_frame *request, uint8_t fault, uint32_t detail, const char *text, uint8_t count)
{
    struct wire_error m = {fault, request->type, request->seq, detail, count, text};
    uint8_t payload[WIRE_MAX_PAYLOAD];
    send(WIRE_ERROR, payload, wire_error_put(payload, &m));
}

#define REFUSE(request, fault, detail, text) refuse(request, fault, detail, text, COUNT(text))

void app_log(uint8_t level, const char *text)
{
    uint32_t now = port_time_us();
    if (app.logged && now - app.log_us < LOG_INTERVAL_US) return;
    app.logged = true;
    app.log_us = now;
    size_t length = strlen(text);
    struct wire_log m = {level, (uint8_t)(length < 200 ? length : 200), text};
    uint8_t payload[WIRE_MAX_PAYLOAD];
    send(WIRE_LOG, payload, wire_log_put(payload, &m));
}

static void send_samples(void)
{
    uint32_t t_us;
    uint8_t values[WIRE_MAX_PAYLOAD];
    while (capture_get(&app.capture, &t_us, values, app.board->sample_size)) {
        if (app.phase == 0) send_at(WIRE_SAMPLE, t_us, values, app.board->sample_size, TX_RESERVE);
        app.phase = (uint16_t)((app.phase + 1u) % app.divider);
    }
}

static void beat(void)
{
    const struct wire_counters *rx = &app.rx.count;
    struct wire_heartbeat m = {
        .uptime_ms = (uint32_t)(app.uptime_us / 1000u), .state = app_state(), .schema_hash = app.board->schema_hash,
        .rx_ok = rx->ok, .rx_crc = rx->crc, .rx_cobs = rx->cobs, .rx_oversize = rx->oversize, .rx_runt = rx->runt,
        .rx_schema = rx->schema, .rx_foreign = rx->foreign, .rx_unknown = rx->unknown,
        .rx_malformed = rx->malformed, .rx_duplicate = rx->duplicate, .rx_lost = rx->lost,
        .rx_reordered = rx->reordered, .tx_frames = app.tx.frames, .tx_drop = app.tx.dropped,
        .tx_high_water = app.tx.high_water, .missed_samples = app.capture.missed, .predictions = app.predictions,
        .predictions_ignored = app.ignored, .loop_max_us = app.loop_max_us,
        .infer_max_us = onboard_max_us(),
    };
    uint8_t payload[WIRE_HEARTBEAT_SIZE];
    port_health(&m.rx_overrun, &m.stack_free);
    m.rx_overrun -= app.overrun_before;
    app.loop_max_us = 0;
    send(WIRE_HEARTBEAT, payload, wire_heartbeat_put(payload, &m));
}

/* ---- receiving ---- */

static void forget_prediction(void)
{
    app.mailed = false;
    port_safe();
}

static void halt(void)
{
    app.streams = 0; /* first: then the interrupt captures no more */
    capture_clear(&app.capture);
    forget_prediction();
}

/* All counters of the link count from here. */
static void begin_session(uint8_t session)
{
    uint32_t stack_free;
    halt();
    app.rx.session = session;
    memset(&app.rx.count, 0, sizeof app.rx.count);
    app.tx.frames = app.tx.dropped = 0;
    app.tx.high_water = (uint16_t)app.tx.waiting;
    app.capture.missed = 0;
    app.predictions = app.ignored = 0;
    onboard_reset();
    port_health(&app.overrun_before, &stack_free);
    app.lost = false;
}

static void on_hello(const struct wire_frame *frame, uint32_t now)
{
    struct wire_hello m;
    if (!wire_hello_get(&m, frame->payload, frame->size) || m.magic != WIRE_MAGIC || m.session == 0) return;
    begin_session(m.session);
    app.ready = m.major == WIRE_MAJOR;
    app.heard_us = app.beat_us = now;
    if (app.ready)
        send_hello_ack();
    else
        REFUSE(frame, WIRE_FAULT_VERSION, WIRE_MAJOR, "firmware and host speak other versions: reflash");
}

static void on_schema_get(const struct wire_frame *frame)
{
    struct wire_schema_get m;
    if (!wire_schema_get_get(&m, frame->payload, frame->size)) return;
    uint16_t left = m.offset < app.board->schema_size ? (uint16_t)(app.board->schema_size - m.offset) : 0;
    uint8_t count = (uint8_t)(left < WIRE_SCHEMA_PIECE ? left : WIRE_SCHEMA_PIECE);
    struct wire_schema_data piece = {m.offset, count, left ? app.board->schema + m.offset : NULL};
    uint8_t payload[WIRE_MAX_PAYLOAD];
    send(WIRE_SCHEMA_DATA, payload, wire_schema_data_put(payload, &piece));
}

static void on_heartbeat(uint32_t now)
{
    app.heard_us = now;
    if (!app.lost) return;
    app.lost = false;
    app_log(WIRE_LEVEL_INFO, "host is back");
}

static void on_start(const struct wire_frame *frame, uint32_t now)
{
    struct wire_start m;
    if (!wire_start_get(&m, frame->payload, frame->size)) return;
    if (!app.ready || m.divider == 0 || !(m.streams & STREAM_SAMPLES)) {
        REFUSE(frame, WIRE_FAULT_REQUEST, WIRE_START, "START wants a HELLO before, samples, and a divider of 1 or more");
    } else if (m.schema_hash != app.board->schema_hash) {
        REFUSE(frame, WIRE_FAULT_SCHEMA, app.board->schema_hash, "START is for other channels: read the table again");
    } else {
        if (!app.streams || m.divider != app.divider) app.phase = 0;
        app.divider = m.divider;
        app.streams = STREAM_SAMPLES;
        on_heartbeat(now);
        send_ack(frame);
    }
}

static void on_prediction(const struct wire_frame *frame, uint32_t now)
{
    struct wire_prediction m;
    if (!wire_prediction_get(&m, frame->payload, frame->size) || m.y_count > APP_MAX_OUTPUTS) return;
    if (!app.streams || app.lost) {
        app.ignored++;
        app_log(WIRE_LEVEL_WARNING, app.lost ? "host lost: prediction ignored" : "not streaming: prediction ignored");
        return;
    }
    uint8_t slot = !app.newest; /* never the one that is read */
    struct app_prediction p = {m.ref_seq, m.status, m.y_count, m.age_us, m.horizon_us, now, {0}};
    for (uint8_t i = 0; i < m.y_count; i++) p.y[i] = get_f32((const uint8_t *)m.y + 4u * i);
    app.mail[slot] = p;
    app.newest = slot;
    app.mailed = true;
    app.predictions++;
}

#if ONBOARD_HASH
static void on_trace_sample(const struct wire_frame *frame)
{
    struct wire_trace_sample m;
    if (!wire_trace_sample_get(&m, frame->payload, frame->size)) return;
    if (!app.ready || !onboard_accepts(&m)) {
        REFUSE(frame, WIRE_FAULT_REQUEST, m.index, "TRACE_SAMPLE wants a HELLO before, the model's channels, and its turn");
        return;
    }
    struct wire_prediction answer = onboard_step(&m);
    uint8_t payload[WIRE_MAX_PAYLOAD];
    answer.ref_seq = frame->seq;
    answer.horizon_us = app.board->period_us;
    send(WIRE_PREDICTION, payload, wire_prediction_put(payload, &answer));
}
#endif

static void on_time_req(const struct wire_frame *frame, uint32_t now)
{
    struct wire_time_req m;
    if (!wire_time_req_get(&m, frame->payload, frame->size)) return;
    struct wire_time_rsp answer = {m.t0, now, port_time_us()};
    uint8_t payload[WIRE_TIME_RSP_SIZE];
    send(WIRE_TIME_RSP, payload, wire_time_rsp_put(payload, &answer));
}

static void on_frame(const struct wire_frame *frame, uint32_t now)
{
    switch (frame->type) {
    case WIRE_HELLO: on_hello(frame, now); break;
    case WIRE_SCHEMA_GET: on_schema_get(frame); break;
    case WIRE_START: on_start(frame, now); break;
    case WIRE_STOP: halt(); send_ack(frame); break;
    case WIRE_PREDICTION: on_prediction(frame, now); break;
    case WIRE_TIME_REQ: on_time_req(frame, now); break;
    case WIRE_HEARTBEAT: on_heartbeat(now); break;
    case WIRE_BYE: halt(); app.ready = false; break;
    case WIRE_LOG: case WIRE_ERROR: break;
#if ONBOARD_HASH
    case WIRE_TRACE_SAMPLE: on_trace_sample(frame); break;
#endif
    default: app.rx.count.ok--, app.rx.count.unknown++; /* known to the protocol, not to this firmware */
    }
}

static void receive(void)
{
    uint8_t bytes[64];
    struct wire_frame frame;
    for (int reads = 0; reads < READS_PER_POLL; reads++) {
        size_t count = port_read(bytes, sizeof bytes);
        if (count == 0) return;
        for (size_t i = 0; i < count; i++)
            if (wire_decode(&app.rx, bytes[i], &frame)) on_frame(&frame, port_time_us());
    }
}

/* ---- time ---- */

static void watch_host(uint32_t now)
{
    if (!app.ready || app.lost || now - app.heard_us <= WIRE_HEARTBEATS_MISSED * WIRE_HEARTBEAT_US) return;
    app.lost = true;
    forget_prediction();
    app_log(WIRE_LEVEL_WARNING, "host lost: outputs safe, predictions ignored");
}

static void keep_time(uint32_t now)
{
    uint32_t since = now - app.polled_us;
    app.polled_us = now;
    app.uptime_us += since;
    if (since > app.loop_max_us) app.loop_max_us = since;
}

/* ---- for the board ---- */

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
    if (app.streams) capture_put(&app.capture, t_us, values, app.board->sample_size);
}

void app_poll(void)
{
    keep_time(port_time_us());
    receive();
    uint32_t now = port_time_us(); /* again: what was just received is not in its future */
    watch_host(now);
    send_samples();
    if (app.ready && now - app.beat_us >= WIRE_HEARTBEAT_US) {
        app.beat_us = now;
        beat();
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
    send_samples();
    halt();
    app.ready = false;
    send(WIRE_BYE, &reason, WIRE_BYE_SIZE);
    tx_pump(&app.tx);
}

uint8_t app_state(void)
{
    if (!app.ready) return WIRE_STATE_IDLE;
    if (app.lost) return WIRE_STATE_SAFE;
    return app.streams ? WIRE_STATE_STREAMING : WIRE_STATE_READY;
}
