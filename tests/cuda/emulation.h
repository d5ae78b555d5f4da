// CUDA on one core of a CPU: a kernel's source, unchanged, as plain C++.
//
// Each thread of a block has a stack of its own.  From one barrier to the next they run one after the other,
// in an order that the caller chooses: a thread that reads what another one writes between the same two
// barriers gets another number in another order, and so does one that a barrier is missing for.  A barrier,
// or a shuffle, that only some threads reach is an error.  Shared memory is filled with NaN before each block,
// and bytes behind it must not change.

#if !defined(__x86_64__)
#include <csetjmp>
#include <ucontext.h>
#endif
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

using std::size_t;

struct Place {
    int x;
};

namespace emulation {

enum Stop { BARRIER, SHUFFLE, END };
const int MOST = 256, WARP = 32, STACK = 1 << 17, BEHIND = 64;

// Going from one stack to another.  What the C library has for it takes ten times as long, which is most of the
// time of an emulation.
#if defined(__x86_64__)
struct Stack {
    void *top;

    void begin(char *memory, size_t bytes, void (*function)()) {
        void **words = (void **)((uintptr_t)(memory + bytes) / 16 * 16) - 2;
        words[0] = (void *)function;
        top = words - 6;
    }
};

extern "C" void emulation_swap(void **from, void *to);
asm(R"(
.text
emulation_swap:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

inline void swap(Stack &from, Stack &to) { emulation_swap(&from.top, to.top); }
#else
struct Stack {
    ucontext_t fresh;
    jmp_buf at;
    bool begun = true;

    void begin(char *memory, size_t bytes, void (*function)()) {
        getcontext(&fresh);
        fresh.uc_stack.ss_sp = memory;
        fresh.uc_stack.ss_size = bytes;
        fresh.uc_link = nullptr;
        makecontext(&fresh, function, 0);
        begun = false;
    }
};

__attribute__((noinline)) void swap(Stack &from, Stack &to) {
    if (_setjmp(from.at)) return;
    if (to.begun) _longjmp(to.at, 1);
    to.begun = true;
    setcontext(&to.fresh);
}
#endif

struct Thread {
    Stack at;
    bool made;
    Stop stop;
    int shuffles;
    double passed[2];  // by shuffles, in turn
};

Thread threads[MOST];
Stack scheduler;
int current, size, blocks_of_launch;
int follow[MOST];  // the thread of a warp that goes on after this one, -1 behind the last
Place block;
void (*kernel)(void **);
void **given;
uint64_t order, state;

__attribute__((noinline)) void stop(Stop why) {
    Thread &own = threads[current];
    own.stop = why;
    int next = follow[current];
    if (next < 0) return swap(own.at, scheduler);
    current = next;  // straight to the next one: half of the ways are the scheduler's else
    swap(own.at, threads[next].at);
}

void forever() {  // a thread's stack serves one block after the other
    for (;;) {
        kernel(given);
        stop(END);
    }
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
        own.at.begin((char *)malloc(STACK), STACK, forever);
        own.made = true;
    }
    for (;;) {
        int warps[MOST / WARP], lanes[WARP], ended = 0;
        arrange(warps, size / WARP);
        for (int k = 0; k < size / WARP; k++)
            for (bool shuffling = true; shuffling;) {
                int shuffled = 0, first = warps[k] * WARP;
                arrange(lanes, WARP);
                for (int lane = 0; lane < WARP; lane++)
                    follow[first + lanes[lane]] = lane + 1 < WARP ? first + lanes[lane + 1] : -1;
                current = first + lanes[0];
                swap(scheduler, threads[current].at);
                for (int lane = 0; lane < WARP; lane++) {
                    shuffled += threads[first + lane].stop == SHUFFLE;
                    ended += threads[first + lane].stop == END;
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
#define __launch_bounds__(...)
#define __forceinline__ inline
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
