#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "futures.c"
#include "control.h"
#include "example/back.h"
#endif

/* ---- Coordinates backwards: gradients from the features to the window, and from the next outputs to the newest row and the
   targets. A name with d is the gradient of what the name without it is. */

#if MODEL_ANGLES

/* The derivative of the sine is the cosine, and that of the cosine is minus the sine: both are features. */
INLINE void directions_back(const int lanes, const int lane, const float *newest, const float *df, float *dnewest)
{
    float row[MODEL_CHANNELS], f[2 * MODEL_DIRECTIONS + 1];
    for (int i = 0; i < MODEL_CHANNELS; i++)
        row[i] = AT(newest, i);
    directions(1, 0, row, f);
    for (int k = 0; k < MODEL_DIRECTIONS; k++)
        AT(dnewest, seen_directions[k]) +=
            2.0f * direction_half[k] * (AT(df, 2 * k) * f[2 * k + 1] - AT(df, 2 * k + 1) * f[2 * k]);
}

#endif

/* From the gradient of a quaternion that was scaled to length one to that of the quaternion before. */
INLINE void unit_back(const float raw[4], float d[4])
{
    float square = 1e-12f, product = 0.0f;
    for (int i = 0; i < 4; i++) {
        square += raw[i] * raw[i];
        product += raw[i] * d[i];
    }
    const float length = sqrtf(square);
    for (int i = 0; i < 4; i++)
        d[i] = (d[i] - raw[i] * product / square) / length;
}

#if !MODEL_BODY

INLINE void row_features_back(const int lanes, const float *row, const float *newest, const float *df, float *drow,
                              float *dnewest)
{
    for (int k = 0; k < MODEL_ROW; k++)
        EACH_LANE {
            float d = AT(df, k) * feature_scale[k];
            if (k >= MODEL_N_SEEN) { /* a power of an output */
                const float value = seen_value(lanes, lane, row, newest, k);
                float times = 1.0f;
                for (int p = MODEL_N_SEEN; p <= k; p += MODEL_N_FEEDBACK)
                    d *= value, times += 1.0f;
                d *= times;
            }
            AT(drow, columns_seen[k]) += d;
            if (seen_relative[k])
                AT(dnewest, columns_seen[k]) -= d;
        }
}

/* Add to the gradient of the window that of the features [MODEL_WINDOW]. */
INLINE void features_back(const int lanes, const float *window, const float *df, float *dwindow)
{
    const float *newest = window + (MODEL_TAPS - 1) * MODEL_CHANNELS * lanes;
    float *dnewest = dwindow + (MODEL_TAPS - 1) * MODEL_CHANNELS * lanes;
    for (int tap = 0; tap < MODEL_TAPS; tap++)
        row_features_back(lanes, window + tap * MODEL_CHANNELS * lanes, newest, df + tap * MODEL_ROW * lanes,
                          dwindow + tap * MODEL_CHANNELS * lanes, dnewest);
#if MODEL_N_FRICTION
    for (int k = 0; k < MODEL_N_FRICTION; k++)
        EACH_LANE {
            const float f = friction(lanes, lane, newest, k);
            const float d = AT(df, MODEL_TAPS * MODEL_ROW + k) * (1.0f - f * f) * braked_factor[k];
            AT(dnewest, braked[k]) += d;
            if (MODEL_TAPS > 1 && braked_travels[k])
                AT(dnewest - MODEL_CHANNELS * lanes, braked[k]) -= d;
        }
#endif
#if MODEL_DIRECTIONS
    EACH_LANE directions_back(lanes, lane, newest, df + (MODEL_TAPS * MODEL_ROW + MODEL_N_FRICTION) * lanes, dnewest);
#endif
}

#if MODEL_QUATERNIONS

INLINE void unit_quaternions_back(const int lanes, const int lane, const float *raw, float *dy)
{
    for (int k = 0; k < MODEL_QUATERNIONS; k++) {
        const unsigned short *at = quaternions + 4 * k;
        float q[4], d[4];
        for (int i = 0; i < 4; i++)
            q[i] = AT(raw, at[i]), d[i] = AT(dy, at[i]);
        unit_back(q, d);
        for (int i = 0; i < 4; i++)
            AT(dy, at[i]) = d[i];
    }
}

#endif

/* Write the gradient of the targets, and add that of the newest row, from that of the next outputs, which it changes. `raw`
   is room for the outputs. */
