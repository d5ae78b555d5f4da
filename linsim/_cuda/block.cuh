// What all threads of a block do together.  A block, a multiple of 32 threads, works on one system.
//
// Between two barriers no thread reads what another writes: the test suite runs this very source on a CPU,
// threads in any order from barrier to barrier, and what depends on the order shows as another number.

// Compiled once rather than wherever it is called: everything in one piece takes a minute to compile and runs out
// of registers.
#define PIECE __device__ __noinline__

#define EACH(i, count) for (int i = threadIdx.x; i < (count); i += blockDim.x)

// the exponent of a part that is exactly zero, as in linsim/_state.py
#define EMPTY (-1152921504606846976.0)

// Shared memory, handed out piece by piece; with no base it only counts bytes.
struct Room {
    char *base;
    size_t used;

    template <class T> __device__ T *take(int count) {
        T *piece = (T *)(base + used);
        used += (count * sizeof(T) + 15) / 16 * 16;
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

// C = L M, or C += L M, of which L (rows, inner) and M (inner, columns); `change` is given what is added.
// A thread works out four rows of two columns, far apart so that its neighbours read what lies beside.
// Barriers around it are the caller's.
template <class real, class left, class right>
PIECE void product(real *C, int across_C, int rows, int columns, const left *L, int across_L, const right *M,
                        int across_M, int inner, bool add, float *change) {
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
        for (int k = 0; k < 4 && i + k < rows; k++)
            for (int c = 0; c < 2; c++) {
                int column = c == 0 ? j : j + half, place = (i + k) * across_C + column;
                if (column >= columns) continue;
                C[place] = add ? C[place] + sum[k][c] : sum[k][c];
                if (change) change[place] = (float)sum[k][c];
            }
    }
}
