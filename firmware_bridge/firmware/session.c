/* Messages from the host: the session, its requests, predictions, and rows for a model on the board. */
#include <string.h>

#include "app_state.h"
#include "onboard.h"
#include "port.h"

#define STREAM_SAMPLES 1u
#define READS_PER_POLL 16 /* of 64 bytes, so that a flood of bytes does not delay the samples */

void session_forget_prediction(void)
{
    app.mailed = false;
    port_safe();
}

void session_stop(void)
{
    app.streams = 0; /* first: then the interrupt captures no more */
    app.taken += capture_clear(&app.capture);
    session_forget_prediction();
}

void session_finish(void)
{
    app.streams = 0;
    send_samples();
    session_stop();
}

uint32_t session_samples(void) { return app.taken + app.capture.missed; }

/* Start a session: all counters of the link start at 0. */
static void begin_session(uint8_t session)
{
    uint32_t stack_free;
    session_stop();
    app.rx.session = session;
    memset(&app.rx.count, 0, sizeof app.rx.count);
    app.tx.frames = app.tx.dropped = 0;
    app.tx.high_water = (uint16_t)app.tx.waiting;
    app.missed_before = app.capture.missed;
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
        send_refusal(frame, WIRE_FAULT_VERSION, WIRE_MAJOR, "firmware and host speak other versions: reflash");
}

static void on_schema_get(const struct wire_frame *frame)
{
    struct wire_schema_get m;
    if (!wire_schema_get_get(&m, frame->payload, frame->size)) return;
    uint16_t left = m.offset < app.board->schema_size ? (uint16_t)(app.board->schema_size - m.offset) : 0;
    uint8_t count = (uint8_t)(left < WIRE_SCHEMA_PIECE ? left : WIRE_SCHEMA_PIECE);
    struct wire_schema_data piece = {m.offset, count, left ? app.board->schema + m.offset : NULL};
    uint8_t payload[WIRE_MAX_PAYLOAD];
    send_message(WIRE_SCHEMA_DATA, payload, wire_schema_data_put(payload, &piece));
}

static void on_heartbeat(uint32_t now)
{
    app.heard_us = now;
    if (!app.lost) return;
    app.lost = false;
    app_log(WIRE_LEVEL_INFO, "host is back");
}

static void begin_stream(uint16_t divider)
{
    app.streams = 0; /* the interrupt keeps away from what follows */
    send_samples();  /* of another divider */
    app.stream_began = session_samples();
    app.divider = divider;
    app.phase = 0;
    app.streams = STREAM_SAMPLES;
}

static void on_start(const struct wire_frame *frame, uint32_t now)
{
    struct wire_start m;
    if (!wire_start_get(&m, frame->payload, frame->size)) return;
    if (!app.ready || m.divider == 0 || !(m.streams & STREAM_SAMPLES)) {
        send_refusal(frame, WIRE_FAULT_REQUEST, WIRE_START,
                     "START wants a HELLO before, samples, and a divider of 1 or more");
    } else if (m.schema_hash != app.board->schema_hash) {
        send_refusal(frame, WIRE_FAULT_SCHEMA, app.board->schema_hash,
                     "START is for other channels: read the table again");
    } else {
        if (!app.streams || m.divider != app.divider) begin_stream(m.divider);
        on_heartbeat(now);
        send_ack(frame, app.stream_began);
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

#ifdef ONBOARD_HASH
static void on_trace_sample(const struct wire_frame *frame)
{
    struct wire_trace_sample m;
    if (!wire_trace_sample_get(&m, frame->payload, frame->size)) return;
    if (!app.ready || !onboard_accepts(&m)) {
        send_refusal(frame, WIRE_FAULT_REQUEST, m.index,
                     "TRACE_SAMPLE wants a HELLO before, the model's channels, and the next index");
        return;
    }
    struct wire_prediction answer = onboard_step(&m);
    if (answer.age_us > app.infer_max_us) app.infer_max_us = answer.age_us; /* the age is the time of the step */
    uint8_t payload[WIRE_MAX_PAYLOAD];
    answer.ref_seq = frame->seq;
    answer.horizon_us = app.board->period_us;
    send_message(WIRE_PREDICTION, payload, wire_prediction_put(payload, &answer));
}
#endif

static void on_time_req(const struct wire_frame *frame, uint32_t now)
{
    struct wire_time_req m;
    if (!wire_time_req_get(&m, frame->payload, frame->size)) return;
    struct wire_time_rsp answer = {m.t0, now, port_time_us()};
    uint8_t payload[WIRE_TIME_RSP_SIZE];
    send_message(WIRE_TIME_RSP, payload, wire_time_rsp_put(payload, &answer));
}

static void on_frame(const struct wire_frame *frame, uint32_t now)
{
    switch (frame->type) {
    case WIRE_HELLO: on_hello(frame, now); break;
    case WIRE_SCHEMA_GET: on_schema_get(frame); break;
    case WIRE_START: on_start(frame, now); break;
    case WIRE_STOP: session_finish(); send_ack(frame, session_samples()); break;
    case WIRE_PREDICTION: on_prediction(frame, now); break;
    case WIRE_TIME_REQ: on_time_req(frame, now); break;
    case WIRE_HEARTBEAT: on_heartbeat(now); break;
    case WIRE_BYE: session_stop(); app.ready = false; break;
    case WIRE_LOG: case WIRE_ERROR: break;
#ifdef ONBOARD_HASH
    case WIRE_TRACE_SAMPLE: on_trace_sample(frame); break;
#endif
    default: app.rx.count.ok--, app.rx.count.unknown++; /* known to the protocol, not to this firmware */
    }
}

void session_receive(void)
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
