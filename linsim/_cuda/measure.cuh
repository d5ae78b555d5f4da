// Few numbers of a state from which all metrics follow: linsim/_kernels/sums.py, by a block of threads.
//
// The same three steps: the mean over tokens and what is left (Content of metrics/_sums.py), the leading pair
// of singular vectors and the minors (Leading), and how far rows are off one line (Angles).

// Places of what is written of each state; the order is that of linsim/_cuda/layout.py.
enum {
    AT_NOISE = 0,
    AT_TOP = 5,
    AT_LARGEST, AT_HIGH, AT_E_HIGH, AT_LOW, AT_E_LOW, AT_FARTHEST,
    AT_MAIN, AT_E, AT_DELTA, AT_SPLIT_OFF, AT_NOISE_S, AT_NOISE_MAIN,
    AT_NEAR, AT_E_NEAR, AT_WORST, AT_OFF_Q, AT_MEAN_TURN, AT_SQUARE_TURN, AT_PRESENT, AT_CENTRE, AT_SCATTER,
    AT_ALL_PAIRS, AT_ABOVE, AT_ONE_SIDE, AT_ALIGNED,
    AT_VALUES
};

#define SWEEPS 4  // of alternate projections, as in metrics/_leading_pair.py

// Room for measuring: S, rest and full are (n, d), other numbers doubles.
template <class real> struct Measuring {
    real *S, *rest, *full;
    double *row, *line, *alpha, *q, *x, *along, *across, *height, *square, *values, *room;

    __device__ void place(Room &space, Size s) {  // S, rest and full lie where nothing else is needed meanwhile
        row = space.take<double>(s.d);
        line = space.take<double>(s.d);
        q = space.take<double>(s.d);
        x = space.take<double>(s.d);
        alpha = space.take<double>(s.n);
        along = space.take<double>(s.n);
        across = space.take<double>(s.n);
        height = space.take<double>(s.n);
        square = space.take<double>(s.n);
        values = space.take<double>(s.n < s.d ? s.n : s.d);
        room = space.take<double>(32);
    }
};

struct Exponents {
    double row, rest, full;
};

template <class real> PIECE double length_of(const real *x, int count, double *room) {
    double square = 0;
    EACH(k, count) square += (double)x[k] * x[k];
    return sqrt(sum_of(square, room));
}

template <class real> __device__ double dot_of(const real *x, const real *y, int count) {
    real sum = 0;
    for (int k = 0; k < count; k++) sum += x[k] * y[k];
    return sum;
}

// Angles that are all but zero are seen in the last digits of a cosine: those of a double, whatever rows are.
template <class real> __device__ double in_double(const real *x, const real *y, int count) {
    double sum = 0;
    for (int k = 0; k < count; k++) sum += (double)x[k] * y[k];
    return sum;
}

// x^T S, column by column.
template <class real> PIECE void sums_of_rows(const double *x, const real *S, const Size &s, double *out) {
    EACH(j, s.d) {
        real sum = 0;
        for (int i = 0; i < s.n; i++) sum += (real)x[i] * S[i * s.wide + j];
        out[j] = sum;
    }
    __syncthreads();
}

// The tokens: the row that v carries, the rest, and both together.
template <class real>
PIECE Exponents assemble(const Parts<real> &p, const Size &s, const Cut<real> &cut, const Measuring<real> &m) {
    Exponents e;
    e.row = fmax(p.e[IN_A], p.e[IN_ROW]), e.rest = fmax(p.e[IN_B], p.e[IN_R]);
    e.full = fmax(e.row, e.rest);
    real f_a = (real)(p.a[0] * power_of_two(p.e[IN_A] - e.row)), f_r = (real)power_of_two(p.e[IN_ROW] - e.row);
    real f_b = (real)power_of_two(p.e[IN_B] - e.rest), f_R = (real)power_of_two(p.e[IN_R] - e.rest);
    real f_row = (real)power_of_two(e.row - e.full), f_rest = (real)power_of_two(e.rest - e.full);
    EACH(j, s.d) m.row[j] = f_a * cut.z[j] + f_r * p.r[j];
    __syncthreads();
    EACH(at, s.n * s.d) {
        int i = at / s.d, j = at % s.d, place = i * s.wide + j;
        real rest = p.b[i] * f_b * cut.z[j] + f_R * p.R[place];
        m.rest[place] = rest;
        m.full[place] = cut.v[i] * f_row * (real)m.row[j] + f_rest * rest;
    }
    __syncthreads();
    return e;
}

