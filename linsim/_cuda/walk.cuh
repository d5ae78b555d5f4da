// Many layers of one system in shared memory, measured where it is to be recorded.

// What a launch is given; all arrays on the device.  A block takes one of b systems after the other.
template <class real> struct Walk {
    int n, d, heads, copies;  // copies: shadows of a state, 0: noise is given
    int with_numbers, with_values, with_states;  // what is written: numbers, singular values among them, states
    int several_A, several_H, several_drive;  // a matrix, or a row, for each system, or one for all
    int changing_A, changing_H, changing_drive;  // one for each layer, or the same at all
    int driven;               // rows at all
    long long systems, first, last, recorded;  // b; layers from `first` to `last`; recorded ones
    long long given;          // the layer of the first of several matrices and rows
    long long bytes, bytes_far;  // of shared memory, and of `far` for each block
    double safety;
    // (layers or 1, heads, b or 1, n, n), (layers or 1, heads, b or 1, d, d), (b, 2n + 2d)
    const real *A, *H, *vectors;
    const real *drive;            // (layers or 1, b or 1, Places::all), exponents (layers or 1, b or 1, 5)
    const double *drive_exponents;
    const Facts *facts;           // (b)
    const long long *wanted, *zero_until, *every;  // (recorded), (b, n), (b, 2)
    const float *pool, *fixed, *drift;
    real *held;                   // (b, flat), exponents (b, 5): at `first`, then at `last`
    double *exponents;
    float *errors;                // (b, copies, flat), (b, copies, 5)
    double *error_exponents;
    // (b, 5), (b, n): the noise where copies = 0; else in its place the log2 lengths of tokens at layer 0
    const double *noise, *noise_rows;
    char *far;                    // (blocks, bytes_far)
    double *out;                  // (b, recorded, width)
    // states as they are recorded: as `held`, of noise (b, recorded, n + 5); errors where they are samples
    real *out_held;
    double *out_exponents, *out_noise;
    float *out_errors;
    double *out_error_exponents;
};

#define TABLE 1344

// Where everything lies that a block holds, itself in shared memory; `place` tells how much all of it is.
// What is small comes first: it is to lie in shared memory, whatever has to lie elsewhere.
template <class real> struct Held {
    Walk<real> task;  // registers are for what is computed with
    long long placed, placed32;  // the layer whose matrices are there, -1 for none
    Size s;
    Facts f;
    Parts<real> state;
    Parts<float> errors[MOST_COPIES];
    Cut<real> cut;
    Cut<float> cut32;
    Workshop<real> shop;
    Workshop<float> shop32;
    real *A, *H;  // of all heads; none where they are read where they lie
    float *A32, *H32, *change;
    Heads<real> heads;  // of the layer, where they are read
    Heads<float> heads32;
    Between between;
    Sizes before, after;
    Old<real> old;
    Norms norms;
    Rounded rounded;
    Measuring<real> measuring;
    double *noise, *noise_rows;  // of each row its noise, then whether it came near the end of the range

    PIECE void place(Room &room, const Size &s, int copies, int heads) {
        int numbers = s.n * s.wide, matrices = heads * (s.n * s.high + s.d * s.wide);
        state.place(room, s);
        cut.place(room, s);
        between.place(room, s);
        noise = room.take<double>(5);
        noise_rows = room.take<double>(2 * s.n);
        measuring.place(room, s);
        if (copies > 0) {
            for (int k = 0; k < copies; k++) errors[k].place(room, s);
            cut32.place(room, s);
            before.place(room, s);
            after.place(room, s);
            old.place(room, s);
            norms.place(room, s, heads);
            rounded.place(room, s, heads);
        }
        shop.tiles = s.tiled() ? room.take<real>(TILES) : (real *)0;
        shop32.tiles = (float *)shop.tiles;
        shop.T = room.take<real>(numbers);
        state.R = room.take<real>(numbers);
        // what is measured lies where the matrices and the product between them do
        int most = matrices > 2 * numbers ? matrices : 2 * numbers;
        bool here = !s.tiled() && room.fits<real>(most);
        real *space = room.take<real>(here ? most : 2 * numbers);
        measuring.S = shop.T, measuring.rest = space, measuring.full = space + numbers;
        A = here ? space : (real *)0, H = space + heads * s.n * s.high;
        shop.before = heads > 1 ? room.take<real>(numbers) : (real *)0;
        shop32.T = (float *)shop.T, shop32.before = (float *)shop.before;
        if (copies == 0) return;
        for (int k = 0; k < copies; k++) errors[k].R = room.take<float>(numbers);
        change = room.take<float>(numbers);
        A32 = room.take<float>(heads * s.n * s.high);
        H32 = room.take<float>(heads * s.d * s.wide);
    }
};

