// Many layers of one system in shared memory, measured where it is to be recorded.

// What a launch is given; all arrays on the device.  b systems, one block each.
template <class real> struct Walk {
    int n, d, copies;            // copies: shadows of a state, 0: noise is given
    int with_copies, with_values;  // A and H in single precision in shared memory; singular values wanted
    int several_A, several_H;    // a matrix for each system, or one for all
    int changing;                // matrices of their own at each layer, or the same at all
    long long systems, first, last, recorded;  // systems of A and H; layers from `first` to `last`; recorded ones
    double safety;
    const real *A, *H, *vectors;  // (layers or 1, b or 1, n, n), (layers or 1, b or 1, d, d), (b, 2n + 2d)
    const Facts *facts;           // (b)
    const long long *wanted, *zero_until, *every;  // (recorded), (b, n), (b, 2)
    const float *pool, *fixed, *drift;
    real *held;                   // (b, flat), exponents (b, 5): at `first`, then at `last`
    double *exponents;
    float *errors;                // (b, copies, flat), (b, copies, 5)
    double *error_exponents;
    const double *noise, *noise_rows;  // (b, 5), (b, n) where copies = 0
    double *out;                  // (b, recorded, width)
};

#define TABLE 856

// Where everything lies that a block holds, itself in shared memory; `place` tells how much all of it is.
template <class real> struct Held {
    Facts f;
    Parts<real> state;
    Parts<float> errors[MOST_COPIES];
    Cut<real> cut;
    Cut<float> cut32;
    real *T, *A, *H;
    float *A32, *H32, *change;
    Between between;
    Sizes before, after;
    Old<real> old;
    Norms norms;
    Rounded rounded;
    Measuring<real> measuring;
    double *noise, *noise_rows;

    PIECE void place(Room &room, const Size &s, int copies, bool with_copies) {
        int numbers = s.n * s.wide, matrices = s.n * s.high + s.d * s.wide;
        state.place(room, s);
        cut.place(room, s);
        T = room.take<real>(numbers);
        A = room.take<real>(matrices > 2 * numbers ? matrices : 2 * numbers);
        H = A + s.n * s.high;
        between.place(room, s);
        noise = room.take<double>(5);
        noise_rows = room.take<double>(s.n);
        // a layer's change and vectors of measuring are never needed at the same time
        Room beside = {room.base, room.used};
        measuring.place(room, s);
        change = beside.take<float>(copies > 0 ? numbers : 0);
        if (beside.used > room.used) room.used = beside.used;
        // what is measured lies where the matrices and the product between them do
        measuring.S = T, measuring.rest = A, measuring.full = A + numbers;
        if (copies == 0) return;
        for (int k = 0; k < copies; k++) errors[k].place(room, s);
        cut32.place(room, s);
        before.place(room, s);
        after.place(room, s);
        old.place(room, s);
        norms.place(room, s);
        rounded.place(room, s);
        if (!with_copies) return;
        A32 = room.take<float>(s.n * s.high);
        H32 = room.take<float>(s.d * s.wide);
    }
};

static_assert(sizeof(Held<double>) == TABLE && sizeof(Held<float>) == TABLE, "linsim/_cuda/layout.py counts on it");

template <class to, class from> PIECE void load_matrix(to *M, const from *given, int size, int across) {
    EACH(x, size * size) M[x / size * across + x % size] = (to)given[x];
}

