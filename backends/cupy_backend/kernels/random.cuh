// Philox4x64-10 (Salmon et al. 2011) with the keys and counters of `backends.random`: the same integers.

typedef unsigned long long uint64;

const uint64 SHUFFLE = 2, DROPOUT = 3;

struct Block {
    uint64 word[4];
};

DEVICE Block philox(uint64 key0, uint64 key1, uint64 c0, uint64 c1, uint64 c2, uint64 c3) {
    const uint64 multiplier0 = 0xD2E7470EE14C6C93ull, multiplier1 = 0xCA5A826395121157ull;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const uint64 high0 = __umul64hi(multiplier0, c0), low0 = multiplier0 * c0;
        const uint64 high1 = __umul64hi(multiplier1, c2), low1 = multiplier1 * c2;
        c0 = high1 ^ c1 ^ key0, c1 = low1, c2 = high0 ^ c3 ^ key1, c3 = low0;
        key0 += 0x9E3779B97F4A7C15ull, key1 += 0xBB67AE8584CAA73Bull;
    }
    return {{c0, c1, c2, c3}};
}

// Sort keys of a shuffle: random bits above `shift`, the row number below.  A thread makes four.
extern "C" __global__ void shuffle_keys(unsigned long long seed, unsigned long long epoch, long long n, int shift,
                                        unsigned long long* keys) {
    const long long block = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (block * 4 >= n) return;
    const Block random = philox(seed, SHUFFLE, block, epoch, 0, 0);
    for (int i = 0; i < 4 && block * 4 + i < n; ++i)
        keys[block * 4 + i] = random.word[i] >> shift << shift | (uint64)(block * 4 + i);
}

// The row numbers of sorted keys.
extern "C" __global__ void rows_of_keys(const unsigned long long* keys, long long n, int shift, long long* order) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) order[i] = (long long)(keys[i] & ((1ull << shift) - 1));
}
