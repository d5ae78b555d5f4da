// Errors that travel along with a state, in single precision: linsim/_shadow.py, which derives all numbers
// here.  A shadow is a sample of the error of each part; a layer takes it along and moves it by what that
// layer rounds, in a pattern that is the same for all systems.

#define SUM 0.2
#define ENTRY 0.3
#define TURNS 8       // patterns, one layer after the other
#define BUDGET 50.0   // powers of two below which sizes are near the end of single precision

// Sizes of a state before and after a layer.
struct Sizes {
    double *rows, *b, *whole;  // |R_i| (n), |b_i| (n), and |a|, |r|, -, |R|, |mean|

    __device__ void place(Room &room, Size s) {
        rows = room.take<double>(s.n);
        b = room.take<double>(s.n);
        whole = room.take<double>(5);
    }

    template <class real> PIECE void look(const Parts<real> &p, const Size &s, double *room) {
        double r = 0, mean = 0, R = 0;
        EACH(i, s.n) {
            double square = 0;
            for (int j = 0; j < s.d; j++) square += (double)p.R[i * s.wide + j] * p.R[i * s.wide + j];
            rows[i] = sqrt(square);
            b[i] = fabs((double)p.b[i]);
            R += square;
        }
        EACH(j, s.d) r += (double)p.r[j] * p.r[j], mean += (double)p.mean[j] * p.mean[j];
        r = sum_of(r, room), mean = sum_of(mean, room), R = sum_of(R, room);
        if (threadIdx.x == 0) {
            whole[IN_A] = fabs((double)p.a[0]);
            whole[IN_ROW] = sqrt(r), whole[IN_R] = sqrt(R), whole[IN_MEAN] = sqrt(mean);
        }
        __syncthreads();
    }
};

// The small parts as they were before a layer.
template <class real> struct Old {
    real *r, *b, *mean;

    __device__ void place(Room &room, Size s) {
        r = room.take<real>(s.d);
        b = room.take<real>(s.n);
        mean = room.take<real>(s.d);
    }

    PIECE void keep(const Parts<real> &p, const Size &s) {
        EACH(j, s.d) r[j] = p.r[j], mean[j] = p.mean[j];
        EACH(i, s.n) b[i] = p.b[i];
    }
};

// What a layer's matrices do to roundings: norms of the columns of each H over the largest, which is `widest`,
// and Frobenius norms of both matrices of the first head.
struct Norms {
    double *columns, *widest;  // (heads, d), (heads)
    double size_A, size_H;

    __device__ void place(Room &room, Size s, int heads) {
        columns = room.take<double>(heads * s.d);
        widest = room.take<double>(heads);
    }

    template <class real> PIECE void look(const Heads<real> &heads, const Size &s, double *room) {
        double all_A = 0;
        for (int h = 0; h < heads.count; h++) {
            const real *H = heads.weights(h);
            double top = 0, all_H = 0;
            EACH(j, s.d) {
                double square = 0;
                for (int k = 0; k < s.d; k++) {
                    double own = H[k * heads.across_H + j];
                    square += own * own;
                }
                columns[h * s.d + j] = sqrt(square);
                top = fmax(top, columns[h * s.d + j]);
                all_H += square;
            }
            top = fmax(max_of(top, room), 1e-300), all_H = sum_of(all_H, room);
            EACH(j, s.d) columns[h * s.d + j] /= top;
            if (threadIdx.x == 0) widest[h] = top;
            if (h == 0) size_H = sqrt(all_H);
        }
        EACH(x, s.n * s.n) {
            double own = heads.A[x / s.n * heads.across_A + x % s.n];
            all_A += own * own;
        }
        size_A = sqrt(sum_of(all_A, room));
        __syncthreads();
    }
};

// What a layer rounds, at the scale of each part: of R by row (x0, and y of each head, beside x1), of b by row,
// of the others.
struct Rounded {
    double *x0, *x1, *y, *b;
    double top[5];      // the largest of each
    double own_r, fed, shrunk, e_r, mode, own_mean;

    __device__ void place(Room &room, Size s, int heads) {
        x0 = room.take<double>(s.n);
        x1 = room.take<double>(s.n);
        y = room.take<double>(heads * s.n);
        b = room.take<double>(s.n);
    }

