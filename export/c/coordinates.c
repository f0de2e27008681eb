#ifdef MODEL_EDITOR /* this file alone, see compile_flags.txt; not in the generated model */
#include "kernels.c"
#include "example/tables.h"
#endif

/* ---- Coordinates: from a window to the features, and from the targets to the next outputs. */

#define AT(array, index) (array)[(index) * lanes + lane]
#define EACH_LANE for (int lane = 0; lane < lanes; lane++)

#if MODEL_ANGLES

INLINE float floor_of(float x)
{
    if (!(x > -8388608.0f && x < 8388608.0f)) /* whole already, or not a number */
        return x;
    const float whole = (float)(int32_t)x;
    return whole > x ? whole - 1.0f : whole;
}

/* Return a change of an angle without whole turns. `per_period`: 1 / period; both are 0 where it is no angle. */
INLINE float short_way(float change, float period, float per_period)
{
    return change - period * floor_of(change * per_period + 0.5f);
}

/* Compute sine and cosine of each angle whose direction is seen, from those of half of it. */
INLINE void directions(const int lanes, const int lane, const float *newest, float *f)
{
    for (int k = 0; k < MODEL_DIRECTIONS; k++) {
        const float angle = short_way(AT(newest, seen_directions[k]), direction_period[k], direction_per_period[k]);
        const float z = angle * direction_half[k], square = z * z;
        float ratio = -2.50521084e-08f * square + 2.75573192e-06f;
        ratio = ratio * square + -1.98412698e-04f;
        ratio = ratio * square + 8.33333333e-03f;
        ratio = ratio * square + -1.66666667e-01f;
        ratio = ratio * square + 1.0f;
        float cosine = 2.08767570e-09f * square + -2.75573192e-07f;
        cosine = cosine * square + 2.48015873e-05f;
        cosine = cosine * square + -1.38888889e-03f;
        cosine = cosine * square + 4.16666667e-02f;
        cosine = cosine * square + -0.5f;
        cosine = cosine * square + 1.0f;
        const float sine = z * ratio;
        AT(f, 2 * k) = 2.0f * sine * cosine;
        AT(f, 2 * k + 1) = cosine * cosine - sine * sine;
    }
}

/* Bring each angle among the outputs into the turn in which it was recorded. */
INLINE void within_turn(const int lanes, const int lane, float *y)
{
    for (int k = 0; k < MODEL_ANGLE_OUTPUTS; k++) {
        const float value = AT(y, angle_outputs[k]);
        AT(y, angle_outputs[k]) = value - angle_period[k] * floor_of((value - angle_start[k]) * angle_per_period[k]);
    }
}

#endif

#if !MODEL_BODY

/* Compute what feature k of a row shows of a channel, before powers: some are relative to the newest row. */
INLINE float seen_value(const int lanes, const int lane, const float *row, const float *newest, const int k)
{
    const float level = seen_relative[k] ? AT(newest, columns_seen[k]) : 0.0f;
#if MODEL_ANGLES
    return short_way(AT(row, columns_seen[k]) - level, seen_period[k], seen_per_period[k]);
#else
    return AT(row, columns_seen[k]) - level;
#endif
}

/* Compute the scaled features [MODEL_ROW] of one row [MODEL_CHANNELS]: the channels that are features, then squares of the
   outputs, cubes, and so on. */
INLINE void row_features(const int lanes, const float *row, const float *newest, float *f)
{
    for (int k = 0; k < MODEL_ROW; k++)
        EACH_LANE {
            const float value = seen_value(lanes, lane, row, newest, k);
            float power = value;
            for (int p = MODEL_N_SEEN; p <= k; p += MODEL_N_FEEDBACK)
                power *= value;
            AT(f, k) = (power - feature_mean[k]) * feature_scale[k];
        }
}

#if MODEL_N_FRICTION