static_assert(sizeof(Held<double>) == TABLE && sizeof(Held<float>) == TABLE, "linsim/_cuda/layout.py counts on it");

extern __shared__ __align__(16) char shared[];

// What the block holds: at one address for all of them, which takes no register.
template <class real> __device__ inline Held<real> &of_block() { return *(Held<real> *)shared; }

// log2 of the spacing of numbers at 1.
template <class real> __device__ inline double unit_of() { return sizeof(real) == 8 ? -52.0 : -23.0; }

// Matrices of several heads, `between` numbers from one to the next.
template <class to, class from>
PIECE void load_matrices(to *M, const from *given, int heads, long long between, int size, int across) {
    for (int h = 0; h < heads; h++)
        EACH(x, size * size) M[(h * size + x / size) * across + x % size] = (to)given[h * between + x];
}

// Begin with one of the systems.
template <class real> INLINED void begin(long long system) {
    Held<real> &at = of_block<real>();
    const Walk<real> &t = at.task;
    if (threadIdx.x == 0) {
        Room room = {shared, sizeof(Held<real>), (size_t)t.bytes, t.far + blockIdx.x * t.bytes_far, 0};
        at.s = Size(t.n, t.d);
        at.place(room, at.s, t.copies, t.heads);
        at.f = t.facts[system];
        at.placed = at.placed32 = -1;
    }
    __syncthreads();
    const Size &s = at.s;
    int flat = s.flat();
    at.state.load(t.held + system * flat, t.exponents + system * 5, s);
    at.cut.load(t.vectors + system * 2 * (s.n + s.d), s);
    if (t.copies > 0) at.cut32.load(t.vectors + system * 2 * (s.n + s.d), s);
    for (int k = 0; k < t.copies; k++) {
        long long copy = system * t.copies + k;
        at.errors[k].load(t.errors + copy * flat, t.error_exponents + copy * 5, s);
    }
    EACH(i, s.n) at.noise_rows[s.n + i] = 0;
    if (t.copies == 0) {
        EACH(k, 5) at.noise[k] = t.noise[system * 5 + k];
        EACH(i, s.n) at.noise_rows[i] = t.noise_rows[system * s.n + i];
    }
    __syncthreads();
}

// Leave it as it is then.
template <class real> INLINED void end(long long system) {
    Held<real> &at = of_block<real>();
    const Walk<real> &t = at.task;
    int flat = at.s.flat();
    at.state.store(t.held + system * flat, t.exponents + system * 5, at.s);
    for (int k = 0; k < t.copies; k++) {
        long long copy = system * t.copies + k;
        at.errors[k].store(t.errors + copy * flat, t.error_exponents + copy * 5, at.s);
    }
    __syncthreads();
}