INLINE void next_outputs_back(const int lanes, const float *newest, const float *target, float *raw, float *dy,
                              float *dnewest, float *dtarget)
{
#if MODEL_QUATERNIONS
    moved_outputs(lanes, newest, target, raw);
    EACH_LANE unit_quaternions_back(lanes, lane, raw, dy);
#else
    (void)newest, (void)target, (void)raw;
#endif
#if MODEL_INTEGRATED
    for (int i = 0; i < MODEL_INTEGRATED; i++)
        EACH_LANE {
            const float d = AT(dy, integrals[i]), half = tick_length / 2.0f * d;
            AT(dnewest, MODEL_INPUTS + integrals[i]) += d;
            AT(dnewest, MODEL_INPUTS + derivatives[i]) += half;
            AT(dy, derivatives[i]) += half;
        }
#endif
    for (int i = 0; i < MODEL_TARGETS; i++) {
        const int to = MODEL_INTEGRATED ? head_outputs[i] : i;
        EACH_LANE {
            AT(dtarget, i) = AT(dy, to);
            if (MODEL_INCREMENT)
                AT(dnewest, MODEL_INPUTS + to) += AT(dy, to);
        }
    }
}

#else

/* Add to the gradient of the unit quaternion q that of its rotation matrix. */
INLINE void rotation_back(const float q[4], const float d[9], float dq[4])
{
    const float x = 2.0f * q[0], y = 2.0f * q[1], z = 2.0f * q[2], w = 2.0f * q[3];
    dq[0] += y * (d[1] + d[3]) + z * (d[2] + d[6]) + w * (d[7] - d[5]) - 2.0f * x * (d[4] + d[8]);
    dq[1] += x * (d[1] + d[3]) + z * (d[5] + d[7]) + w * (d[2] - d[6]) - 2.0f * y * (d[0] + d[8]);
    dq[2] += x * (d[2] + d[6]) + y * (d[5] + d[7]) + w * (d[3] - d[1]) - 2.0f * z * (d[0] + d[4]);
    dq[3] += x * (d[7] - d[5]) + y * (d[2] - d[6]) + z * (d[3] - d[1]);
}

/* Add the gradients of the quaternions q and p from that of the rotation between them. */
INLINE void relative_back(const float q[4], const float p[4], const float d[3], float dq[4], float dp[4])
{
    const float x = q[0], y = q[1], z = q[2], w = q[3], twice = 2.0f * (x * p[0] + y * p[1] + z * p[2] + w * p[3]);
    const float a = w * p[0] + z * p[1] - y * p[2] - x * p[3];
    const float b = w * p[1] - z * p[0] + x * p[2] - y * p[3];
    const float c = w * p[2] + y * p[0] - x * p[1] - z * p[3];
    const float along = 2.0f * (a * d[0] + b * d[1] + c * d[2]);
    const float da = twice * d[0], db = twice * d[1], dc = twice * d[2];
    dp[0] += along * x + w * da - z * db + y * dc;
    dp[1] += along * y + z * da + w * db - x * dc;
    dp[2] += along * z - y * da + x * db + w * dc;
    dp[3] += along * w - x * da - y * db - z * dc;
    dq[0] += along * p[0] - p[3] * da + p[2] * db - p[1] * dc;
    dq[1] += along * p[1] - p[2] * da - p[3] * db + p[0] * dc;
    dq[2] += along * p[2] + p[1] * da - p[0] * db - p[3] * dc;
    dq[3] += along * p[3] + p[0] * da + p[1] * db + p[2] * dc;
}

/* Add the gradients of the world vector v and of the rotation matrix from that of v in the body frame. */
INLINE void into_body_back(const float turn[9], const float v[3], const float d[3], float dv[3], float dturn[9])
{
    for (int j = 0; j < 3; j++) {
        dv[j] = 0.0f;
        for (int i = 0; i < 3; i++) {
            dv[j] += turn[3 * j + i] * d[i];
            dturn[3 * j + i] += v[j] * d[i];
        }
    }
}

/* Add the gradients of a row, of the newest row, of its attitude q and of its rotation matrix from those of the row's
   features, before they were scaled. */