/* Compute the tanh of a speed, which says which way dry friction pushes. */
INLINE float friction(const int lanes, const int lane, const float *newest, const int k)
{
    float speed = AT(newest, braked[k]);
    if (MODEL_TAPS > 1 && braked_travels[k])
        speed -= AT(newest - MODEL_CHANNELS * lanes, braked[k]);
#if MODEL_ANGLES
    speed = short_way(speed, braked_period[k], braked_per_period[k]);
#endif
    return tanh_of(speed * braked_factor[k]);
}

#endif

/* Compute the features [MODEL_WINDOW] of rows [MODEL_TAPS][MODEL_CHANNELS]: those of each row, and of friction. */
INLINE void features(const int lanes, const float *window, float *f)
{
    const float *newest = window + (MODEL_TAPS - 1) * MODEL_CHANNELS * lanes;
    for (int tap = 0; tap < MODEL_TAPS; tap++)
        row_features(lanes, window + tap * MODEL_CHANNELS * lanes, newest, f + tap * MODEL_ROW * lanes);
#if MODEL_N_FRICTION
    for (int k = 0; k < MODEL_N_FRICTION; k++)
        EACH_LANE AT(f, MODEL_TAPS * MODEL_ROW + k) = friction(lanes, lane, newest, k);
#endif
#if MODEL_DIRECTIONS
    EACH_LANE directions(lanes, lane, newest, f + (MODEL_TAPS * MODEL_ROW + MODEL_N_FRICTION) * lanes);
#endif
}

#if MODEL_QUATERNIONS

/* Scale each quaternion among the outputs to length one. */
INLINE void unit_quaternions(const int lanes, const int lane, float *y)
{
    for (int k = 0; k < MODEL_QUATERNIONS; k++) {
        const unsigned short *at = quaternions + 4 * k;
        float square = 0.0f;
        for (int i = 0; i < 4; i++)
            square += AT(y, at[i]) * AT(y, at[i]);
        const float length = sqrtf(square + 1e-12f);
        for (int i = 0; i < 4; i++)
            AT(y, at[i]) /= length;
    }
}

#endif

/* Compute the next outputs from the newest row and the targets, before quaternions get length one and angles their turn. */
INLINE void moved_outputs(const int lanes, const float *newest, const float *target, float *y)
{
    for (int i = 0; i < MODEL_TARGETS; i++) {
        const int to = MODEL_INTEGRATED ? head_outputs[i] : i;
        EACH_LANE AT(y, to) = AT(target, i) + (MODEL_INCREMENT ? AT(newest, MODEL_INPUTS + to) : 0.0f);
    }
#if MODEL_INTEGRATED
    for (int i = 0; i < MODEL_INTEGRATED; i++) {
        const int at = integrals[i], rate = derivatives[i];
        EACH_LANE AT(y, at) = AT(newest, MODEL_INPUTS + at) +
                              tick_length / 2.0f * (AT(newest, MODEL_INPUTS + rate) + AT(y, rate));
    }
#endif
}

/* Compute the next outputs from the newest row and the targets. */
INLINE void next_outputs(const int lanes, const float *newest, const float *target, float *y)
{
    moved_outputs(lanes, newest, target, y);
#if MODEL_QUATERNIONS
    EACH_LANE unit_quaternions(lanes, lane, y);
#endif
#if MODEL_ANGLE_OUTPUTS
    EACH_LANE within_turn(lanes, lane, y);
#endif
}

#else

/* Read the attitude as a unit quaternion x, y, z, w. */
INLINE void attitude(const int lanes, const int lane, const float *row, float q[4])
{
    float square = 0.0f;
    for (int i = 0; i < 4; i++) {
        q[i] = AT(row, at_attitude[i]);
        square += q[i] * q[i];
    }
    const float length = sqrtf(square + 1e-12f);
    for (int i = 0; i < 4; i++)
        q[i] /= length;
}