// A layer's matrices where they are to be read, in the precision of states and of errors.
template <class real> INLINED void place_matrices(long long system, long long layer) {
    Held<real> &at = of_block<real>();
    const Walk<real> &t = at.task;
    const Size &s = at.s;
    if (at.placed == layer) return;
    bool fresh = t.copies > 0 && at.placed32 != layer;
    long long next_A = (t.several_A ? t.systems : 1) * s.n * s.n, next_H = (t.several_H ? t.systems : 1) * s.d * s.d;
    long long at_A = t.changing_A ? layer : 0, at_H = t.changing_H ? layer : 0;
    const real *A = t.A + at_A * t.heads * next_A + (t.several_A ? system * s.n * s.n : 0);
    const real *H = t.H + at_H * t.heads * next_H + (t.several_H ? system * s.d * s.d : 0);
    __syncthreads();
    if (at.A) {
        load_matrices(at.A, A, t.heads, next_A, s.n, s.high);
        load_matrices(at.H, H, t.heads, next_H, s.d, s.wide);
    }
    if (fresh) {
        load_matrices(at.A32, A, t.heads, next_A, s.n, s.high);
        load_matrices(at.H32, H, t.heads, next_H, s.d, s.wide);
    }
    if (threadIdx.x == 0) {
        Heads<real> given = {A, H, t.heads, s.n, s.d, next_A, next_H};
        Heads<real> here = {at.A, at.H, t.heads, s.high, s.wide, s.n * s.high, s.d * s.wide};
        at.heads = at.A ? here : given;
        at.heads32 = {at.A32, at.H32, t.heads, s.high, s.wide, s.n * s.high, s.d * s.wide};
        at.placed = at.placed32 = layer;
    }
    __syncthreads();
    if (fresh) at.norms.look(at.heads, s, at.between.room);
}

// Write what is wanted of a state, normalised, and of its errors; measuring destroys matrices.
template <class real> INLINED void record(long long system, long long layer, long long place) {
    Held<real> &at = of_block<real>();
    const Walk<real> &t = at.task;
    const Size &s = at.s;
    normalise(at.state, s, at.f.coupled > 0, at.between.room);
    if (t.copies > 0) noise_of(at.errors, t.copies, s, at.cut32, t.safety, at.noise, at.noise_rows, at.between.room);
    if (t.copies > 0 && layer > 0)
        small_rows(at.state, s, at.cut, t.noise_rows + system * s.n, (double)layer, unit_of<real>(), at.noise_rows,
                   at.noise_rows + s.n);
    long long to = system * t.recorded + place;
    if (t.with_states) {
        int flat = s.flat();
        at.state.store(t.out_held + to * flat, t.out_exponents + to * 5, s);
        EACH(k, 5) t.out_noise[to * (s.n + 5) + k] = at.noise[k];
        EACH(i, s.n) t.out_noise[to * (s.n + 5) + 5 + i] = at.noise_rows[i];
        for (int k = 0; k < t.copies && t.with_states > 1; k++) {
            long long copy = to * t.copies + k;
            at.errors[k].store(t.out_errors + copy * flat, t.out_error_exponents + copy * 5, s);
        }
    }
    if (!t.with_numbers) return;
    measure(at.state, s, at.cut, at.f, at.noise, at.noise_rows, true, t.zero_until + system * s.n, layer,
            unit_of<real>(), t.with_values, at.measuring, t.out + to * (AT_VALUES + (s.n < s.d ? s.n : s.d)));
    __syncthreads();
    if (threadIdx.x == 0) at.placed = -1;
    __syncthreads();
}

// The state and its errors through a layer; `row` of what is added to every token.
template <class real> INLINED void go_through(long long row) {
    Held<real> &at = of_block<real>();
    const Walk<real> &t = at.task;
    const Size &s = at.s;
    float *change = t.copies > 0 ? at.change : (float *)0;
    if (t.driven) make_room(at.state, s, t.drive_exponents + row * 5);
    if (t.copies > 0) {
        at.before.look(at.state, s, at.between.room);
        at.old.keep(at.state, s);
    }
    advance(at.state, s, at.heads, at.cut, at.f, at.shop, change, at.between);
    for (int k = 0; k < t.copies; k++)
        advance(at.errors[k], s, at.heads32, at.cut32, at.f, at.shop32, (float *)0, at.between);
    if (t.driven) add_to_all(at.state, s, t.drive + row * Places(s).all, t.drive_exponents + row * 5, change);
}

