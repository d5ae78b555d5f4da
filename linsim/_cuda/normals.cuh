// Standard normal numbers of a key and a counter: linsim/_kernels/box_muller.py, to the bit.
//
// Every sum and product is rounded by itself, whatever the compiler is told about fusing them: the functions
// with _rn do that.  What the numbers below are, and why, is said in box_muller.py.

struct Normals {
    double one, two;
};

__device__ inline double as_double(unsigned long long bits) { return __longlong_as_double((long long)bits); }

__device__ inline unsigned long long as_bits(double x) { return (unsigned long long)__double_as_longlong(x); }

// sum x + c, product and sum rounded one after the other
__device__ inline double then(double sum, double x, double c) { return __dadd_rn(__dmul_rn(sum, x), c); }

__device__ inline Normals normal_pair(Words words) {
    const unsigned long long fraction = 0xFFFFFFFFFFFFFull;
    // 2^-64 and 2^-65: powers of two, which round nothing
    double u = __dadd_rn(__dmul_rn((double)words.one, 5.421010862427522e-20), 2.710505431213761e-20);
    unsigned long long bits = as_bits(u) + (0x3FF0000000000000ull - 0x3FE6A09E667F3BCDull);
    double power = (double)((long long)(bits >> 52) - 1023);
    double f = __dadd_rn(as_double((bits & fraction) + 0x3FE6A09E667F3BCDull), -1.0);
    double s = __ddiv_rn(f, __dadd_rn(f, 2.0)), z = __dmul_rn(s, s), sum = -0.2959221057491987;
    sum = then(then(then(sum, z, -0.30628071796816647), z, -0.363671297235216), z, -0.4444439712728734);
    sum = then(then(then(sum, z, -0.5714285748494495), z, -0.7999999999882867), z, -1.3333333333333468);
    double far = __dmul_rn(s, then(sum, z, -4.0));
    double radius = __dsqrt_rn(__dadd_rn(__dmul_rn(power, -1.3862943611198906), far));
    double x = __dadd_rn(__dadd_rn(as_double((words.two & fraction) | 0x3FF0000000000000ull), -1.5), 1.1102230246251565e-16);
    double y = __dmul_rn(x, x), sine = 5.634675009145195e-08, cosine = 4.6553372799124976e-07;
    sine = then(then(then(sine, y, -3.598649340096041e-06), y, 0.00016044115259833104), y, -0.004681754132616244);
    sine = then(then(then(sine, y, 0.07969262624606273), y, -0.645964097506245), y, 1.5707963267948966);
    sine = __dmul_rn(sine, x);
    cosine = then(then(then(cosine, y, -2.5200143062684924e-05), y, 0.0009192599541492292), y, -0.020863480735867683);
    cosine = then(then(then(cosine, y, 0.25366950789995935), y, -1.2337005501361553), y, 1.0);
    cosine = as_double(as_bits(cosine) | (words.two & 0x8000000000000000ull));
    bool swap = words.two >> 62 & 1;
    Normals pair = {__dmul_rn(radius, swap ? sine : cosine), __dmul_rn(radius, swap ? cosine : sine)};
    return pair;
}

// Fills row i of out (rows, width) with numbers of keys[i] and the stream, times scales[i].
template <class number>
__device__ inline void fill_normals(const unsigned long long *keys, unsigned long long stream, const double *scales,
                                    long long rows, long long width, number *out) {
    long long pairs = (width + 1) / 2;
    for (long long k = blockIdx.x * (long long)blockDim.x + threadIdx.x; k < rows * pairs;
         k += (long long)blockDim.x * gridDim.x) {
        long long row = k / pairs, at = 2 * (k % pairs);
        Normals pair = normal_pair(philox(keys[row], at / 2, stream));
        number *there = out + row * width + at;
        there[0] = (number)__dmul_rn(pair.one, scales[row]);
        if (at + 1 < width) there[1] = (number)__dmul_rn(pair.two, scales[row]);
    }
}

extern "C" __global__ void normals_float64(const unsigned long long *keys, unsigned long long stream, const double *scales,
                                           long long rows, long long width, double *out) {
    fill_normals(keys, stream, scales, rows, width, out);
}

extern "C" __global__ void normals_float32(const unsigned long long *keys, unsigned long long stream, const double *scales,
                                           long long rows, long long width, float *out) {
    fill_normals(keys, stream, scales, rows, width, out);
}