template <class real>
PIECE void content(const Parts<real> &p, const Size &s, const Facts &f, const Measuring<real> &m, Exponents e, double *out) {
    int n = s.n, d = s.d;
    // with v = 1 the rest alone differs between tokens: nothing cancels
    bool constant = f.constant > 0, kept = f.preserves > 0;
    const real *base = constant ? m.rest : m.full;
    EACH(j, d) {
        double sum = 0;
        for (int i = 0; i < n; i++) sum += base[i * s.wide + j];
        m.line[j] = sum / n;
    }
    __syncthreads();
    double high = 0, farthest = 0, largest = 0, low = 0;
    EACH(x, n * d) {
        int j = x % d, at = x / d * s.wide + j;
        double off = base[at] - m.line[j];
        high += off * off;
        largest = fmax(largest, fabs((double)m.full[at]));
    }
    EACH(pair, n * n) {
        int i = pair / n, k = pair % n;
        if (k >= i) continue;
        real square = 0;
        for (int j = 0; j < d; j++) {
            real off = base[i * s.wide + j] - base[k * s.wide + j];
            square += off * off;
        }
        farthest = fmax(farthest, (double)square);
    }
    double e_low = !constant ? (kept ? p.e[IN_MEAN] : e.full) : (kept ? e.row : fmax(e.row, e.rest));
    double f_low = power_of_two(e.row - e_low), f_kept = kept ? 0.0 : power_of_two(e.rest - e_low);
    EACH(j, d) {
        double mean = !constant ? (kept ? (double)p.mean[j] : m.line[j]) : f_low * m.row[j] + f_kept * m.line[j];
        low += mean * mean;
    }
    high = sum_of(high, m.room), low = sum_of(low, m.room);
    farthest = max_of(farthest, m.room), largest = max_of(largest, m.room);
    if (threadIdx.x == 0) {
        out[AT_LARGEST] = largest;
        out[AT_HIGH] = sqrt(high), out[AT_E_HIGH] = constant ? e.rest : e.full;
        out[AT_LOW] = sqrt(low * n), out[AT_E_LOW] = e_low;
        out[AT_FARTHEST] = sqrt(farthest);
    }
}

// X = 2**e (main alpha q + 2**delta S), all of it uniform over the threads.
struct Pair {
    double main, e, delta, noise, noise_main;
    bool split_off;
};