// Move the errors by what that layer has rounded.
template <class real> INLINED void round_off(long long layer) {
    Held<real> &at = of_block<real>();
    const Walk<real> &t = at.task;
    const Size &s = at.s;
    at.after.look(at.state, s, at.between.room);
    at.rounded.look(at.before, at.after, at.heads, at.norms, at.f, at.state.e, unit_of<real>(), s, at.between.room);
    Patterns patterns = {t.pool, t.fixed, t.drift};
    move(at.errors, t.copies, s, patterns, layer, at.state, at.old, at.change, t.heads, at.norms, at.rounded,
         at.before.whole, at.f, unit_of<real>(), at.between.room);
}

template <class real> INLINED void rescale(long long system, long long passed) {
    Held<real> &at = of_block<real>();
    const Walk<real> &t = at.task;
    bool coupled = at.f.coupled > 0;
    if (passed % t.every[system * 2 + 1] == 0)
        for (int k = 0; k < t.copies; k++) normalise(at.errors[k], at.s, coupled, at.between.room);
    if (passed % t.every[system * 2] == 0) normalise(at.state, at.s, coupled, at.between.room);
}

template <class real> __device__ void walk() {
    const Walk<real> &t = of_block<real>().task;
    __syncthreads();
    for (long long system = blockIdx.x; system < t.systems; system += gridDim.x) {
        begin<real>(system);
        long long next = 0;
        for (long long layer = t.first;; layer++) {
            if (next < t.recorded && t.wanted[next] == layer) record<real>(system, layer, next++);
            if (layer == t.last) break;
            long long own = layer - t.given, row = t.changing_drive ? own : 0;
            place_matrices<real>(system, t.changing_A || t.changing_H ? own : 0);
            go_through<real>(t.several_drive ? row * t.systems + system : row);
            if (t.copies > 0) round_off<real>(layer);
            rescale<real>(system, layer + 1);
        }
        end<real>(system);
    }
}

#define ARGUMENTS(real)                                                                                                \
    int n, int d, int heads, int copies, int with_numbers, int with_values, int with_states, int several_A,            \
        int several_H, int several_drive, int changing_A, int changing_H, int changing_drive, int driven,              \
        long long systems, long long first, long long last, long long recorded, long long given, long long bytes,      \
        long long bytes_far, double safety, const real *A, const real *H, const real *vectors, const real *drive,      \
        const double *drive_exponents, const Facts *facts, const long long *wanted, const long long *zero_until,       \
        const long long *every, const float *pool, const float *fixed, const float *drift, real *held,                 \
        double *exponents, float *errors, double *error_exponents, const double *noise, const double *noise_rows,      \
        char *far, double *out, real *out_held, double *out_exponents, double *out_noise, float *out_errors,           \
        double *out_error_exponents
#define GIVEN                                                                                                          \
    n, d, heads, copies, with_numbers, with_values, with_states, several_A, several_H, several_drive, changing_A,      \
        changing_H, changing_drive, driven, systems, first, last, recorded, given, bytes, bytes_far, safety, A, H,     \
        vectors, drive, drive_exponents, facts, wanted, zero_until, every, pool, fixed, drift, held, exponents,        \
        errors, error_exponents, noise, noise_rows, far, out, out_held, out_exponents, out_noise, out_errors,          \
        out_error_exponents

// Three blocks are to find their registers on a multiprocessor, which leaves a thread as many as it uses.
#define KERNEL_OF(real, name)                                                                                          \
    extern "C" __global__ void __launch_bounds__(128, 3) name(ARGUMENTS(real)) {                                          \
        if (threadIdx.x == 0) of_block<real>().task = {GIVEN};                                                             \
        walk<real>();                                                                                                  \
    }

KERNEL_OF(double, walk_float64)
KERNEL_OF(float, walk_float32)
