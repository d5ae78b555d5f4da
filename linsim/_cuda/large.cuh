// Errors of states that are too large for a block: moved by what a layer has rounded in the rest R, in one pass
// over state and errors where whole arrays take a dozen (`Rest.moved` of linsim/_shadow.py).  A block takes one
// row after the other.
//
// before, after (b, n, d); plain (b, n), turned (heads, b, n), columns (heads, b or 1, d): what is rounded is
// the root of plain^2 and all (turned column)^2; pool, fixed, drift (copies, n, d); keep, add (b, copies); the
// errors (b, copies, n, d) are changed.

#define MOVED(real)                                                                                                    \
    int n, int d, int heads, int copies, int several_H, long long systems, float sign, const real *before,             \
        const real *after, const real *plain, const real *turned, const real *columns, const float *pool,              \
        const float *fixed, const float *drift, const float *keep, const float *add, float *errors

template <class real> __device__ void move_large(MOVED(real)) {
    for (long long row = blockIdx.x; row < systems * n; row += gridDim.x) {
        long long system = row / n, from = row * d;
        int i = (int)(row % n);
        EACH(j, d) {
            real size = plain[row];
            for (int h = 0; h < heads; h++) {
                long long own = several_H ? h * systems + system : h;
                size = hypot(size, turned[h * systems * n + row] * columns[own * d + j]);
            }
            float rounded = (float)size, change = (float)(after[from + j] - before[from + j]);
            for (int k = 0; k < copies; k++) {
                int at = (k * n + i) * d + j;
                long long copy = system * copies + k, place = (copy * n + i) * d + j;
                float off = rounded * (sign * pool[at] + fixed[at]) + change * drift[at];
                errors[place] = errors[place] * keep[copy] + off * add[copy];
            }
        }
    }
}

#define MOVE_LARGE(real, name)                                                                                         \
    extern "C" __global__ void name(MOVED(real)) {                                                                     \
        move_large<real>(n, d, heads, copies, several_H, systems, sign, before, after, plain, turned, columns, pool,   \
                         fixed, drift, keep, add, errors);                                                             \
    }

MOVE_LARGE(double, move_large_float64)
MOVE_LARGE(float, move_large_float32)

// X (rows / n, n, d) less the product of a column (rows / n, n) and a row (rows / n, d), in its place.
template <class real>
__device__ void take_product_off(int n, int d, long long rows, const real *column, const real *line, real *X) {
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        real own = column[row];
        const real *other = line + row / n * d;
        EACH(j, d) X[row * d + j] -= own * other[j];
    }
}

#define TAKE_PRODUCT_OFF(real, name)                                                                                   \
    extern "C" __global__ void name(int n, int d, long long rows, const real *column, const real *line, real *X) {     \
        take_product_off<real>(n, d, rows, column, line, X);                                                           \
    }

TAKE_PRODUCT_OFF(double, take_product_off_float64)
TAKE_PRODUCT_OFF(float, take_product_off_float32)

// Lengths of the rows of X (rows, d).
template <class real> __device__ void find_lengths(int d, long long rows, const real *X, real *lengths) {
    for (long long row = blockIdx.x; row < rows; row += gridDim.x) {
        double square = 0;
        EACH(j, d) square += (double)X[row * d + j] * X[row * d + j];
        square = sum_of(square, (double *)shared);
        if (threadIdx.x == 0) lengths[row] = (real)sqrt(square);
    }
}

#define FIND_LENGTHS(real, name)                                                                                       \
    extern "C" __global__ void name(int d, long long rows, const real *X, real *lengths) {                             \
        find_lengths<real>(d, rows, X, lengths);                                                                       \
    }

FIND_LENGTHS(double, find_lengths_float64)
FIND_LENGTHS(float, find_lengths_float32)
