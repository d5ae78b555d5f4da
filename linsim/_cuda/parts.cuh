// The invariant parts of a state (linsim/_state.py) and how a layer moves them (linsim/_engines/steps.py):
//     X = v (a z^T + r^T) + (b z^T + R)

// Places of the parts' exponents, as in linsim._state.PARTS.
enum { IN_A, IN_ROW, IN_B, IN_R, IN_MEAN };

// n tokens of d features; rows of (n, d) arrays are `wide` numbers apart, those of (n, n) arrays `high`:
// odd, so that threads which read a column of doubles do not wait for each other.
struct Size {
    int n, d, wide, high;

    Size() = default;
    __device__ Size(int n, int d) : n(n), d(d), wide(d | 1), high(n | 1) {}
    // where two matrices do not fit shared memory whatever the card: they are read in tiles
    __device__ bool tiled() const { return n > 64 || d > 64; }
    __device__ int flat() const { return n * d + 2 * d + n + 1; }  // numbers of all parts, one after the other
};

template <class real> struct Parts {
    real *R, *r, *b, *mean, *a;
    double *e;

    __device__ void place(Room &room, Size s) {  // all but R
        r = room.take<real>(s.d);
        b = room.take<real>(s.n);
        mean = room.take<real>(s.d);
        a = room.take<real>(1);
        e = room.take<double>(5);
    }

    // From or to R (n, d), r (d), b (n), mean (d), a, one behind the other.
    PIECE void load(const real *from, const double *exponents, const Size &s) {
        EACH(x, s.n * s.d) R[x / s.d * s.wide + x % s.d] = from[x];
        const real *next = from + s.n * s.d;
        EACH(j, s.d) r[j] = next[j], mean[j] = next[s.d + s.n + j];
        EACH(i, s.n) b[i] = next[s.d + i];
        if (threadIdx.x == 0) a[0] = next[2 * s.d + s.n];
        EACH(p, 5) e[p] = exponents[p];
    }

    PIECE void store(real *to, double *exponents, const Size &s) const {
        EACH(x, s.n * s.d) to[x] = R[x / s.d * s.wide + x % s.d];
        real *next = to + s.n * s.d;
        EACH(j, s.d) next[j] = r[j], next[s.d + s.n + j] = mean[j];
        EACH(i, s.n) next[s.d + i] = b[i];
        if (threadIdx.x == 0) next[2 * s.d + s.n] = a[0];
        EACH(p, 5) exponents[p] = e[p];
    }
};

// The vectors that cut a state.
template <class real> struct Cut {
    real *u, *v, *w, *z;

    __device__ void place(Room &room, Size s) {
        u = room.take<real>(s.n);
        v = room.take<real>(s.n);
        w = room.take<real>(s.d);
        z = room.take<real>(s.d);
    }

    template <class given> PIECE void load(const given *from, Size s) {
        EACH(i, s.n) u[i] = (real)from[i], v[i] = (real)from[s.n + i];
        EACH(j, s.d) w[j] = (real)from[2 * s.n + j], z[j] = (real)from[2 * s.n + s.d + j];
    }
};

// What is known of a system beside its matrices; the order is that of linsim/_cuda/layout.py.
struct Facts {
    double lam, mu, length_u, length_v, length_w, length_z, condition;
    double constant, coupled, has_z, any_mean, means, preserves;
};

// The matrices of a layer: A (n, n) and H (d, d) of each head.
template <class real> struct Heads {
    const real *A, *H;
    int count, across_A, across_H;
    long long next_A, next_H;  // numbers from one head to the next

    __device__ const real *attention(int head) const { return A + head * next_A; }
    __device__ const real *weights(int head) const { return H + head * next_H; }
};

// Room for what lies between the products of a layer; column and others are doubles, whatever the state is.
struct Between {
    double *fed, *turned, *mean, *column, *own, *room;

    __device__ void place(Room &space, Size s) {
        fed = space.take<double>(s.d);
        turned = space.take<double>(s.d);
        mean = space.take<double>(s.d);
        column = space.take<double>(s.n);
        own = space.take<double>(s.n);
        room = space.take<double>(32);
    }
};

// Where the products of a layer lie, (n, wide) each: one of them, and the state before it where heads share it;
// `tiles` where matrices are in the memory of the device.
template <class real> struct Workshop {
    real *T, *before, *tiles;
};

