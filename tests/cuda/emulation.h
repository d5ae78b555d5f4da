// CUDA on one core of a CPU: a kernel's source, unchanged, as plain C++.
//
// Each thread of a block has a stack of its own.  From one barrier to the next they run one after the other,
// in an order that the caller chooses: a thread that reads what another one writes between the same two
// barriers gets another number in another order, and so does one that a barrier is missing for.  A barrier,
// or a shuffle, that only some threads reach is an error.  Shared memory is filled with NaN before each block,
// and bytes behind it must not change.

#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <utility>

using std::size_t;

struct Place {
    int x;
};

namespace emulation {

enum Stop { BARRIER, SHUFFLE, END };
const int MOST = 256, WARP = 32, STACK = 1 << 17, BEHIND = 64;

struct Thread {
    ucontext_t begin;
    jmp_buf at;
    bool begun, made;
    Stop stop;
    int shuffles;
    double passed[2];  // by shuffles, in turn
    char *stack;
};

Thread threads[MOST];
jmp_buf scheduler;
int current, size, blocks_of_launch;
Place block;
void (*kernel)(void **);
void **given;
uint64_t order, state;

__attribute__((noinline)) void stop(Stop why) {
    Thread &own = threads[current];
    own.stop = why;
    if (!_setjmp(own.at)) _longjmp(scheduler, 1);
}

void forever() {  // a thread's stack serves one block after the other
    for (;;) {
        kernel(given);
        stop(END);
    }
}

__attribute__((noinline)) void go_on(int thread) {
    current = thread;
    Thread &own = threads[thread];
    if (_setjmp(scheduler)) return;
    if (own.begun) _longjmp(own.at, 1);
    own.begun = true;
    setcontext(&own.begin);
}

// The numbers below `count` forwards (order 0), backwards (1), or shuffled.
void arrange(int *numbers, int count) {
    for (int k = 0; k < count; k++) numbers[k] = order == 1 ? count - 1 - k : k;
    for (int k = count - 1; order > 1 && k > 0; k--) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        std::swap(numbers[k], numbers[(state >> 33) % (k + 1)]);
    }
}

// One block; returns what went wrong, or nothing.
const char *run() {
    for (int thread = 0; thread < size; thread++) {
        Thread &own = threads[thread];
        own.shuffles = 0;
        if (own.made) continue;
        own.stack = (char *)malloc(STACK);
        getcontext(&own.begin);
        own.begin.uc_stack.ss_sp = own.stack;
        own.begin.uc_stack.ss_size = STACK;
        own.begin.uc_link = nullptr;
        makecontext(&own.begin, forever, 0);
        own.made = true;
    }
    for (;;) {
        int warps[MOST / WARP], lanes[WARP], ended = 0;
        arrange(warps, size / WARP);
        for (int k = 0; k < size / WARP; k++)
            for (bool shuffling = true; shuffling;) {
                int shuffled = 0;
                arrange(lanes, WARP);
                for (int lane : lanes) {
                    go_on(warps[k] * WARP + lane);
                    shuffled += threads[current].stop == SHUFFLE;
                    ended += threads[current].stop == END;
                }
                if (shuffled != 0 && shuffled != WARP) return "a shuffle that only some threads of a warp reach";
                shuffling = shuffled != 0;
            }
        if (ended == size) return nullptr;
        if (ended != 0) return "a barrier that only some threads reach";
    }
}

template <class... Types, size_t... places>
void call(void (*function)(Types...), void **arguments, std::index_sequence<places...>) {
    function(*(Types *)arguments[places]...);
}

}  // namespace emulation

#define __global__
#define __device__
#define __shared__
#define __launch_bounds__(count)
#define __align__(bytes) __attribute__((aligned(bytes)))
#undef __noinline__
#define __noinline__ __attribute__((noinline))

alignas(16) char shared[(1 << 20) + emulation::BEHIND];

#define threadIdx (Place{emulation::current})
#define blockIdx (emulation::block)
#define blockDim (Place{emulation::size})

inline void __syncthreads() { emulation::stop(emulation::BARRIER); }

template <class number> number __shfl_xor_sync(unsigned mask, number x, int far) {
    emulation::Thread &own = emulation::threads[emulation::current];
    int turn = own.shuffles++ % 2, other = emulation::current ^ far;
    if (mask != 0xffffffffu) abort();
    memcpy(&own.passed[turn], &x, sizeof x);
    emulation::stop(emulation::SHUFFLE);
    number found;
    memcpy(&found, &emulation::threads[other].passed[turn], sizeof found);
    return found;
}

#define KERNEL(name)                                                                                                  \
    static void call_##name(void **arguments) {                                                                       \
        emulation::call(name, arguments, emulation::argument_places(name));                                           \
    }

namespace emulation {

template <class... Types> std::index_sequence_for<Types...> argument_places(void (*)(Types...)) { return {}; }

// Run `blocks` blocks of a kernel; returns what went wrong, or nothing.
inline const char *launch(void (*function)(void **), int blocks, int count, size_t bytes, uint64_t way, void **arguments) {
    if (count % WARP || count > MOST || bytes > (1 << 20)) return "more than the emulation holds";
    kernel = function, given = arguments, size = count, blocks_of_launch = blocks, order = state = way;
    for (block.x = 0; block.x < blocks; block.x++) {
        memset(shared, 0xff, bytes);
        memset(shared + bytes, 0x5a, BEHIND);
        if (const char *wrong = run()) return wrong;
        for (int k = 0; k < BEHIND; k++)
            if (shared[bytes + k] != 0x5a) return "memory behind what was asked for was written";
    }
    return nullptr;
}

}  // namespace emulation

#define gridDim (Place{emulation::blocks_of_launch})

// Rounded one by one: what compiles this fuses nothing.
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __ddiv_rn(double x, double y) { return x / y; }
inline double __dsqrt_rn(double x) { return std::sqrt(x); }

inline double __longlong_as_double(long long bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

inline long long __double_as_longlong(double x) {
    long long bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
