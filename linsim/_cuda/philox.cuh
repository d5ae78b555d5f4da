// Random numbers of a key and a counter: linsim/_kernels/normals.py, to the bit.
//
// Philox 4x32 with ten rounds (Salmon, Moraes, Dror and Shaw 2011): what a seed gives depends on nothing else,
// so the same seed is the same network on a CPU and on a GPU.

struct Words {
    unsigned long long one, two;
};

__device__ inline Words philox(unsigned long long key, unsigned long long counter, unsigned long long stream) {
    unsigned k0 = (unsigned)key, k1 = (unsigned)(key >> 32);
    unsigned x0 = (unsigned)counter, x1 = (unsigned)(counter >> 32), x2 = (unsigned)stream, x3 = (unsigned)(stream >> 32);
    for (int round = 0; round < 10; round++) {
        unsigned long long p = 0xD2511F53ull * x0, q = 0xCD9E8D57ull * x2;
        x0 = (unsigned)(q >> 32) ^ x1 ^ k0, x2 = (unsigned)(p >> 32) ^ x3 ^ k1;
        x1 = (unsigned)q, x3 = (unsigned)p;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    Words words = {(unsigned long long)x1 << 32 | x0, (unsigned long long)x3 << 32 | x2};
    return words;
}

// Numbers inside (0, 1), two for each counter from `first` on: out (count) of one key and stream.
extern "C" __global__ void uniforms(unsigned long long key, unsigned long long stream, unsigned long long first,
                                    long long count, double *out) {
    for (long long k = blockIdx.x * (long long)blockDim.x + threadIdx.x; 2 * k < count;
         k += (long long)blockDim.x * gridDim.x) {
        Words words = philox(key, first + k, stream);
        out[2 * k] = ((double)(words.one >> 11) + 0.5) * 1.1102230246251565e-16;
        if (2 * k + 1 < count) out[2 * k + 1] = ((double)(words.two >> 11) + 0.5) * 1.1102230246251565e-16;
    }
}
