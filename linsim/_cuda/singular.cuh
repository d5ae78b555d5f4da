// Singular values by one-sided Jacobi: rows or columns, whichever are fewer, are turned against each other in
// pairs until all are orthogonal; their lengths are the singular values.  Pairs that share no vector are
// turned at the same time, in the order of a round-robin tournament (Brent and Luk 1985); a pair by a group of
// threads.  After Demmel and Veselic 1992 it is as exact as any way there is.

#define MOST_SWEEPS 30
#define GROUP 8  // threads of a pair

template <class real> __device__ inline real turned_by(real dot, real first, real second, real &cosine) {
    // Rutishauser's formula; where the quotient leaves the range the angle is zero to rounding
    real zeta = (second - first) / (2 * dot);
    real t = (zeta < 0 ? (real)-1 : (real)1) / (fabs(zeta) + sqrt(1 + zeta * zeta));
    cosine = 1 / sqrt(1 + t * t);
    return t * cosine;
}

// Write the singular values of M (n, d), decreasing; M is destroyed.  lengths: room for min(n, d).
template <class real>
PIECE void singular_values(real *M, const Size &s, double eps, double *lengths, double *values, double *room) {
    bool by_rows = s.n <= s.d;
    int count = by_rows ? s.n : s.d, length = by_rows ? s.d : s.n;
    int vector = by_rows ? s.wide : 1, entry = by_rows ? 1 : s.wide;  // steps between vectors, between entries
    double top = 0;
    EACH(x, s.n * s.d) top = fmax(top, fabs((double)M[x / s.d * s.wide + x % s.d]));
    top = max_of(top, room);
    double scale = top > 0 ? exponent_of(top) : 0.0;  // squares must not leave the range
    double half = floor(scale / 2);
    real one = (real)power_of_two(-half), two = (real)power_of_two(half - scale);
    EACH(x, s.n * s.d) {
        int at = x / s.d * s.wide + x % s.d;
        M[at] = M[at] * one * two;
    }
    __syncthreads();
    int players = count + count % 2, groups = blockDim.x / GROUP, lane = threadIdx.x % GROUP;
    bool busy = top > 0 && count > 1;
    for (int sweep = 0; busy && sweep < MOST_SWEEPS; sweep++) {
        bool turned = false;
        for (int round = 0; round < players - 1; round++) {
            // every thread goes through as many pairs, so that all of them are there for each shuffle
            for (int first = 0; first < players / 2; first += groups) {
                int pair = first + threadIdx.x / GROUP;
                // player 0 stays, the others move on by one place each round
                int p = pair == 0 ? 0 : (pair + round - 1) % (players - 1) + 1;
                int q = (players - 1 - pair + round - 1) % (players - 1) + 1;
                bool plays = pair < players / 2 && p < count && q < count;
                real *x = M + p * vector, *y = M + q * vector;
                real xx = 0, yy = 0, xy = 0;
                if (plays)
                    for (int k = lane; k < length; k += GROUP) {
                        real a = x[k * entry], b = y[k * entry];
                        xx += a * a, yy += b * b, xy += a * b;
                    }
                for (int far = GROUP / 2; far > 0; far /= 2) {
                    xx += __shfl_xor_sync(0xffffffffu, xx, far);
                    yy += __shfl_xor_sync(0xffffffffu, yy, far);
                    xy += __shfl_xor_sync(0xffffffffu, xy, far);
                }
                if (!plays || !(fabs(xy) > (real)eps * sqrt(xx) * sqrt(yy))) continue;
                turned = true;
                real cosine, sine = turned_by(xy, xx, yy, cosine);
                for (int k = lane; k < length; k += GROUP) {
                    real a = x[k * entry], b = y[k * entry];
                    x[k * entry] = cosine * a - sine * b;
                    y[k * entry] = sine * a + cosine * b;
                }
            }
            __syncthreads();
        }
        busy = any_of(turned, room);
    }
    EACH(v, count) {
        double square = 0;
        for (int k = 0; k < length; k++) {
            double own = M[v * vector + k * entry];
            square += own * own;
        }
        lengths[v] = sqrt(square);
    }
    __syncthreads();
    EACH(v, count) {
        int place = 0;
        for (int k = 0; k < count; k++) place += lengths[k] > lengths[v] || (lengths[k] == lengths[v] && k < v);
        values[place] = lengths[v] * power_of_two(half) * power_of_two(scale - half);
    }
    __syncthreads();
}