    template <class real>
    PIECE void look(const Sizes &before, const Sizes &after, const Heads<real> &heads, const Norms &norms,
                    const Facts &f, const double *e, double unit, const Size &s, double *room) {
        int n = s.n, d = s.d;
        double by_weights = SUM * sqrt(1 + (double)n / d), by_attention = SUM * sqrt((double)n);
        double entry = ENTRY / sqrt((double)d), top_R = 0, top_b = 0;
        double widest = 0;
        EACH(i, n) {
            double plain = entry * after.rows[i] * f.condition, both = plain, reached = 0;
            for (int h = 0; h < heads.count; h++) {
                const real *row = heads.attention(h) + i * heads.across_A;
                double seen = 0;
                for (int k = 0; k < n; k++) {
                    double own = row[k];
                    seen += own * before.rows[k] * own * before.rows[k];
                    if (h == 0) reached += fabs(own) * before.b[k];
                }
                y[h * n + i] = by_weights * sqrt(seen) * f.condition * norms.widest[h];
                both = fmax(both, y[h * n + i]);
            }
            x1[i] = both;
            x0[i] = both > 0 ? plain / both : 0.0;
            for (int h = 0; h < heads.count; h++) y[h * n + i] = both > 0 ? y[h * n + i] / both : 0.0;
            b[i] = (by_attention * fabs(f.mu) * reached + ENTRY * after.b[i]) * f.condition;
            top_R = fmax(top_R, both), top_b = fmax(top_b, b[i]);
        }
        for (int h = 0; h < heads.count; h++) widest = fmax(widest, norms.widest[h]);
        top[IN_R] = max_of(top_R, room);
        top[IN_B] = f.has_z > 0 ? max_of(top_b, room) : 0.0;
        own_r = entry * after.whole[IN_ROW] * f.condition;
        own_mean = entry * after.whole[IN_MEAN];
        top[IN_ROW] = fmax(own_r, by_weights * before.whole[IN_ROW] * widest * f.condition);
        top[IN_MEAN] = fmax(own_mean, by_weights * before.whole[IN_MEAN] * widest);
        e_r = e[IN_ROW], fed = 0, shrunk = 1;
        if (f.coupled > 0) {  // what R feeds into r, at the larger of their scales
            e_r = fmax(e[IN_ROW], e[IN_R]);
            shrunk = power_of_two(e[IN_ROW] - e_r);
            fed = by_attention * f.length_u * after.whole[IN_R] / sqrt((double)d) * power_of_two(e[IN_R] - e_r);
            top[IN_ROW] = fmax(top[IN_ROW] * shrunk, fed);
        }
        mode = 0;
        if (f.has_z > 0) {
            // an eigenvalue is off by what rounding the matrix to single precision did, the same at each layer
            double finer = power_of_two(-52.0 - unit);
            double turned = finer * fabs(f.lam) * norms.size_H * f.length_w * f.length_z;
            turned += (f.constant > 0 ? finer : 1.0) * fabs(f.mu) * norms.size_A * f.length_u * f.length_v;
            mode = ENTRY * after.whole[IN_A] + 0.3 * turned * before.whole[IN_A];
        }
        top[IN_A] = mode;
    }
};

// The exponent that e and `to` share, and the factors that bring both there.
__device__ inline double joined(double e, double to, double &old, double &fresh) {
    double top = fmax(e, to);
    old = power_of_two(e - top), fresh = power_of_two(to - top);
    return top;
}

// Patterns (linsim._shadow): TURNS of `copies` of all parts, what is fixed, and the drift, flat each.
struct Patterns {
    const float *pool, *fixed, *drift;
};