/* Compute the rotation matrix from body to world. */
INLINE void rotation(const float q[4], float turn[9])
{
    const float x = q[0], y = q[1], z = q[2], w = q[3];
    turn[0] = 1.0f - 2.0f * (y * y + z * z);
    turn[1] = 2.0f * (x * y - w * z);
    turn[2] = 2.0f * (x * z + w * y);
    turn[3] = 2.0f * (x * y + w * z);
    turn[4] = 1.0f - 2.0f * (x * x + z * z);
    turn[5] = 2.0f * (y * z - w * x);
    turn[6] = 2.0f * (x * z - w * y);
    turn[7] = 2.0f * (y * z + w * x);
    turn[8] = 1.0f - 2.0f * (x * x + y * y);
}

INLINE void into_body(const float turn[9], const float v[3], float out[3])
{
    for (int i = 0; i < 3; i++)
        out[i] = v[0] * turn[i] + v[1] * turn[3 + i] + v[2] * turn[6 + i];
}

/* Compute the rotation from q to p as sin(angle) axis in the frame of q: smooth everywhere, the same for p and -p. */
INLINE void relative(const float q[4], const float p[4], float out[3])
{
    const float x = q[0], y = q[1], z = q[2], w = q[3];
    const float d = x * p[0] + y * p[1] + z * p[2] + w * p[3];
    const float twice = 2.0f * d;
    out[0] = twice * (w * p[0] + z * p[1] - y * p[2] - x * p[3]);
    out[1] = twice * (w * p[1] - z * p[0] + x * p[2] - y * p[3]);
    out[2] = twice * (w * p[2] + y * p[0] - x * p[1] - z * p[3]);
}

/* Compute the features of one row in the body frame of the newest row, whose attitude is q. */
INLINE void row_features(const int lanes, const int lane, const float *row, const float *newest, const float q[4],
                         const float turn[9], float raw[MODEL_ROW])
{
    int k = 0;
    for (int i = 0; i < MODEL_OTHERS; i++)
        raw[k++] = AT(row, at_others[i]);
#if MODEL_ANGLES
    for (int i = 0; i < MODEL_OTHERS; i++)
        if (other_per_period[i] > 0.0f)
            raw[i] = short_way(raw[i] - AT(newest, at_others[i]), other_period[i], other_per_period[i]);
#endif
    float v[4];
    if (MODEL_VELOCITY) {
        for (int i = 0; i < 3; i++)
            v[i] = AT(row, at_velocity[i]);
        into_body(turn, v, raw + k);
        k += 3;
    }
    if (MODEL_POSITION) {
        for (int i = 0; i < 3; i++)
            v[i] = AT(row, at_position[i]) - AT(newest, at_position[i]);
        into_body(turn, v, raw + k);
        k += 3;
    }
    for (int i = 0; i < 4; i++)
        v[i] = AT(row, at_attitude[i]);
    relative(q, v, raw + k);
    k += 3;
    for (int i = 0; i < MODEL_RATE; i++)
        raw[k++] = AT(row, at_rate[i]);
}

/* Compute the scaled features of all rows in the body frame of the newest, and the world's vertical in that frame. */
INLINE void features(const int lanes, const float *window, float *f)
{
    const float *newest = window + (MODEL_TAPS - 1) * MODEL_CHANNELS * lanes;
    EACH_LANE {
        float q[4], turn[9], raw[MODEL_ROW];
        attitude(lanes, lane, newest, q);
        rotation(q, turn);
        for (int tap = 0; tap < MODEL_TAPS; tap++) {
            row_features(lanes, lane, window + tap * MODEL_CHANNELS * lanes, newest, q, turn, raw);
            for (int k = 0; k < MODEL_ROW; k++)
                AT(f, tap * MODEL_ROW + k) = (raw[k] - feature_mean[k]) * feature_scale[k];
        }
        for (int i = 0; i < 3; i++)
            AT(f, MODEL_TAPS * MODEL_ROW + i) = turn[6 + i];
#if MODEL_DIRECTIONS
        directions(lanes, lane, newest, f + (MODEL_TAPS * MODEL_ROW + 3) * lanes);
#endif
#if MODEL_SQUARES
        for (int i = 0; i < MODEL_ROTORS; i++) {
            const float speed = AT(newest, at_rotors[i]);
            AT(f, MODEL_TAPS * MODEL_ROW + 3 + 2 * MODEL_DIRECTIONS + i) = rotor_effect[i] * speed * speed;
        }
#endif
    }
}