INLINE void row_features_back(const int lanes, const int lane, const float *row, const float *newest, const float q[4],
                              const float turn[9], const float *draw, float *drow, float *dnewest, float dq[4],
                              float dturn[9])
{
    int k = 0;
    float v[4], d[4] = {0.0f};
    for (int i = 0; i < MODEL_OTHERS; i++, k++) {
        AT(drow, at_others[i]) += draw[k];
#if MODEL_ANGLES
        if (other_per_period[i] > 0.0f)
            AT(dnewest, at_others[i]) -= draw[k];
#endif
    }
    if (MODEL_VELOCITY) {
        for (int i = 0; i < 3; i++)
            v[i] = AT(row, at_velocity[i]);
        into_body_back(turn, v, draw + k, d, dturn);
        for (int i = 0; i < 3; i++)
            AT(drow, at_velocity[i]) += d[i];
        k += 3;
    }
    if (MODEL_POSITION) {
        for (int i = 0; i < 3; i++)
            v[i] = AT(row, at_position[i]) - AT(newest, at_position[i]);
        into_body_back(turn, v, draw + k, d, dturn);
        for (int i = 0; i < 3; i++) {
            AT(drow, at_position[i]) += d[i];
            AT(dnewest, at_position[i]) -= d[i];
        }
        k += 3;
    }
    for (int i = 0; i < 4; i++)
        v[i] = AT(row, at_attitude[i]), d[i] = 0.0f;
    relative_back(q, v, draw + k, dq, d);
    for (int i = 0; i < 4; i++)
        AT(drow, at_attitude[i]) += d[i];
    k += 3;
    for (int i = 0; i < MODEL_RATE; i++)
        AT(drow, at_rate[i]) += draw[k++];
}

/* Add to the gradient of the attitude in a row that of its unit quaternion q. */
INLINE void attitude_back(const int lanes, const int lane, const float *row, float dq[4], float *drow)
{
    float raw[4];
    for (int i = 0; i < 4; i++)
        raw[i] = AT(row, at_attitude[i]);
    unit_back(raw, dq);
    for (int i = 0; i < 4; i++)
        AT(drow, at_attitude[i]) += dq[i];
}

/* Add to the gradient of the window that of the features [MODEL_WINDOW]. */
INLINE void features_back(const int lanes, const float *window, const float *df, float *dwindow)
{
    const float *newest = window + (MODEL_TAPS - 1) * MODEL_CHANNELS * lanes;
    float *dnewest = dwindow + (MODEL_TAPS - 1) * MODEL_CHANNELS * lanes;
    EACH_LANE {
        float q[4], turn[9], draw[MODEL_ROW], dq[4] = {0.0f}, dturn[9] = {0.0f};
        attitude(lanes, lane, newest, q);
        rotation(q, turn);
        for (int tap = 0; tap < MODEL_TAPS; tap++) {
            for (int k = 0; k < MODEL_ROW; k++)
                draw[k] = AT(df, tap * MODEL_ROW + k) * feature_scale[k];
            row_features_back(lanes, lane, window + tap * MODEL_CHANNELS * lanes, newest, q, turn, draw,
                              dwindow + tap * MODEL_CHANNELS * lanes, dnewest, dq, dturn);
        }
        for (int i = 0; i < 3; i++)
            dturn[6 + i] += AT(df, MODEL_TAPS * MODEL_ROW + i);
        rotation_back(q, dturn, dq);
        attitude_back(lanes, lane, newest, dq, dnewest);
#if MODEL_DIRECTIONS
        directions_back(lanes, lane, newest, df + (MODEL_TAPS * MODEL_ROW + 3) * lanes, dnewest);
#endif
#if MODEL_SQUARES
        for (int i = 0; i < MODEL_ROTORS; i++)
            AT(dnewest, at_rotors[i]) += 2.0f * rotor_effect[i] * AT(newest, at_rotors[i]) *
                                         AT(df, MODEL_TAPS * MODEL_ROW + 3 + 2 * MODEL_DIRECTIONS + i);
#endif
    }
}

/* Add the gradient of the quaternion q, and write that of the rotation, from that of the composed quaternion, d, which it
   changes. */
INLINE void composed_back(const float q[4], const float rotated[3], float d[4], float dq[4], float drotated[3])
{
    const float x = q[0], y = q[1], z = q[2], w = q[3];
    const float a = rotated[0] / 2.0f, b = rotated[1] / 2.0f, c = rotated[2] / 2.0f;
    const float square = 1.0f - a * a - b * b - c * c, e = sqrtf((square < 0.0f ? 0.0f : square) + 1e-12f);
    const float raw[4] = {w * a + x * e + y * c - z * b, w * b - x * c + y * e + z * a,
                          w * c + x * b - y * a + z * e, w * e - x * a - y * b - z * c};
    unit_back(raw, d);
    dq[0] += e * d[0] - c * d[1] + b * d[2] - a * d[3];
    dq[1] += c * d[0] + e * d[1] - a * d[2] - b * d[3];
    dq[2] += -b * d[0] + a * d[1] + e * d[2] - c * d[3];
    dq[3] += a * d[0] + b * d[1] + c * d[2] + e * d[3];
    const float de = square > 0.0f ? (x * d[0] + y * d[1] + z * d[2] + w * d[3]) / e : 0.0f;
    drotated[0] = (w * d[0] + z * d[1] - y * d[2] - x * d[3] - de * a) / 2.0f;
    drotated[1] = (-z * d[0] + w * d[1] + x * d[2] - y * d[3] - de * b) / 2.0f;
    drotated[2] = (y * d[0] - x * d[1] + w * d[2] - z * d[3] - de * c) / 2.0f;
}