template <class real>
PIECE void multiply(const Into<real> &to, const Size &s, const real *L, int across_L, const real *M, int across_M,
                    int inner, real *tiles) {
    if (tiles)
        product_by_tiles(to, s.n, s.d, L, across_L, M, across_M, inner, tiles);
    else
        product(to, s.n, s.d, L, across_L, M, across_M, inner);
    __syncthreads();
}

// Take the parts through a layer; `change`: room for what is added to R, or none.
template <class real>
PIECE void advance(const Parts<real> &p, const Size &s, const Heads<real> &heads, const Cut<real> &cut, const Facts &f,
                   const Workshop<real> &shop, float *change, const Between &at) {
    int n = s.n, d = s.d, wide = s.wide;
    const real *from = p.R;
    if (heads.count > 1) {  // every head starts from the state before the layer
        EACH(x, n * wide) shop.before[x] = p.R[x];
        from = shop.before;
        __syncthreads();
    }
    for (int h = 0; h < heads.count; h++) {
        Into<real> between = {shop.T, wide, false, false, 0}, state = {p.R, wide, true, h > 0, change};
        multiply(between, s, from, wide, heads.weights(h), heads.across_H, d, shop.tiles);
        multiply(state, s, heads.attention(h), heads.across_A, shop.T, wide, n, shop.tiles);
    }
    EACH(j, d) {
        real fed = 0;
        double all_turned = 0, all_mean = 0;
        for (int i = 0; i < n; i++) fed += cut.u[i] * p.R[i * wide + j];
        for (int h = 0; h < heads.count; h++) {
            const real *H = heads.weights(h);
            real turned = 0, mean = 0;
            for (int k = 0; k < d; k++) turned += p.r[k] * H[k * heads.across_H + j];
            if (f.any_mean > 0)
                for (int k = 0; k < d; k++) mean += p.mean[k] * H[k * heads.across_H + j];
            all_turned += turned, all_mean += mean;
        }
        at.fed[j] = fed, at.turned[j] = all_turned, at.mean[j] = all_mean;
    }
    if (f.has_z > 0)  // of a single head
        EACH(i, n) {
            real own = 0;
            for (int k = 0; k < n; k++) own += heads.A[i * heads.across_A + k] * p.b[k];
            at.own[i] = p.b[i] + f.mu * own;
        }
    __syncthreads();
    // what R feeds into r, where u is no left eigenvector
    double into = f.coupled > 0 ? power_of_two(p.e[IN_R] - p.e[IN_ROW]) : 0.0;
    EACH(x, n * d) {
        int i = x / d, j = x % d;
        real off = cut.v[i] * (real)at.fed[j];
        p.R[i * wide + j] -= off;
        if (change) change[i * wide + j] -= (float)off;
    }
    EACH(j, d) {
        p.r[j] = (real)(p.r[j] + f.lam * at.turned[j] + into * at.fed[j]);
        p.mean[j] += (real)(f.means * at.mean[j]);
    }
    __syncthreads();
    if (!(f.has_z > 0)) return;
    double along_w = 0, along_u = 0;
    EACH(j, d) along_w += (double)p.r[j] * cut.w[j];
    EACH(i, n) {
        real along = 0;
        for (int j = 0; j < d; j++) along += p.R[i * wide + j] * cut.w[j];
        at.column[i] = along;
        along_u += at.own[i] * cut.u[i];
    }
    along_w = sum_of(along_w, at.room), along_u = sum_of(along_u, at.room);
    EACH(x, n * d) {
        int i = x / d, j = x % d;
        real off = (real)at.column[i] * cut.z[j];
        p.R[i * wide + j] -= off;
        if (change) change[i * wide + j] -= (float)off;
    }
    EACH(j, d) p.r[j] -= (real)(along_w * cut.z[j]);
    EACH(i, n) p.b[i] = (real)(at.own[i] - cut.v[i] * along_u);
    // the one factor of a part that is a single number: rounded, it would be off at every layer alike
    if (threadIdx.x == 0) p.a[0] = (real)((1 + f.lam * f.mu) * p.a[0]);
    __syncthreads();
}

// Multiply by 2**-shift in two steps, each of which fits the range of the type.
template <class real> PIECE void lower(real *x, int count, double shift) {
    double half = floor(shift / 2);
    real one = (real)power_of_two(-half), two = (real)power_of_two(half - shift);
    EACH(k, count) x[k] = x[k] * one * two;
}