// Take the leading pair of singular vectors off: `leading_pair` of metrics/_leading_pair.py, which says why.
template <class real>
PIECE Pair leading(const Parts<real> &p, const Size &s, const Cut<real> &cut, const Facts &f, const double *noise,
                   double one_rounding, const Measuring<real> &m) {
    int n = s.n, d = s.d;
    double e_a = p.e[IN_A], e_r = p.e[IN_ROW], e_b = p.e[IN_B], e_R = p.e[IN_R], a = p.a[0];
    double L_v = log2_or_empty(f.length_v);
    double L_a = log2_or_empty(fabs(a)) + e_a + L_v;
    double L_r = log2_or_empty(length_of(p.r, d, m.room)) + e_r + L_v;
    double L_b = log2_or_empty(length_of(p.b, n, m.room)) + e_b;
    double square = 0;
    EACH(x, n * d) {
        double own = p.R[x / d * s.wide + x % d];
        square += own * own;
    }
    double L_R = log2_or_empty(sqrt(sum_of(square, m.room))) + e_R;
    // the same state is one dyad plus a rest in three ways; the smallest rest is the one without cancellation
    double T_pair = fmax(L_R, L_b + L_r - L_a), T_row = fmax(L_R, L_b), T_column = fmax(L_R, L_r);
    double noise_a = noise[IN_A] + L_v, noise_r = noise[IN_ROW], noise_b = noise[IN_B], noise_R = noise[IN_R];
    bool pair = L_a > fmax(noise_a + 20, EMPTY / 2) && T_pair < T_row && T_pair < T_column;
    bool column = !pair && T_column < T_row, row = !pair && !column;
    double T = pair ? T_pair : column ? T_column : T_row;
    double e_S = floor(T > EMPTY / 2 ? T : fmax(fmax(noise_b, noise_R), noise_r));
    double e_main = pair ? e_a : row ? fmax(e_a, e_r) : fmax(e_a, e_b);
    double inverse_a = a != 0 ? 1 / a : 1.0;
    real f_R = (real)power_of_two(e_R - e_S), by_z = row ? (real)power_of_two(e_b - e_S) : 0;
    real by_r = pair ? (real)(-power_of_two(e_b + e_r - e_a - e_S) * inverse_a) : 0;
    real by_v = column ? (real)power_of_two(e_r - e_S) : 0;
    double first_S = 0;
    EACH(x, n * d) {
        int i = x / d, j = x % d, at = i * s.wide + j;
        real own = f_R * p.R[at] + p.b[i] * (by_z * cut.z[j] + by_r * p.r[j]) + cut.v[i] * (by_v * p.r[j]);
        m.S[at] = own;
        first_S += (double)own * own;
    }
    first_S = sqrt(sum_of(first_S, m.room));
    double keep_v = column ? power_of_two(e_a - e_main) * a : 1.0;
    double keep_b = pair ? power_of_two(e_b - e_a) * inverse_a : column ? power_of_two(e_b - e_main) : 0.0;
    double keep_z = column ? 1.0 : power_of_two(e_a - e_main) * a;
    double keep_r = column ? 0.0 : power_of_two(e_r - e_main);
    EACH(i, n) m.alpha[i] = keep_v * cut.v[i] + keep_b * p.b[i];
    EACH(j, d) m.q[j] = keep_z * cut.z[j] + keep_r * p.r[j];
    __syncthreads();
    double n_alpha = length_of(m.alpha, n, m.room), n_q = length_of(m.q, d, m.room);
    noise_r += L_v;
    double noise_S = noise_b;
    if (pair) noise_S = fmax(fmax(noise_b + L_r - L_a, noise_r + L_b - L_a), noise_a + L_b + L_r - 2 * L_a);
    if (column) noise_S = noise_r;
    noise_S = 1 + fmax(fmax(noise_S, noise_R), T + one_rounding);
    double unit_alpha = pair ? log2_or_empty(fabs(a)) + e_a : e_main;
    double noise_main = one_rounding + 2 + log2_or_empty(n_alpha * n_q) + e_main;
    if (!row) noise_main = fmax(noise_main, fmax(noise_a, noise_b) - unit_alpha + log2_or_empty(n_q) + e_main);
    if (!column) noise_main = fmax(noise_main, fmax(noise_a, noise_r) - L_v + log2_or_empty(n_alpha));
    Pair found;
    found.main = n_alpha * n_q;
    double e_pair = found.main > 0 ? e_main : EMPTY;
    found.e = fmax(e_pair, e_S);
    found.main *= power_of_two(e_pair - found.e);
    found.delta = e_S - found.e;
    double by_S = power_of_two(found.delta), first = found.main;
    EACH(i, n) m.alpha[i] /= n_alpha > 0 ? n_alpha : 1.0;
    EACH(j, d) m.q[j] /= n_q > 0 ? n_q : 1.0;
    __syncthreads();
    sums_of_rows(m.alpha, m.S, s, m.x);
    double size_S = 0;
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        EACH(x, n * d) {
            int i = x / d, j = x % d;
            m.S[i * s.wide + j] -= (real)m.alpha[i] * (real)m.x[j];
        }
        EACH(j, d) m.q[j] = found.main * m.q[j] + by_S * m.x[j];
        __syncthreads();
        found.main = length_of(m.q, d, m.room);
        EACH(j, d) m.q[j] /= found.main > 0 ? found.main : 1.0;
        __syncthreads();
        size_S = 0;
        EACH(i, n) {
            real along = 0;
            for (int j = 0; j < d; j++) along += m.S[i * s.wide + j] * (real)m.q[j];
            for (int j = 0; j < d; j++) {
                real own = m.S[i * s.wide + j] - along * (real)m.q[j];
                m.S[i * s.wide + j] = own;
                size_S += (double)own * own;
            }
            m.alpha[i] = found.main * m.alpha[i] + by_S * along;
        }
        size_S = sum_of(size_S, m.room);
        found.main = length_of(m.alpha, n, m.room);
        EACH(i, n) m.alpha[i] /= found.main > 0 ? found.main : 1.0;
        __syncthreads();
        sums_of_rows(m.alpha, m.S, s, m.x);
    }
    double cross = by_S * length_of(m.x, d, m.room);
    // singular values see the square of what is left between dyad and minors: less than a rounding
    bool apart = cross <= exp2(0.5 * one_rounding) * found.main;
    found.split_off = found.main > 0 && apart && by_S * sqrt(size_S) <= 0.5 * found.main;
    noise_S = noise_S > EMPTY / 2 ? power_of_two(floor(fmin(noise_S - e_S, 200.0)) + 1) : 0.0;
    noise_main = noise_main > EMPTY / 2 ? power_of_two(floor(fmin(noise_main - found.e, 200.0)) + 1) : 0.0;
    // what S shares with the dyad it takes over with the dyad's error
    double share = by_S * first_S < first ? first_S / first : by_S > 0 ? 1 / by_S : 1.0;
    found.noise = noise_S + share * noise_main, found.noise_main = noise_main;
    return found;
}