/* Add the gradient of the rotation matrix, and write that of the body vector v, from that of v in the world frame. */
INLINE void into_world_back(const float turn[9], const float v[3], const float d[3], float dv[3], float dturn[9])
{
    for (int j = 0; j < 3; j++) {
        dv[j] = 0.0f;
        for (int i = 0; i < 3; i++) {
            dv[j] += turn[3 * i + j] * d[i];
            dturn[3 * i + j] += d[i] * v[j];
        }
    }
}

#if MODEL_KINEMATICS

/* From the gradient d of 2 sin(angle / 2) axis to that of angle axis. */
INLINE void chord_back(const float turned[3], const float d[3], float dturned[3])
{
    float square = (turned[0] * turned[0] + turned[1] * turned[1] + turned[2] * turned[2]) / 4.0f;
    const int within = square < 2.4674011f;
    square = within ? square : 2.4674011f;
    float ratio = -2.50521084e-08f, slope = 0.0f;
    const float series[5] = {2.75573192e-06f, -1.98412698e-04f, 8.33333333e-03f, -1.66666667e-01f, 1.0f};
    for (int i = 0; i < 5; i++) {
        slope = slope * square + ratio;
        ratio = ratio * square + series[i];
    }
    const float along = within ? slope / 2.0f * (turned[0] * d[0] + turned[1] * d[1] + turned[2] * d[2]) : 0.0f;
    for (int i = 0; i < 3; i++)
        dturned[i] = ratio * d[i] + along * turned[i];
}

#if MODEL_ROTORS

INLINE void drive_back(const int lanes, const int lane, const float *newest, const float dforce[3], const float dspin[3],
                       float *dnewest)
{
    for (int i = 0; i < MODEL_ROTORS; i++) {
        float effect = rotor_effect[i] * dforce[2];
        for (int axis = 0; axis < 3; axis++)
            effect += rotor_effect[(axis + 1) * MODEL_ROTORS + i] * dspin[axis];
        AT(dnewest, at_rotors[i]) += 2.0f * effect * AT(newest, at_rotors[i]);
    }
    for (int i = 0; i < 3; i++) {
        const int first = at_rate[(i + 1) % 3], second = at_rate[(i + 2) % 3];
        AT(dnewest, first) += rotor_gyration[i] * dspin[i] * AT(newest, second);
        AT(dnewest, second) += rotor_gyration[i] * dspin[i] * AT(newest, first);
    }
}

#endif

/* Write the gradient of the targets, and add that of the newest row, from that of the next outputs, which it changes. `raw`
   is room for the outputs. */
