// What all threads of a block do together.  A block, a multiple of 32 threads, works on one system.
//
// Between two barriers no thread reads what another writes: the test suite runs this very source on a CPU,
// threads in any order from barrier to barrier, and what depends on the order shows as another number.

// Compiled once rather than wherever it is called: everything in one piece takes a minute to compile and runs out
// of registers.
#define PIECE __device__ __noinline__
// but what calls many of them: numbers that live across a call are kept out of few registers
#define INLINED __device__ __forceinline__

#define EACH(i, count) for (int i = threadIdx.x; i < (count); i += blockDim.x)

// the exponent of a part that is exactly zero, as in linsim/_state.py
#define EMPTY (-1152921504606846976.0)

// Memory, handed out piece by piece: shared as long as a piece fits below `limit`, else `far`, in the memory of
// the device.  linsim/_cuda/layout.py counts the same.
struct Room {
    char *base;
    size_t used, limit;
    char *far;
    size_t used_far;

    __device__ static size_t bytes(size_t count, size_t size) { return (count * size + 15) / 16 * 16; }

    template <class T> __device__ bool fits(int count) { return used + bytes(count, sizeof(T)) <= limit; }

    template <class T> __device__ T *take(int count) {
        size_t own = bytes(count, sizeof(T));
        bool near = fits<T>(count);
        T *piece = (T *)(near ? base + used : far + used_far);
        (near ? used : used_far) += own;
        return piece;
    }
};

// 2**exponent, 0 far below the range of doubles.
PIECE double power_of_two(double exponent) {
    return ldexp(1.0, (int)fmin(fmax(exponent, -1100.0), 1023.0));
}

__device__ inline double log2_or_empty(double x) { return x > 0 ? log2(x) : EMPTY; }

// e with 2**e <= x < 2**(e + 1), EMPTY for 0.
__device__ inline double exponent_of(double x) {
    int e;
    if (!(x > 0)) return EMPTY;
    frexp(x, &e);
    return e - 1.0;
}

// Sum over all threads, the same for each, and a barrier.  room: a number for each 32 threads.
PIECE double sum_of(double x, double *room) {
    for (int far = 16; far > 0; far /= 2) x += __shfl_xor_sync(0xffffffffu, x, far);
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
    __syncthreads();
    double total = 0;
    for (int k = 0; k < blockDim.x / 32; k++) total += room[k];
    __syncthreads();
    return total;
}

// Largest over all threads, likewise.
PIECE double max_of(double x, double *room) {
    for (int far = 16; far > 0; far /= 2) x = fmax(x, __shfl_xor_sync(0xffffffffu, x, far));
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
    __syncthreads();
    double top = room[0];
    for (int k = 1; k < blockDim.x / 32; k++) top = fmax(top, room[k]);
    __syncthreads();
    return top;
}

__device__ inline bool any_of(bool x, double *room) { return max_of(x ? 1.0 : 0.0, room) > 0; }

// What becomes of a sum: C, or C and what is added to it, which is `change`, or is added to that as well.
template <class real> struct Into {
    real *C;
    int across;
    bool add, more;
    float *change;

    __device__ void put(int row, int column, real sum) const {
        int place = row * across + column;
        C[place] = add ? C[place] + sum : sum;
        if (change) change[place] = more ? change[place] + (float)sum : (float)sum;
    }
};

#define SIDE 32   // of a tile of a product
#define INNER 16  // and how many terms of its sums are in shared memory at a time
#define TILES (2 * SIDE * (INNER + 1))

// C = L M, or C += L M, of which L (rows, inner) and M (inner, columns).
// A thread works out four rows of two columns, far apart so that its neighbours read what lies beside.
// Barriers around it are the caller's.
template <class real>
PIECE void product(const Into<real> &to, int rows, int columns, const real *L, int across_L, const real *M,
                   int across_M, int inner) {
    int half = (columns + 1) / 2, tiles = (rows + 3) / 4 * half;
    EACH(tile, tiles) {
        int i = tile / half * 4, j = tile % half, other = j + half < columns ? j + half : j;
        real sum[4][2] = {{0, 0}, {0, 0}, {0, 0}, {0, 0}};
        int at[4];
        for (int k = 0; k < 4; k++) at[k] = (i + k < rows ? i + k : rows - 1) * across_L;
        for (int x = 0; x < inner; x++) {
            real one = M[x * across_M + j], two = M[x * across_M + other];
            for (int k = 0; k < 4; k++) {
                real l = L[at[k] + x];
                sum[k][0] += l * one;
                sum[k][1] += l * two;
            }
        }
        for (int k = 0; k < 4 && i + k < rows; k++) {
            to.put(i + k, j, sum[k][0]);
            if (j + half < columns) to.put(i + k, j + half, sum[k][1]);
        }
    }
}

// The same of matrices in the memory of the device: tile by tile, through `tiles` in shared memory.
template <class real>
PIECE void product_by_tiles(const Into<real> &to, int rows, int columns, const real *L, int across_L, const real *M,
                            int across_M, int inner, real *tiles) {
    real *lefts = tiles, *rights = tiles + SIDE * (INNER + 1);
    for (int top = 0; top < rows; top += SIDE)
        for (int side = 0; side < columns; side += SIDE)
            EACH(part, SIDE * SIDE / 8) {  // every thread as many, so that all of them are at each barrier
                int i = part / (SIDE / 2) * 4, j = part % (SIDE / 2);
                real sum[4][2] = {{0, 0}, {0, 0}, {0, 0}, {0, 0}};
                for (int first = 0; first < inner; first += INNER) {
                    __syncthreads();
                    EACH(x, SIDE * INNER) {
                        int row = top + x / INNER, k = first + x % INNER;
                        lefts[x / INNER * (INNER + 1) + x % INNER] =
                            row < rows && k < inner ? L[row * across_L + k] : (real)0;
                        int column = side + x % SIDE, at = first + x / SIDE;
                        rights[x] = column < columns && at < inner ? M[at * across_M + column] : (real)0;
                    }
                    __syncthreads();
                    for (int x = 0; x < INNER; x++) {
                        real one = rights[x * SIDE + j], two = rights[x * SIDE + j + SIDE / 2];
                        for (int k = 0; k < 4; k++) {
                            real l = lefts[(i + k) * (INNER + 1) + x];
                            sum[k][0] += l * one;
                            sum[k][1] += l * two;
                        }
                    }
                }
                for (int k = 0; k < 4 && top + i + k < rows; k++) {
                    if (side + j < columns) to.put(top + i + k, side + j, sum[k][0]);
                    if (side + j + SIDE / 2 < columns) to.put(top + i + k, side + j + SIDE / 2, sum[k][1]);
                }
            }
}