// How far rows are off one line, and the rows as they stand; rest and full are destroyed.
template <class real>
PIECE void angles(const Size &s, const Cut<real> &cut, const Pair &pair, Exponents e, const double *rows, bool known,
                  const long long *zero_until, long long layer, double rounding, const Measuring<real> &m, double *out) {
    int n = s.n, d = s.d;
    double e_common = EMPTY, row_square = 0, f_delta = power_of_two(pair.delta);
    bool unseen = false, not_positive = false, not_negative = false, slanted = false, below = false;
    EACH(j, d) row_square += m.row[j] * m.row[j];
    double row_length = sqrt(sum_of(row_square, m.room)) * power_of_two(e.row - e.full);
    // each row has its own exponent k: row = 2**k (A q + F S_i), the larger term of size 1
    EACH(i, n) {
        double across = sqrt(dot_of(m.S + i * s.wide, m.S + i * s.wide, d)), along = pair.main * m.alpha[i];
        double k = fmax(exponent_of(fabs(along)), exponent_of(across) + pair.delta);
        bool seen = k > EMPTY / 2;
        m.along[i] = along, m.across[i] = across, m.height[i] = seen ? k : EMPTY;
        if (seen) e_common = fmax(e_common, pair.delta - k);
        k = seen ? k : 0.0;
        double A = along * power_of_two(-k);
        below = below || !(fabs(along) > 2 * pair.noise_main);
        unseen = unseen || !seen;
        not_positive = not_positive || !(A > 0), not_negative = not_negative || !(A < 0);
        slanted = slanted || !(fabs(A) >= power_of_two(pair.delta - k) * across);
    }
    e_common = max_of(e_common, m.room);
    if (!(e_common > EMPTY / 2)) e_common = pair.delta;
    // deviations from +-q keep relative accuracy where rows are nearly parallel to q
    double worst = 0, off_q = 0, common = power_of_two(e_common), f_rest = power_of_two(e.rest - e.full);
    EACH(i, n) {
        bool seen = m.height[i] > EMPTY / 2;
        double k = seen ? m.height[i] : 0.0, across = m.across[i];
        double A = m.along[i] * power_of_two(-k), F = power_of_two(pair.delta - k);
        double height = seen ? sqrt(A * A + F * across * (F * across)) : 1.0;
        double G = power_of_two(pair.delta - k - e_common);
        double fall = common * (G * across) * (G * across) / (fabs(A) + height), sign = A < 0 ? -1.0 : 1.0;
        // what was added up for each row of the tokens
        double rest = sqrt(dot_of(m.rest + i * s.wide, m.rest + i * s.wide, d));
        m.square[i] = fabs((double)cut.v[i]) * row_length + f_rest * rest;
        real by_S = (real)(sign * G / height), by_q = (real)(-fall / height);
        for (int j = 0; j < d; j++) m.rest[i * s.wide + j] = by_S * m.S[i * s.wide + j] + by_q * (real)m.q[j];
        worst += G / height * (G / height);
        off_q += fmin((pair.noise_main * power_of_two(-k) + F * pair.noise) / height, 2.0);
    }
    worst = sum_of(worst, m.room), off_q = sum_of(off_q, m.room);
    EACH(j, d) {
        double sum = 0;
        for (int i = 0; i < n; i++) sum += m.rest[i * s.wide + j];
        m.line[j] = sum / n;
    }
    __syncthreads();
    double near = 0;
    EACH(x, n * d) {
        double off = m.rest[x / d * s.wide + x % d] - m.line[x % d];
        near += off * off;
    }
    near = sum_of(near, m.room);

    // the rows as they are, each at its own scale: what is off by one row is off by that row only
    double whole = log2_or_empty(pair.noise_main + f_delta * pair.noise) + pair.e - e.full;
    double turns = 0, squares = 0, present = 0;
    EACH(i, n) {
        real *full = m.full + i * s.wide;
        double largest = 0;
        for (int j = 0; j < d; j++) largest = fmax(largest, fabs((double)full[j]));
        bool zero = zero_until[i] >= layer, here = largest > 0;
        double own = here ? exponent_of(largest) : 0.0, own_noise = known ? rows[i] - e.full : whole;
        bool none = own_noise <= EMPTY / 2, lost = !here && !none && !zero;
        here = here && !zero;
        double turned = lost ? 2.0 : 0.0;
        if (here) {
            double half = floor(own / 2), factor = power_of_two(-own);
            real one = (real)power_of_two(-half), two = (real)power_of_two(half - own);
            for (int j = 0; j < d; j++) full[j] = full[j] * one * two;
            double length = sqrt(in_double(full, full, d));
            m.along[i] = length;
            turned = none ? 0.0 : power_of_two(fmin(fmax(own_noise - own, -1e3), 500.0));
            turned = fmin((turned + rounding * m.square[i] * factor) / length, 2.0);
        } else {
            for (int j = 0; j < d; j++) full[j] = 0;
            m.along[i] = 0;
        }
        if (d == 1 && turned < 1) turned = 0;  // no room for an angle, nor for its rounding, until a sign is lost
        unseen = unseen || !here || !(turned < 0.5);
        turns += turned, squares += turned * turned, present += here ? 1 : 0;
    }
    turns = sum_of(turns, m.room), squares = sum_of(squares, m.room), present = sum_of(present, m.room);
    EACH(j, d) {
        double sum = 0;
        for (int i = 0; i < n; i++) sum += m.along[i] > 0 ? m.full[i * s.wide + j] / m.along[i] : 0.0;
        m.line[j] = sum / (present > 0 ? present : 1.0);
    }
    __syncthreads();
    double centre = 0, scatter = 0, all_pairs = 0;
    EACH(j, d) centre += m.line[j] * m.line[j];
    EACH(x, n * d) {
        // a number over its own length is 1 exactly, and so are the cosines below
        double length = m.along[x / d], off = m.full[x / d * s.wide + x % d] / length - m.line[x % d];
        scatter += length > 0 ? off * off : 0.0;
    }
    EACH(both, n * n) {
        int i = both / n, k = both % n;
        double lengths = m.along[i] * m.along[k];
        if (k >= i || !(lengths > 0)) continue;
        all_pairs += fabs(in_double(m.full + i * s.wide, m.full + k * s.wide, d)) / lengths;
    }
    centre = sum_of(centre, m.room), scatter = sum_of(scatter, m.room), all_pairs = sum_of(all_pairs, m.room);
    bool every = !any_of(unseen, m.room), above = !any_of(below, m.room);
    bool one_side = !any_of(not_positive, m.room);
    one_side = !any_of(not_negative, m.room) || one_side;
    bool aligned = !any_of(slanted, m.room);
    if (threadIdx.x == 0) {
        out[AT_NEAR] = near / (n - 1.0), out[AT_E_NEAR] = 2 * e_common;
        out[AT_WORST] = sqrt(worst / n) * pair.noise, out[AT_OFF_Q] = off_q / n;
        out[AT_MEAN_TURN] = turns / n, out[AT_SQUARE_TURN] = squares / n, out[AT_PRESENT] = present;
        out[AT_CENTRE] = sqrt(centre), out[AT_SCATTER] = scatter, out[AT_ALL_PAIRS] = 2 * all_pairs;
        out[AT_ABOVE] = above, out[AT_ONE_SIDE] = every && one_side, out[AT_ALIGNED] = every && aligned;
    }
}

