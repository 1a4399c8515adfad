// The persistent kernel (persistent.cuh): the first layer on tensor cores at float32's accuracy, for rows of bytes.
//
// A tensor core multiplies numbers in bfloat16, which has 8 bits of a number, and adds up the products in float32.  A byte
// is exact in bfloat16, and a float32 is the sum of three: its first 8 bits, the next 8 and the last 8.  So three products
// lose nothing but the rounding of sums (Henry, Tang and Heinecke, "Leveraging the bfloat16 artificial intelligence
// datatype for higher-precision computations", ARITH 2019).  A tensor core cuts its sums off instead of rounding them
// (Fasi et al., "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7, 2021): so it adds up one tile of 16
// products, the smallest parts first, and the tiles are added in float32.
//
// A warp has tiles of 16 inputs, every WARPS-th.  Two products for each, by `mma` in the distribution over the lanes that
// the PTX manual says, lane = 4 g + q:
//
//   forward    z (16 rows, 8 units)          += x (16 rows, 16 inputs) w (16 inputs, 8 units)
//   gradient   g (16 units, 8 inputs), twice += delta1' (16 units, 16 rows) x (16 rows, 8 inputs)
//
// A lane has of each tile the weights of the inputs 4 q to 4 q + 3, a quad of bytes, to the units g, g + 8 and so on.  The
// order of inputs in a product is free: those of a quad are number 2 q, 2 q + 1, 2 q + 8 and 2 q + 9 of the 16 in the
// forward product, and the columns 2 q, 2 q + 1 of the two gradients.  So the weights of a lane are what it needs as operand
// of one product, and receives as result of the other: nothing is moved between lanes.
//
// Rows of X are so far apart that the lanes read from different banks of shared memory.