// Move the errors by what a layer has rounded: `Shadows.step` of linsim/_shadow.py.
template <class real>
PIECE void move(const Parts<float> *errors, int copies, const Size &s, const Patterns &patterns, long long layer,
                const Parts<real> &p, const Old<real> &old_parts, const float *change, int heads, const Norms &norms,
                const Rounded &rounded, const double *row_sizes, const Facts &f, double unit, double *room) {
    int n = s.n, d = s.d, flat = s.flat();
    double up[5], by_weights = SUM * sqrt(1 + (double)n / d);
    bool fits = true;
    for (int k = 0; k < 5; k++) {
        up[k] = 0;
        if (!(rounded.top[k] > 0)) continue;
        fits = fits && rounded.top[k] >= power_of_two(-BUDGET);
        up[k] = exponent_of(rounded.top[k]);
    }
    // layers that all but cancel the state leave the range of single precision before it is rescaled
    for (int k = 0; k < 5; k++) up[k] = fits ? 0.0 : up[k];
    double steady = (f.constant > 0 ? 0.3 : 1.0) * rounded.shrunk;
    float sign = layer / TURNS % 2 ? 1.0f : -1.0f;
    double own_scale = power_of_two(-up[IN_R]);  // beyond the range of single precision, beside sizes that are, too
    const float *pool = patterns.pool + layer % TURNS * copies * flat;
    for (int k = 0; k < copies; k++) {
        const Parts<float> &error = errors[k];
        if (!fits) normalise(error, s, f.coupled > 0, room);
        double e[5], old[5], fresh[5];
        for (int q = 0; q < 5; q++) {
            double to = (q == IN_ROW ? rounded.e_r : p.e[q]) + unit + up[q];
            bool used = q == IN_R || q == IN_ROW || (q == IN_MEAN ? f.any_mean > 0 : f.has_z > 0);
            e[q] = used ? joined(error.e[q], to, old[q], fresh[q]) : error.e[q];
            if (q != IN_R) fresh[q] *= power_of_two(-up[q]);
        }
        __syncthreads();
        const float *one = pool + k * flat, *same = patterns.fixed + k * flat, *drift = patterns.drift + k * flat;
        float keep = (float)old[IN_R], add = (float)fresh[IN_R];
        EACH(x, n * d) {
            int i = x / d, j = x % d, at = i * s.wide + j;
            float plain = (float)rounded.x0[i], square = plain * plain;
            for (int h = 0; h < heads; h++) {
                float part = (float)rounded.y[h * n + i] * (float)norms.columns[h * d + j];
                square += part * part;
            }
            float size = sqrtf(square) * (float)(rounded.x1[i] * own_scale);
            float off = size * (sign * one[x] + same[x]) + (float)(change[at] * own_scale) * drift[x];
            error.R[at] = off * add + error.R[at] * keep;
        }
        one += n * d, same += n * d, drift += n * d;
        EACH(j, d) {
            double off = rounded.own_r, by_row = by_weights * row_sizes[IN_ROW] * f.condition;
            for (int h = 0; h < heads; h++) off += by_row * norms.columns[h * d + j] * norms.widest[h];
            double moved = (off * rounded.shrunk + rounded.fed) * (sign * one[j] + same[j]);
            moved += steady * ((double)p.r[j] - old_parts.r[j]) * drift[j];
            error.r[j] = (float)(old[IN_ROW] * error.r[j] + moved * fresh[IN_ROW]);
        }
        one += d, same += d, drift += d;
        if (f.has_z > 0) {
            EACH(i, n) {
                double moved = rounded.b[i] * (sign * one[i] + same[i]);
                moved += ((double)p.b[i] - old_parts.b[i]) * drift[i];
                error.b[i] = (float)(old[IN_B] * error.b[i] + moved * fresh[IN_B]);
            }
            if (threadIdx.x == 0) {
                double moved = rounded.mode * (sign * one[n + d] + same[n + d]);
                if (unit < -30) moved += p.a[0] * drift[n + d];
                error.a[0] = (float)(old[IN_A] * error.a[0] + moved * fresh[IN_A]);
            }
        }
        one += n, same += n, drift += n;
        if (f.any_mean > 0)
            EACH(j, d) {
                double off = rounded.own_mean, by_row = by_weights * row_sizes[IN_MEAN];
                for (int h = 0; h < heads; h++) off += by_row * norms.columns[h * d + j] * norms.widest[h];
                double moved = off * (sign * one[j] + same[j]);
                moved += ((double)p.mean[j] - old_parts.mean[j]) * drift[j];
                error.mean[j] = (float)(old[IN_MEAN] * error.mean[j] + moved * fresh[IN_MEAN]);
            }
        EACH(q, 5) error.e[q] = e[q];
    }
    __syncthreads();
}

// log2 of a length from its square; an error that is no number is as large as can be, and hides nothing.
__device__ inline double noise_from(double square, double e) {
    return square >= 0 ? fmax(log2_or_empty(sqrt(square)) + e, EMPTY) : -EMPTY;
}

// log2 of `safety` times the root mean square of what lengths are the log2 of.
PIECE double mean_square(const double *lengths, int copies, double safety) {
    double top = EMPTY, square = 0;
    for (int k = 0; k < copies; k++) top = fmax(top, lengths[k]);
    for (int k = 0; k < copies; k++) square += exp2(2 * fmax(fmax(lengths[k], EMPTY) - top, -200.0));
    return top + 0.5 * log2(square / copies) + log2(safety);
}

#define MOST_COPIES 4