/* Rotate the quaternion q by 2 sin(angle / 2) axis in its own frame. */
INLINE void composed(const float q[4], const float rotated[3], float out[4])
{
    const float x = q[0], y = q[1], z = q[2], w = q[3];
    const float a = rotated[0] / 2.0f, b = rotated[1] / 2.0f, c = rotated[2] / 2.0f;
    float square = 1.0f - a * a - b * b - c * c;
    square = square < 0.0f ? 0.0f : square;
    const float d = sqrtf(square + 1e-12f);
    out[0] = w * a + x * d + y * c - z * b;
    out[1] = w * b - x * c + y * d + z * a;
    out[2] = w * c + x * b - y * a + z * d;
    out[3] = w * d - x * a - y * b - z * c;
    const float length = sqrtf(out[0] * out[0] + out[1] * out[1] + out[2] * out[2] + out[3] * out[3] + 1e-12f);
    for (int i = 0; i < 4; i++)
        out[i] /= length;
}

#if MODEL_KINEMATICS

/* Compute 2 sin(angle / 2) axis from angle axis, up to half a turn: sin(x) / x in powers of x^2. */
INLINE void chord(const float turned[3], float out[3])
{
    float square = (turned[0] * turned[0] + turned[1] * turned[1] + turned[2] * turned[2]) / 4.0f;
    square = square > 2.4674011f ? 2.4674011f : square;
    float ratio = -2.50521084e-08f;
    ratio = ratio * square + 2.75573192e-06f;
    ratio = ratio * square - 1.98412698e-04f;
    ratio = ratio * square + 8.33333333e-03f;
    ratio = ratio * square - 1.66666667e-01f;
    ratio = ratio * square + 1.0f;
    for (int i = 0; i < 3; i++)
        out[i] = turned[i] * ratio;
}

#if MODEL_ROTORS

/* Compute the acceleration by the rotors: `axis` 0 upward, 1 to 3 about x, y and z. */
INLINE float driven(const int lanes, const int lane, const int axis, const float *newest)
{
    float sum = 0.0f;
    for (int i = 0; i < MODEL_ROTORS; i++) {
        const float speed = AT(newest, at_rotors[i]);
        sum = sum + rotor_effect[axis * MODEL_ROTORS + i] * speed * speed;
    }
    return sum;
}

/* Add what known rotors contribute to specific force and, by Euler's equations, to angular acceleration. */
INLINE void drive(const int lanes, const int lane, const float *newest, float force[3], float spin[3])
{
    force[2] += driven(lanes, lane, 0, newest);
    for (int i = 0; i < 3; i++) {
        const float first = AT(newest, at_rate[(i + 1) % 3]), second = AT(newest, at_rate[(i + 2) % 3]);
        spin[i] += driven(lanes, lane, i + 1, newest) + rotor_gyration[i] * (first * second);
    }
}

#endif

/* Compute the next outputs from the newest row and the targets: increments of other outputs, then in the body frame the
   specific force that an accelerometer measures and the angular acceleration, both constant over the tick. */