// Write everything of one state: parts normalised, `noise` (5) and `rows` (n, where known) log2 of their errors.
template <class real>
PIECE void measure(const Parts<real> &p, const Size &s, const Cut<real> &cut, const Facts &f, const double *noise,
                        const double *rows, bool known, const long long *zero_until, long long layer, double unit,
                        bool with_values, const Measuring<real> &m, double *out) {
    double eps = power_of_two(unit);
    double top = fmax(fmax(p.e[IN_A], p.e[IN_ROW]), fmax(p.e[IN_B], p.e[IN_R]));
    EACH(k, 5) out[AT_NOISE + k] = noise[k];
    if (threadIdx.x == 0) out[AT_TOP] = top > EMPTY / 2 ? top : 0.0;
    Exponents e = assemble(p, s, cut, m);
    content(p, s, f, m, e, out);
    Pair pair = leading(p, s, cut, f, noise, unit, m);
    if (threadIdx.x == 0) {
        out[AT_MAIN] = pair.main, out[AT_E] = pair.e, out[AT_DELTA] = pair.delta;
        out[AT_SPLIT_OFF] = pair.split_off, out[AT_NOISE_S] = pair.noise, out[AT_NOISE_MAIN] = pair.noise_main;
    }
    angles(s, cut, pair, e, rows, known, zero_until, layer, 4 * eps, m, out);
    if (!with_values) return;
    // minors where the leading pair is split off (x is alpha^T S), else all of the state
    real by_S = (real)power_of_two(pair.delta);
    EACH(x, s.n * s.d) {
        int i = x / s.d, j = x % s.d, at = i * s.wide + j;
        if (pair.split_off)
            m.S[at] -= (real)m.alpha[i] * (real)m.x[j];
        else
            m.S[at] = (real)(pair.main * m.alpha[i]) * (real)m.q[j] + by_S * m.S[at];
    }
    __syncthreads();
    double most = s.n > s.d ? s.n : s.d;
    singular_values(m.S, s, eps * sqrt(most), m.height, m.values, m.room);
    EACH(k, s.n < s.d ? s.n : s.d) out[AT_VALUES + k] = m.values[k];
    __syncthreads();
}
