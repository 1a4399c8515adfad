// Part of scheduler.cpp: a product of matrices on a tensor core, as an H100 computes it.
//
// A tensor core does not round its sums.  It adds 16 products and the sum so far as integers, each cut off two bits below
// the last bit of the largest one, and the result is cut off to float32.  Measured by Fasi et al., "Numerical behavior of
// NVIDIA tensor cores", PeerJ Computer Science 7, 2021, and for Hopper in arXiv:2512.07004.

float of_bfloat16(unsigned pair, int half) {
    const unsigned bits = half ? pair & 0xffff0000u : pair << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// Toward zero to a multiple of 2 to the power of `exponent`.
double cut_off(double x, int exponent) { return __builtin_ldexp(__builtin_trunc(__builtin_ldexp(x, -exponent)), exponent); }

float tensor_sum(float sum, const float* x, const float* y) {
    double terms[17], total = 0;
    int largest = -1000;
    for (int k = 0; k < 17; ++k) {
        terms[k] = k < 16 ? (double)x[k] * y[k] : sum;
        if (!__builtin_isfinite(terms[k])) {  // infinity or NaN, as in other sums
            double plain = sum;
            for (int i = 0; i < 16; ++i) plain += (double)x[i] * y[i];
            return (float)plain;
        }
        if (terms[k] != 0 && __builtin_ilogb(terms[k]) > largest) largest = __builtin_ilogb(terms[k]);
    }
    for (double term : terms) total += cut_off(term, largest - 25);
    if (total == 0) return 0;
    return (float)cut_off(total, __builtin_ilogb(total) - 23);
}

void multiply_add(float* d, const unsigned* a, unsigned b0, unsigned b1, int line) {
    const unsigned mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
    unsigned side;
    const Exchange& e = meet_lanes(0xffffffffu, nullptr, 0, side, line, mine);
    const int lane = current->thread % threads % 32;
    for (int c = 0; c < 4; ++c) {
        const int row = lane / 4 + c / 2 * 8, column = lane % 4 * 2 + c % 2;
        float x[16], y[16];
        for (int k = 0; k < 16; ++k) {
            x[k] = of_bfloat16(e.operands[side][row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2], k % 2);
            y[k] = of_bfloat16(e.operands[side][column * 4 + k % 8 / 2][4 + k / 8], k % 2);
        }
        d[c] = tensor_sum(d[c], x, y);
    }
}