template <class real> PIECE double peak(const real *x, int count, double *room) {
    double top = 0;
    EACH(k, count) top = fmax(top, fabs((double)x[k]));
    return max_of(top, room);
}

template <class real> PIECE double peak_of_rest(const Parts<real> &p, const Size &s, double *room) {
    double top = 0;
    EACH(x, s.n * s.d) top = fmax(top, fabs((double)p.R[x / s.d * s.wide + x % s.d]));
    return max_of(top, room);
}

// Bring the largest entry of every part into [1, 2), exactly, through its exponent.
template <class real> PIECE void normalise(const Parts<real> &p, const Size &s, bool coupled, double *room) {
    double shift[5], whole[5];
    shift[IN_A] = fabs((double)p.a[0]);
    shift[IN_ROW] = peak(p.r, s.d, room);
    shift[IN_B] = peak(p.b, s.n, room);
    shift[IN_R] = peak_of_rest(p, s, room);
    shift[IN_MEAN] = peak(p.mean, s.d, room);
    for (int k = 0; k < 5; k++) {
        bool some = shift[k] > 0;
        shift[k] = some ? exponent_of(shift[k]) : 0.0;
        whole[k] = some ? p.e[k] + shift[k] : EMPTY;
    }
    if (coupled && whole[IN_R] > whole[IN_ROW]) {  // what R feeds into r must be representable at r's scale
        if (whole[IN_ROW] > EMPTY) shift[IN_ROW] += whole[IN_R] - whole[IN_ROW];
        whole[IN_ROW] = whole[IN_R];
    }
    __syncthreads();
    double half = floor(shift[IN_R] / 2);
    real one = (real)power_of_two(-half), two = (real)power_of_two(half - shift[IN_R]);
    EACH(x, s.n * s.d) {
        int at = x / s.d * s.wide + x % s.d;
        p.R[at] = p.R[at] * one * two;
    }
    lower(p.r, s.d, shift[IN_ROW]);
    lower(p.b, s.n, shift[IN_B]);
    lower(p.mean, s.d, shift[IN_MEAN]);
    lower(p.a, 1, shift[IN_A]);
    if (threadIdx.x == 0)
        for (int k = 0; k < 5; k++) p.e[k] = whole[k];
    __syncthreads();
}

// What a layer adds to every token, cut into parts as a state is; its rest is the product of a column and a row.
struct Places {  // of r, b, a, mean, column and row in an array of so many numbers
    int b, a, mean, column, row, all;

    __device__ Places(Size s) {
        b = s.d, a = b + s.n, mean = a + 1, column = mean + s.d, row = column + s.n, all = row + s.d;
    }
};

// Bring no part to a smaller scale than what is added to it, at `e` (5): sums must fit.
template <class real> PIECE void make_room(const Parts<real> &p, const Size &s, const double *e) {
    double shift[5];
    for (int k = 0; k < 5; k++) shift[k] = fmax(e[k] - p.e[k], 0.0);
    __syncthreads();
    for (int i = 0; i < s.n; i++)
        if (shift[IN_R] > 0) lower(p.R + i * s.wide, s.d, shift[IN_R]);
    lower(p.r, s.d, shift[IN_ROW]);
    lower(p.b, s.n, shift[IN_B]);
    lower(p.mean, s.d, shift[IN_MEAN]);
    lower(p.a, 1, shift[IN_A]);
    EACH(k, 5) p.e[k] = fmax(e[k], p.e[k]);
    __syncthreads();
}

// Add it, at the scale of the state.
template <class real>
PIECE void add_to_all(const Parts<real> &p, const Size &s, const real *added, const double *e, float *change) {
    Places in(s);
    double by[5];
    for (int k = 0; k < 5; k++) by[k] = power_of_two(e[k] - p.e[k]);
    EACH(j, s.d) {
        p.r[j] += (real)(added[j] * by[IN_ROW]);
        p.mean[j] += (real)(added[in.mean + j] * by[IN_MEAN]);
    }
    EACH(i, s.n) p.b[i] += (real)(added[in.b + i] * by[IN_B]);
    if (threadIdx.x == 0) p.a[0] += (real)(added[in.a] * by[IN_A]);
    EACH(x, s.n * s.d) {
        int i = x / s.d, j = x % s.d, at = i * s.wide + j;
        real own = (real)(added[in.column + i] * by[IN_R]) * added[in.row + j];
        p.R[at] += own;
        if (change) change[at] += (float)own;
    }
    __syncthreads();
}