INLINE void next_outputs_back(const int lanes, const float *newest, const float *target, float *raw, float *dy,
                              float *dnewest, float *dtarget)
{
    (void)raw;
    EACH_LANE {
        float q[4], turn[9], v[3] = {0.0f}, spin[3], turned[3], rotated[3];
        float dq[4] = {0.0f}, dturn[9] = {0.0f}, dv[3] = {0.0f}, dspin[3], dafter[4], d[3] = {0.0f};
        const int force_at = MODEL_OTHER_OUTPUTS, spin_at = MODEL_OTHER_OUTPUTS + MODEL_VELOCITY;
        attitude(lanes, lane, newest, q);
        rotation(q, turn);
        for (int i = 0; i < MODEL_VELOCITY; i++)
            v[i] = AT(target, force_at + i);
        for (int i = 0; i < 3; i++)
            spin[i] = AT(target, spin_at + i);
#if MODEL_ROTORS
        drive(lanes, lane, newest, v, spin);
#endif
        for (int i = 0; i < MODEL_VELOCITY; i++)
            v[i] = v[i] - gravity * turn[6 + i];
        for (int i = 0; i < 3; i++)
            turned[i] = tick_length * (AT(newest, at_rate[i]) + tick_length / 2.0f * spin[i]);
        chord(turned, rotated);
        for (int i = 0; i < 4; i++)
            dafter[i] = AT(dy, at_attitude[i] - MODEL_INPUTS);
        composed_back(q, rotated, dafter, dq, d);
        chord_back(turned, d, d);
        for (int i = 0; i < 3; i++) {
            const float drate = AT(dy, at_rate[i] - MODEL_INPUTS);
            AT(dnewest, at_rate[i]) += drate + tick_length * d[i];
            dspin[i] = tick_length * (drate + tick_length / 2.0f * d[i]);
        }
        for (int i = 0; i < MODEL_POSITION; i++) {
            const float dposition = AT(dy, at_position[i] - MODEL_INPUTS), half = tick_length / 2.0f * dposition;
            AT(dnewest, at_position[i]) += dposition;
            AT(dnewest, at_velocity[i]) += half;
            AT(dy, at_velocity[i] - MODEL_INPUTS) += half;
        }
        for (int i = 0; i < MODEL_VELOCITY; i++) {
            AT(dnewest, at_velocity[i]) += AT(dy, at_velocity[i] - MODEL_INPUTS);
            d[i] = tick_length * AT(dy, at_velocity[i] - MODEL_INPUTS);
        }
        if (MODEL_VELOCITY)
            into_world_back(turn, v, d, dv, dturn);
        for (int i = 0; i < MODEL_VELOCITY; i++)
            dturn[6 + i] -= gravity * dv[i];
#if MODEL_ROTORS
        drive_back(lanes, lane, newest, dv, dspin, dnewest);
#endif
        for (int i = 0; i < MODEL_OTHER_OUTPUTS; i++) {
            AT(dtarget, i) = AT(dy, at_other_outputs[i] - MODEL_INPUTS);
            AT(dnewest, at_other_outputs[i]) += AT(dtarget, i);
        }
        for (int i = 0; i < MODEL_VELOCITY; i++)
            AT(dtarget, force_at + i) = dv[i];
        for (int i = 0; i < 3; i++)
            AT(dtarget, spin_at + i) = dspin[i];
        rotation_back(q, dturn, dq);
        attitude_back(lanes, lane, newest, dq, dnewest);
    }
}

#else

/* The gradients through a vector of the world frame that was moved by an increment in the body frame. */
INLINE void carried_back(const int lanes, const int lane, const unsigned short at[3], const float *increment,
                         const float turn[9], const float *dy, float *dnewest, float *dincrement, float dturn[9])
{
    float v[3], d[3], dv[3];
    for (int i = 0; i < 3; i++) {
        v[i] = AT(increment, i);
        d[i] = AT(dy, at[i] - MODEL_INPUTS);
        AT(dnewest, at[i]) += d[i];
    }
    into_world_back(turn, v, d, dv, dturn);
    for (int i = 0; i < 3; i++)
        AT(dincrement, i) = dv[i];
}

/* Write the gradient of the targets, and add that of the newest row, from that of the next outputs. `raw` is room for the
   outputs. */
INLINE void next_outputs_back(const int lanes, const float *newest, const float *target, float *raw, float *dy,
                              float *dnewest, float *dtarget)
{
    (void)raw;
    EACH_LANE {
        float q[4], turn[9], v[3], dv[3], dafter[4], dq[4] = {0.0f}, dturn[9] = {0.0f};
        int k = 0;
        attitude(lanes, lane, newest, q);
        rotation(q, turn);
        for (int i = 0; i < MODEL_OTHER_OUTPUTS; i++, k++) {
            AT(dtarget, k) = AT(dy, at_other_outputs[i] - MODEL_INPUTS);
            AT(dnewest, at_other_outputs[i]) += AT(dtarget, k);
        }
        if (MODEL_VELOCITY) {
            carried_back(lanes, lane, at_velocity, target + k * lanes, turn, dy, dnewest, dtarget + k * lanes, dturn);
            k += 3;
        }
        if (MODEL_POSITION) {
            carried_back(lanes, lane, at_position, target + k * lanes, turn, dy, dnewest, dtarget + k * lanes, dturn);
            k += 3;
        }
        for (int i = 0; i < 3; i++)
            v[i] = AT(target, k + i);
        for (int i = 0; i < 4; i++)
            dafter[i] = AT(dy, at_attitude[i] - MODEL_INPUTS);
        composed_back(q, v, dafter, dq, dv);
        for (int i = 0; i < 3; i++)
            AT(dtarget, k++) = dv[i];
        for (int i = 0; i < MODEL_RATE; i++, k++) {
            AT(dtarget, k) = AT(dy, at_rate[i] - MODEL_INPUTS);
            AT(dnewest, at_rate[i]) += AT(dtarget, k);
        }
        rotation_back(q, dturn, dq);
        attitude_back(lanes, lane, newest, dq, dnewest);
    }
}

#endif
#endif