INLINE void next_outputs(const int lanes, const float *newest, const float *target, float *y)
{
    EACH_LANE {
        float q[4], turn[9], v[3] = {0.0f}, turned[3], spin[3], after[4];
        int k = 0;
        attitude(lanes, lane, newest, q);
        rotation(q, turn);
        for (int i = 0; i < MODEL_OTHER_OUTPUTS; i++)
            AT(y, at_other_outputs[i] - MODEL_INPUTS) = AT(newest, at_other_outputs[i]) + AT(target, k++);
        for (int i = 0; i < MODEL_VELOCITY; i++)
            v[i] = AT(target, k++);
        for (int i = 0; i < 3; i++)
            spin[i] = AT(target, k++);
#if MODEL_ROTORS
        drive(lanes, lane, newest, v, spin);
#endif
        for (int i = 0; i < MODEL_VELOCITY; i++)
            v[i] = v[i] - gravity * turn[6 + i];
        for (int i = 0; i < MODEL_VELOCITY; i++)
            AT(y, at_velocity[i] - MODEL_INPUTS) =
                AT(newest, at_velocity[i]) +
                tick_length * (turn[3 * i] * v[0] + turn[3 * i + 1] * v[1] + turn[3 * i + 2] * v[2]);
        for (int i = 0; i < MODEL_POSITION; i++)
            AT(y, at_position[i] - MODEL_INPUTS) =
                AT(newest, at_position[i]) +
                tick_length / 2.0f * (AT(newest, at_velocity[i]) + AT(y, at_velocity[i] - MODEL_INPUTS));
        for (int i = 0; i < 3; i++) {
            const float rate = AT(newest, at_rate[i]);
            turned[i] = tick_length * (rate + tick_length / 2.0f * spin[i]);
            AT(y, at_rate[i] - MODEL_INPUTS) = rate + tick_length * spin[i];
        }
        chord(turned, v);
        composed(q, v, after);
        for (int i = 0; i < 4; i++)
            AT(y, at_attitude[i] - MODEL_INPUTS) = after[i];
#if MODEL_ANGLE_OUTPUTS
        within_turn(lanes, lane, y);
#endif
    }
}

#else

/* Add an increment in the body frame to a vector in the world frame. */
INLINE void carried(const int lanes, const int lane, const unsigned short at[3], const float *newest,
                    const float *increment, const float turn[9], float *y)
{
    const float v[3] = {AT(increment, 0), AT(increment, 1), AT(increment, 2)};
    for (int i = 0; i < 3; i++)
        AT(y, at[i] - MODEL_INPUTS) =
            AT(newest, at[i]) + (turn[3 * i] * v[0] + turn[3 * i + 1] * v[1] + turn[3 * i + 2] * v[2]);
}

/* Compute the next outputs from increments in the body frame: other outputs, velocity, position, rotation, rate. */
INLINE void next_outputs(const int lanes, const float *newest, const float *target, float *y)
{
    EACH_LANE {
        float q[4], turn[9], v[3], after[4];
        int k = 0;
        attitude(lanes, lane, newest, q);
        rotation(q, turn);
        for (int i = 0; i < MODEL_OTHER_OUTPUTS; i++)
            AT(y, at_other_outputs[i] - MODEL_INPUTS) = AT(newest, at_other_outputs[i]) + AT(target, k++);
        if (MODEL_VELOCITY) {
            carried(lanes, lane, at_velocity, newest, target + k * lanes, turn, y);
            k += 3;
        }
        if (MODEL_POSITION) {
            carried(lanes, lane, at_position, newest, target + k * lanes, turn, y);
            k += 3;
        }
        for (int i = 0; i < 3; i++)
            v[i] = AT(target, k++);
        composed(q, v, after);
        for (int i = 0; i < 4; i++)
            AT(y, at_attitude[i] - MODEL_INPUTS) = after[i];
        for (int i = 0; i < MODEL_RATE; i++)
            AT(y, at_rate[i] - MODEL_INPUTS) = AT(newest, at_rate[i]) + AT(target, k++);
#if MODEL_ANGLE_OUTPUTS
        within_turn(lanes, lane, y);
#endif
    }
}

#endif
#endif