namespace persistent {

#ifdef __CUDACC__
// d (16, 8) += a (16, 16) b (16, 8).  All lanes of the warp call it together.
DEVICE void multiply_add(float (&d)[4], const unsigned int (&a)[4], unsigned int b0, unsigned int b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif

// The first 8 bits of two numbers, as a pair of bfloat16.
DEVICE unsigned int upper_halves(float low, float high) {
    return __byte_perm(__float_as_uint(low), __float_as_uint(high), 0x7632);
}

// A pair of numbers as the sum of three pairs of bfloat16.
DEVICE void split(float low, float high, unsigned int (&parts)[3]) {
#pragma unroll
    for (int i = 0; i < 3; ++i) {
        parts[i] = upper_halves(low, high);
        low -= __uint_as_float(__float_as_uint(low) & 0xffff0000u);
        high -= __uint_as_float(__float_as_uint(high) & 0xffff0000u);
    }
}

struct FirstLayer : Exchange {
    static const int WARPS = GROUP_THREADS / 32, ROW_TILES = TALL / 16, UNIT_TILES = UNITS_OF_THREAD;
    static const int UNIT_PAIRS = (UNIT_TILES + 1) / 2;  // of tiles of eight units

    DEVICE FirstLayer(const Arguments& arguments, unsigned char* shared) : Exchange(arguments, shared) {}

    // Number `quad` of the quads of bytes of a row, which may be behind the last row.
    DEVICE unsigned int bytes(int part, int n, int row, int quad) const {
        unsigned int word = ((const unsigned int*)(rows_in_memory(part) + row * ROW_BYTES))[quad];
        if (INPUT_DROPOUT) {
            const unsigned int kept = kept_inputs(part, row < n ? row : n - 1)[quad / 2] >> quad % 2 * 4 & 15;
            word &= (kept * 0x00204081u & 0x01010101u) * 255;  // each bit for a byte
        }
        return word;
    }

    DEVICE void partial_sums(int part, int n) {
        if (!has_weights1()) return;
        const int g = lane / 4, q = lane % 4, warp = t / 32;
        float sums[ROW_TILES][UNIT_TILES][4] = {};
#pragma unroll
        for (int i = 0; i < SPANS; ++i) {
            if (!has_span(i)) continue;  // the same in all lanes
            unsigned int b[UNIT_TILES][2][3];
#pragma unroll
            for (int u = 0; u < UNIT_TILES; ++u) {
                const float* const own = w + i * SPAN_WEIGHTS + u * 4;
                split(own[0], own[1], b[u][0]), split(own[2], own[3], b[u][1]);
            }
#pragma unroll
            for (int m = 0; m < ROW_TILES; ++m) {
                if (m * 16 >= n) continue;
                unsigned int a[4];
#pragma unroll
                for (int r = 0; r < 2; ++r) {  // rows g and g + 8
                    const unsigned int word = bytes(part, n, m * 16 + r * 8 + g, (warp + i * WARPS) * 4 + q);
                    a[r] = upper_halves(word & 255, word >> 8 & 255);
                    a[2 + r] = upper_halves(word >> 16 & 255, word >> 24);
                }
#pragma unroll
                for (int u = 0; u < UNIT_TILES; ++u) {
                    float z[4] = {};
#pragma unroll
                    for (int p = 2; p >= 0; --p) multiply_add(z, a, b[u][0][p], b[u][1][p]);
#pragma unroll
                    for (int c = 0; c < 4; ++c) sums[m][u][c] += z[c];
                }
            }
        }
        REAL* const to = reals(AT_PARTIAL) + (warp * TALL + g) * PADDED_UNITS + 2 * q;
#pragma unroll
        for (int m = 0; m < ROW_TILES; ++m)
#pragma unroll
            for (int u = 0; u < UNIT_TILES; ++u)
#pragma unroll
                for (int c = 0; c < 4; ++c)
                    to[(m * 16 + c / 2 * 8) * PADDED_UNITS + u * 8 + c % 2] = sums[m][u][c];
    }

    // Calls f(i, the gradient of the weights of span i), without `x_factor`, for each span of this thread.  If gradients are
    // kept, those of the parts of a batch are added up.
    template <class F>
    DEVICE void weight_gradients(int part, int n, F f) {
        if (!has_weights1()) return;
        const int g = lane / 4, q = lane % 4, warp = t / 32;
        unsigned int a[ROW_TILES][UNIT_PAIRS][3][4];
#pragma unroll
        for (int m = 0; m < ROW_TILES; ++m)
#pragma unroll
            for (int pair = 0; pair < UNIT_PAIRS; ++pair)
#pragma unroll
                for (int r = 0; r < 4; ++r) {  // units g and g + 8, rows 2 q and 2 q + 1, then those 8 further
                    const int unit = pair * 16 + r % 2 * 8, row = m * 16 + r / 2 * 8 + 2 * q;
                    const REAL* const d = reals(AT_DELTA1) + row * PADDED_UNITS + unit + g;
                    const bool exists = unit < PADDED_UNITS;
                    unsigned int parts[3];
                    split(exists && row < n ? d[0] : 0, exists && row + 1 < n ? d[PADDED_UNITS] : 0, parts);
#pragma unroll
                    for (int p = 0; p < 3; ++p) a[m][pair][p][r] = parts[p];
                }
#pragma unroll
        for (int i = 0; i < SPANS; ++i) {
            if (!has_span(i)) continue;
            REAL own[SPAN_WEIGHTS];
            REAL* const sums = KEEPS_GRADIENT ? kept + i * SPAN_WEIGHTS : own;
#pragma unroll
            for (int number = 0; number < SPAN_WEIGHTS; ++number)
                if (begins_batch(part)) sums[number] = REAL(0);
#pragma unroll
            for (int m = 0; m < ROW_TILES; ++m) {
                if (m * 16 >= n) continue;
                unsigned int word[4];  // of the rows 2 q, 2 q + 1 and those 8 further: bytes g % 2 and g % 2 + 2 are columns g
#pragma unroll
                for (int r = 0; r < 4; ++r) {
                    const int row = m * 16 + r / 2 * 8 + 2 * q + r % 2;
                    word[r] = bytes(part, n, row, (warp + i * WARPS) * 4 + g / 2) >> g % 2 * 8;
                }
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    unsigned int b[2];
#pragma unroll
                    for (int r = 0; r < 2; ++r)
                        b[r] = upper_halves(word[2 * r] >> 16 * half & 255, word[2 * r + 1] >> 16 * half & 255);
#pragma unroll
                    for (int pair = 0; pair < UNIT_PAIRS; ++pair) {
                        float slopes[4] = {};
#pragma unroll
                        for (int p = 2; p >= 0; --p) multiply_add(slopes, a[m][pair][p], b[0], b[1]);
#pragma unroll
                        for (int c = 0; c < 4; ++c)
                            if (pair * 2 + c / 2 < UNIT_TILES)
                                sums[(pair * 2 + c / 2) * 4 + half * 2 + c % 2] += slopes[c];
                    }
                }
            }
            // what fills up the last tile are bytes of something else
#pragma unroll
            for (int number = 0; N_IN % 16 && number < SPAN_WEIGHTS; ++number)
                if (input_of(i * SPAN_WEIGHTS + number, slice) >= N_IN) sums[number] = REAL(0);
            f(i, sums);
        }
    }
};

}  // namespace persistent