template <class real> __device__ void walk(const Walk<real> &t, char *shared, double unit) {
    Size s(t.n, t.d);
    long long system = blockIdx.x;
    int flat = s.flat(), width = AT_VALUES + (s.n < s.d ? s.n : s.d);
    Held<real> &at = *(Held<real> *)shared;
    const Facts &f = at.f;
    if (threadIdx.x == 0) {
        Room room = {shared, sizeof(Held<real>)};
        at.place(room, s, t.copies, t.with_copies);
        at.f = t.facts[system];
    }
    __syncthreads();
    bool coupled = f.coupled > 0;
    at.state.load(t.held + system * flat, t.exponents + system * 5, s);
    at.cut.load(t.vectors + system * 2 * (s.n + s.d), s);
    if (t.copies > 0) at.cut32.load(t.vectors + system * 2 * (s.n + s.d), s);
    for (int k = 0; k < t.copies; k++) {
        long long copy = system * t.copies + k;
        at.errors[k].load(t.errors + copy * flat, t.error_exponents + copy * 5, s);
    }
    if (t.copies == 0) {
        EACH(k, 5) at.noise[k] = t.noise[system * 5 + k];
        EACH(i, s.n) at.noise_rows[i] = t.noise_rows[system * s.n + i];
    }
    __syncthreads();
    long long placed = -1, next = 0;
    for (long long layer = t.first;; layer++) {
        if (next < t.recorded && t.wanted[next] == layer) {
            normalise(at.state, s, coupled, at.between.room);
            if (t.copies > 0)
                noise_of(at.errors, t.copies, s, at.cut32, t.safety, at.noise, at.noise_rows, at.between.room);
            measure(at.state, s, at.cut, f, at.noise, at.noise_rows, true, t.zero_until + system * s.n, layer, unit,
                    t.with_values, at.measuring, t.out + (system * t.recorded + next) * width);
            placed = -1;
            next++;
        }
        if (layer == t.last) break;
        long long wanted = t.changing ? layer : 0;
        if (placed != wanted) {
            const real *A = t.A + (t.several_A ? wanted * t.systems + system : wanted) * s.n * s.n;
            const real *H = t.H + (t.several_H ? wanted * t.systems + system : wanted) * s.d * s.d;
            __syncthreads();
            load_matrix(at.A, A, s.n, s.high);
            load_matrix(at.H, H, s.d, s.wide);
            if (t.copies > 0 && t.with_copies) {
                load_matrix(at.A32, A, s.n, s.high);
                load_matrix(at.H32, H, s.d, s.wide);
            }
            __syncthreads();
            if (t.copies > 0) at.norms.look(at.A, at.H, s, at.between.room);
            placed = wanted;
        }
        if (t.copies > 0) {
            at.before.look(at.state, s, at.between.room);
            at.old.keep(at.state, s);
        }
        advance(at.state, s, at.A, at.H, at.cut, f, at.T, t.copies > 0 ? at.change : (float *)0, at.between);
        for (int k = 0; k < t.copies; k++)
            if (t.with_copies)
                advance(at.errors[k], s, at.A32, at.H32, at.cut32, f, (float *)at.T, (float *)0, at.between);
            else
                advance(at.errors[k], s, at.A, at.H, at.cut32, f, (float *)at.T, (float *)0, at.between);
        if (t.copies > 0) {
            at.after.look(at.state, s, at.between.room);
            at.rounded.look(at.before, at.after, at.A, at.norms, f, at.state.e, unit, s, at.between.room);
            Patterns patterns = {t.pool, t.fixed, t.drift};
            move(at.errors, t.copies, s, patterns, layer, at.state, at.old, at.change, at.norms, at.rounded,
                 at.before.whole, f, unit, at.between.room);
            if ((layer + 1) % t.every[system * 2 + 1] == 0)
                for (int k = 0; k < t.copies; k++) normalise(at.errors[k], s, coupled, at.between.room);
        }
        if ((layer + 1) % t.every[system * 2] == 0) normalise(at.state, s, coupled, at.between.room);
    }
    at.state.store(t.held + system * flat, t.exponents + system * 5, s);
    for (int k = 0; k < t.copies; k++) {
        long long copy = system * t.copies + k;
        at.errors[k].store(t.errors + copy * flat, t.error_exponents + copy * 5, s);
    }
}

#define ARGUMENTS(real)                                                                                                \
    int n, int d, int copies, int with_copies, int with_values, int several_A, int several_H, int changing,            \
        long long systems, long long first, long long last, long long recorded, double safety, const real *A,          \
        const real *H, const real *vectors, const Facts *facts, const long long *wanted, const long long *zero_until, \
        const long long *every, const float *pool, const float *fixed, const float *drift, real *held,                 \
        double *exponents, float *errors, double *error_exponents, const double *noise, const double *noise_rows,      \
        double *out
#define GIVEN                                                                                                          \
    n, d, copies, with_copies, with_values, several_A, several_H, changing, systems, first, last, recorded, safety, A, \
        H, vectors, facts, wanted, zero_until, every, pool, fixed, drift, held, exponents, errors, error_exponents,    \
        noise, noise_rows, out

extern "C" __global__ void __launch_bounds__(128) walk_float64(ARGUMENTS(double)) {
    extern __shared__ __align__(16) char shared[];
    Walk<double> task = {GIVEN};
    walk(task, shared, -52.0);
}

extern "C" __global__ void __launch_bounds__(128) walk_float32(ARGUMENTS(float)) {
    extern __shared__ __align__(16) char shared[];
    Walk<float> task = {GIVEN};
    walk(task, shared, -23.0);
}
