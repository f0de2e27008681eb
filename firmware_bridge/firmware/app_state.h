/* State of the link, shared by app.c, session.c and send.c; app_state.c holds it. Not for boards: they use app.h. */
#ifndef RTSYSID_APP_STATE_H
#define RTSYSID_APP_STATE_H

#include "app.h"
#include "capture.h"
#include "tx.h"
#include "wire.h"

/* Hash of the model on the board; 0: none. */
#ifdef ONBOARD_HASH
#define APP_MODEL_HASH ONBOARD_HASH
#else
#define APP_MODEL_HASH 0u
#endif

struct app {
    const struct app_board *board;
    struct wire_decoder rx;
    struct tx tx;
    struct capture capture;
    volatile struct app_prediction mail[2];
    volatile uint8_t newest; /* the slot of `mail` to read */
    volatile bool mailed;
    /* Read by the sampling interrupt, so volatile: the compiler must neither delay nor reorder what stops or starts it.
     * The others of these are written while `streams` is 0 only. */
    volatile uint8_t streams;
    volatile uint16_t divider, phase;
    uint16_t seq;
    bool ready;  /* a HELLO of our protocol version came */
    bool lost;   /* the host missed its heartbeats */
    bool spoke, logged;
    uint32_t taken;         /* samples taken out of `capture` since boot, also those that were thrown away */
    uint32_t stream_began;  /* count of samples at the start of this stream */
    uint32_t missed_before; /* of `capture.missed`: before this session */
    uint32_t polled_us, spoke_us, heard_us, beat_us, log_us, loop_max_us;
    uint64_t uptime_us;
    uint32_t predictions, ignored, overrun_before;
    uint32_t infer_max_us; /* the slowest step of the model on the board since the last heartbeat */
};

extern struct app app;

/* ---- send.c: messages to the host; what finds no room in the transmit ring is counted ---- */

void send_message(uint8_t type, const uint8_t *payload, size_t size);
void send_hello_ack(void);
void send_ack(const struct wire_frame *request, uint32_t samples);
void send_refusal(const struct wire_frame *request, uint8_t fault, uint32_t detail, const char *text);
void send_samples(void);
void send_heartbeat(void);

/* ---- session.c: messages from the host ---- */

void session_receive(void);
void session_stop(void);   /* stop the stream and forget the prediction: outputs safe */
void session_finish(void); /* the same, but send first what was captured */
uint32_t session_samples(void); /* captured for the host since boot: those missed, dropped and thrown away, too */
void session_forget_prediction(void);

#endif