// Write the noise of every part and of every token: `Shadows.measured` of linsim/_shadow.py.
PIECE void noise_of(const Parts<float> *errors, int copies, const Size &s, const Cut<float> &cut, double safety,
                    double *noise, double *noise_rows, double *room) {
    double lengths[5][MOST_COPIES];
    for (int k = 0; k < copies; k++) {
        const Parts<float> &error = errors[k];
        double square[5] = {0, 0, 0, 0, 0};
        EACH(x, s.n * s.d) {
            double own = error.R[x / s.d * s.wide + x % s.d];
            square[IN_R] += own * own;
        }
        EACH(j, s.d) {
            square[IN_ROW] += (double)error.r[j] * error.r[j];
            square[IN_MEAN] += (double)error.mean[j] * error.mean[j];
        }
        EACH(i, s.n) square[IN_B] += (double)error.b[i] * error.b[i];
        if (threadIdx.x == 0) square[IN_A] = (double)error.a[0] * error.a[0];
        for (int q = 0; q < 5; q++)
            lengths[q][k] = noise_from(sum_of(square[q], room), error.e[q]);
    }
    if (threadIdx.x == 0)
        for (int q = 0; q < 5; q++) noise[q] = mean_square(lengths[q], copies, safety);
    EACH(i, s.n) {
        double own[MOST_COPIES];
        for (int k = 0; k < copies; k++) {
            const Parts<float> &error = errors[k];
            const double *e = error.e;
            // the tokens themselves: v (a z + r) + b z + R at one scale
            double top = fmax(fmax(e[IN_A], e[IN_ROW]), fmax(e[IN_B], e[IN_R])), square = 0;
            float f_a = (float)power_of_two(e[IN_A] - top) * error.a[0], f_r = (float)power_of_two(e[IN_ROW] - top);
            float f_b = (float)power_of_two(e[IN_B] - top) * error.b[i], f_R = (float)power_of_two(e[IN_R] - top);
            for (int j = 0; j < s.d; j++) {
                float t = cut.v[i] * (f_a * cut.z[j] + f_r * error.r[j]) + f_b * cut.z[j];
                t += f_R * error.R[i * s.wide + j];
                square += (double)t * t;
            }
            own[k] = noise_from(square, top);
        }
        noise_rows[i] = mean_square(own, copies, safety);
    }
    __syncthreads();
}

// How far below the largest error of a token another one is not told any more, and how far below the largest
// token one is that lies beyond the range of its numbers (log2), as in linsim/_small_rows.py.
#define FAR_BELOW 70.0
#define BEYOND 1100.0

// Make errors of small tokens no less than what their layers have rounded: `SmallRows.told` there.
// `first`: log2 of the lengths of tokens at layer 0; `ended`: which came near the end of the range, kept.
template <class real>
PIECE void small_rows(const Parts<real> &state, const Size &s, const Cut<real> &cut, const double *first,
                      double layer, double unit, double *noise_rows, double *ended) {
    const double *e = state.e;
    double largest = EMPTY, top = fmax(fmax(e[IN_A], e[IN_ROW]), fmax(e[IN_B], e[IN_R]));
    double near_end = sizeof(real) == 8 ? 900.0 : 100.0;
    for (int i = 0; i < s.n; i++) largest = fmax(largest, noise_rows[i]);
    __syncthreads();
    EACH(i, s.n) {
        if (!(noise_rows[i] < largest - FAR_BELOW)) {
            ended[i] = 0;
            continue;
        }
        double f_a = power_of_two(e[IN_A] - top) * state.a[0], f_r = power_of_two(e[IN_ROW] - top);
        double f_b = power_of_two(e[IN_B] - top) * state.b[i], f_R = power_of_two(e[IN_R] - top);
        double peak = 0, square = 0;
        for (int again = 0; again < 2; again++)
            for (int j = 0; j < s.d; j++) {
                double t = (double)cut.v[i] * (f_a * cut.z[j] + f_r * state.r[j]) + f_b * cut.z[j];
                t += f_R * state.R[i * s.wide + j];
                if (!again) peak = fmax(peak, fabs(t));
                else if (peak > 0) square += (t / peak) * (t / peak);
            }
        if (peak > 0) {
            double size = log2(peak) + 0.5 * log2(square) + top;
            ended[i] = size < top - near_end;
            if (first[i] > EMPTY / 2) {
                double rounded = size + fmax(0.0, (first[i] - size) / layer) + log2(layer) + unit + 5;
                noise_rows[i] = fmax(noise_rows[i], rounded);
            }
        } else if (ended[i] != 0) {
            noise_rows[i] = top - BEYOND;
        }
    }
    __syncthreads();
}
