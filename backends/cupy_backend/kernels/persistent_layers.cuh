// The persistent kernel (persistent.cuh): what a step of several hidden layers has besides.
//
// The blocks share out the units of the first hidden layer, as they do if it is the only one.  Layer 2 is divided by
// its inputs: a block has the rows of W2 that belong to its units, and computes what they contribute to z of layer 2.
// From the sum over the blocks on, all blocks compute the same: they have all weights of the layers 3, 4 and so on, and
// each updates them alike, as b2.  The whole backward pass needs no other block.
//
// Why not divide layer 2 by its units?  Then a block would need the outputs of all units of layer 1, batch * N_HIDDEN
// numbers; in the backward pass, from each block what its units contribute to the gradients of those outputs, as many
// numbers again; and the exchange of the logits, as now.  That is two exchanges more than with one hidden layer, each a
// wait for the slowest block.  Here it is none or one:
//
//   BY_OWNERS false   each block sends its shares of z of layer 2 to all blocks: one exchange in a step, in which a
//                     block receives BLOCKS * batch * N_SECOND numbers, and has room for twice as many.
//   BY_OWNERS true    each block adds up the shares of the entries that it owns, and sends the sums to all blocks: two
//                     exchanges, in which it receives 2 * batch * N_SECOND numbers, and has room for as many.
//
// `tilings.py` chooses.  What all blocks compute alike is small if the layers above the first are, which is the usual
// form of a network; it also says for which network that takes too long.

namespace persistent {

// Entries of a product that a thread computes at once: the more, the fewer numbers it reads for each; but at least half
// of the threads are to have some.
template <int ROWS, int COLUMNS>
struct Tile {
    static const int MOST = ROWS * COLUMNS / (BLOCK_THREADS / 2);
    static const int HEIGHT = MOST >= 8 ? 4 : MOST >= 2 ? 2 : 1, WIDTH = MOST >= 16 ? 4 : MOST >= 4 ? 2 : 1;
    static const int COUNT = ((ROWS + HEIGHT - 1) / HEIGHT) * ((COLUMNS + WIDTH - 1) / WIDTH);
    static const int WHOLE_WARPS = (COUNT + 31) / 32 * 32;
};

struct Layers : Step {
    DEVICE Layers(const Arguments& arguments, unsigned char* shared) : Step(arguments, shared) {}

    // Number of this thread if work begins with that thread to which `work` before it has come: all have equally much.
    DEVICE int thread_after(int work) const {
        int t = this->t;
        recompute(t);
        const int number = t - work % BLOCK_THREADS;
        return number < 0 ? number + BLOCK_THREADS : number;
    }

    DEVICE int own_rank() const {
        int rank = this->rank;
        recompute(rank);
        return rank;
    }

    // Calls write(i, j, sum over k of x[i * XI + k * XK] * y[k * YK + j * YJ]) for i < rows <= ROWS and j < COLUMNS.
    // Thread FIRST begins.
    template <int ROWS, int COLUMNS, int XI, int XK, int YK, int YJ, int FIRST = 0, class Write>
    DEVICE void products(int rows, int terms, const REAL* x, const REAL* y, Write write) const {
        const int height = Tile<ROWS, COLUMNS>::HEIGHT, width = Tile<ROWS, COLUMNS>::WIDTH;
        const int down = (rows + height - 1) / height, across = (COLUMNS + width - 1) / width;
        for (int q = thread_after(FIRST); q < down * across; q += BLOCK_THREADS) {
            const REAL *xs[height], *ys[width];
            REAL sums[height][width];
#pragma unroll
            for (int r = 0; r < height; ++r) {
                const int i = q / across + r * down;
                xs[r] = x + (i < rows ? i : rows - 1) * XI;
#pragma unroll
                for (int c = 0; c < width; ++c) sums[r][c] = REAL(0);
            }
#pragma unroll
            for (int c = 0; c < width; ++c) {
                const int j = q % across + c * across;
                ys[c] = y + (j < COLUMNS ? j : COLUMNS - 1) * YJ;
            }
#pragma unroll 4
            for (int k = 0; k < terms; ++k)
#pragma unroll
                for (int r = 0; r < height; ++r)
#pragma unroll
                    for (int c = 0; c < width; ++c) sums[r][c] += xs[r][k * XK] * ys[c][k * YK];
#pragma unroll
            for (int r = 0; r < height; ++r)
#pragma unroll
                for (int c = 0; c < width; ++c) {
                    const int i = q / across + r * down, j = q % across + c * across;
                    if (i < rows && j < COLUMNS) write(i, j, sums[r][c]);
                }
        }
    }

    // -- the exchange -------------------------------------------------------------------------------------------------

    // Entries of z of layer 2 that this block adds up, of a batch of n rows.
    DEVICE int owned(int n) const {
        const int left = n * N_SECOND - own_rank() * OWNED;
        return left < 0 ? 0 : left < OWNED ? left : OWNED;
    }

    // What this block's units contribute to z of layer 2, to all blocks or to the owner of each entry.
    DEVICE void send_shares(int part, int n) {
        const int entry_bytes = (BY_OWNERS ? 1 : BLOCKS) * (int)sizeof(REAL);
        if (t == 0) {
            expect(part, n * N_SECOND * entry_bytes + (sends_weights(part) ? BLOCKS * 16 : 0));
            if (BY_OWNERS) expect_owned(BLOCKS * owned(n) * (int)sizeof(REAL));
        }
        products<PART_ROWS, N_SECOND, PADDED_UNITS, 1, STRIDE2, 1>(
            n, PADDED_UNITS, reals(AT_OUTPUT), reals(AT_W2), [=](int row, int unit, REAL share) {
                const int q = row * N_SECOND + unit;
                if (BY_OWNERS) {
                    send_to_owner(part, reals(AT_SHARES) + own_rank() * OWNED + q % OWNED, q / OWNED, share);
                    return;
                }
                send(part, this->share(part, own_rank(), q), share);
            });
        send_weights(part);
    }

    // The sums of the shares that this block has received, to all blocks.
    template <int LAYER>
    DEVICE void send_sums(int part, int n) {
        typedef Layer<LAYER> Own;
        const int count = owned(n);
        for (int i = thread_after(0); i < count; i += BLOCK_THREADS) {
            REAL z = REAL(0);
#pragma unroll BLOCKS_AT_ONCE
            for (int block = 0; block < BLOCKS; ++block) z += reals(AT_SHARES)[block * OWNED + i];
            const int q = own_rank() * OWNED + i, place = q / Own::N * Own::STRIDE + q % Own::N;
            send(part, reals(Own::SAVED) + place, z);
        }
    }

    // -- forward ------------------------------------------------------------------------------------------------------

    // The outputs of the hidden layers from LAYER on.
    template <int LAYER>
    DEVICE void forward(int part, int n) {
        typedef Layer<LAYER> Own;
        if constexpr (LAYER == 2) {
            for (int q = thread_after(0); q < n * Own::N; q += BLOCK_THREADS) {
                const int row = q / Own::N, unit = q % Own::N;
                REAL z = REAL(0);
                if (BY_OWNERS) z = reals(Own::SAVED)[row * Own::STRIDE + unit];
#pragma unroll BLOCKS_AT_ONCE
                for (int block = 0; !BY_OWNERS && block < BLOCKS; ++block) z += *share(part, block, q);
                activate_unit<LAYER>(part, row, unit, z);
            }
        } else {
            typedef Layer<LAYER - 1> Below;
            products<PART_ROWS, Own::N, Below::STRIDE, 1, Own::W_STRIDE, 1>(
                n, Own::BELOW, reals(Below::OUTPUT), reals(Own::W),
                [=](int row, int unit, REAL z) { activate_unit<LAYER>(part, row, unit, z); });
        }
        __syncthreads();
        if constexpr (LAYER < HIDDEN_LAYERS) forward<LAYER + 1>(part, n);
    }

    template <int LAYER>
    DEVICE void activate_unit(int part, int row, int unit, REAL z) const {
        typedef Layer<LAYER> Own;
        z += reals(Own::B)[unit];
        const REAL y = Own::Activation::forward(z);
        reals(Own::SAVED)[row * Own::STRIDE + unit] = Own::Activation::SAVES_Z ? z : y;
        reals(Own::OUTPUT)[row * Own::STRIDE + unit] = dropped<LAYER>(part, row, unit, y);
    }

    // -- backward -----------------------------------------------------------------------------------------------------

    // Adds what a part of the batch contributes to a sum; the first part begins it.
    DEVICE static void add(int part, REAL& sum, REAL value) { sum = begins_batch(part) ? value : sum + value; }

    // From LAYER down to 3: the gradients of its weights, and of z of the layer below.
    template <int LAYER>
    DEVICE void backward(int part, int n) {
        typedef Layer<LAYER> Own;
        typedef Layer<LAYER - 1> Below;
        const REAL* const delta = reals(Own::DELTA);
        products<Own::BELOW, Own::N, 1, Below::STRIDE, Own::STRIDE, 1>(
            Own::BELOW, n, reals(Below::OUTPUT), delta,
            [=](int below, int unit, REAL g) { add(part, reals(Own::GRADIENT)[below * Own::W_STRIDE + unit], g); });
        products<PART_ROWS, Own::BELOW, Own::STRIDE, 1, 1, Own::W_STRIDE, Tile<Own::BELOW, Own::N>::WHOLE_WARPS>(
            n, Own::N, delta, reals(Own::W), [=](int row, int unit, REAL d) {
                const int place = row * Below::STRIDE + unit;
                d = dropped<LAYER - 1>(part, row, unit, d);
                reals(Below::DELTA)[place] = Below::Activation::backward(d, reals(Below::SAVED)[place]);
            });
        __syncthreads();
        if constexpr (LAYER > 3) backward<LAYER - 1>(part, n);
    }

    // The gradients of W2 and of z of layer 1: those of this block's units.
    DEVICE void gradients_below(int part, int n) {
        const REAL* const delta2 = reals(AT_DELTA2);
        products<PADDED_UNITS, N_SECOND, 1, PADDED_UNITS, STRIDE2, 1>(
            PADDED_UNITS, n, reals(AT_OUTPUT), delta2,
            [=](int unit, int o, REAL g) { add(part, reals(AT_GRADIENT2)[unit * STRIDE2 + o], g); });
        products<PART_ROWS, PADDED_UNITS, STRIDE2, 1, 1, STRIDE2, Tile<PADDED_UNITS, N_SECOND>::WHOLE_WARPS>(
            n, N_SECOND, delta2, reals(AT_W2), [=](int row, int unit, REAL d) {
                if (HIDDEN_DROPOUT) d = keeps(part, row, unit) ? d * a.hidden_dropout.scale : REAL(0);
                d = Activation1::backward(d, reals(AT_SAVED)[row * PADDED_UNITS + unit]);
                reals(AT_DELTA1)[row * PADDED_UNITS + unit] = d;
            });
    }

    // The gradient of a bias of LAYER: of this part, or of the batch up to this part.
    template <int LAYER>
    DEVICE REAL bias_gradient_of(int part, int n, int unit) const {
        typedef Layer<LAYER> Own;
        REAL g = begins_batch(part) ? REAL(0) : reals(Own::GRADIENT_BIASES)[unit];
#pragma unroll 8
        for (int row = 0; row < n; ++row) g += reals(Own::DELTA)[row * Own::STRIDE + unit];
        return g;
    }

    // Keeps those of a part that is not the last.
    template <int LAYER>
    DEVICE void keep_bias_gradients_of(int part, int n) {
        typedef Layer<LAYER> Own;
        // the thread that will need it: see `update_of`
        for (int unit = thread_after(Own::PLACE + Own::BELOW * Own::W_STRIDE); unit < Own::N; unit += BLOCK_THREADS)
            reals(Own::GRADIENT_BIASES)[unit] = bias_gradient_of<LAYER>(part, n, unit);
        if constexpr (LAYER <= HIDDEN_LAYERS) keep_bias_gradients_of<LAYER + 1>(part, n);
    }

    // -- update -------------------------------------------------------------------------------------------------------

    // The parameters of the layers from LAYER on, in each block; their gradients count once in the norm.
    template <int LAYER, bool MEASURES>
    DEVICE void update_of(int part, int n) {
        typedef Layer<LAYER> Own;
        if (MEASURES && own_rank()) return;
        const REAL* const scalars = scalars_of(batch_of(part));
        const double penalty = PENALIZED ? l2(batch_of(part)) : 0;
        const int weights = Own::BELOW * Own::W_STRIDE;
        for (int q = thread_after(Own::PLACE); q < weights; q += BLOCK_THREADS) {
            if (q % Own::W_STRIDE >= Own::N) continue;
            const REAL g = reals(Own::GRADIENT)[q];
            change<MEASURES>(reals(Own::W)[q], g, Own::PLACE + q, true, scalars, penalty, !own_rank());
        }
        for (int unit = thread_after(Own::PLACE + weights); unit < Own::N; unit += BLOCK_THREADS) {
            const REAL g = bias_gradient_of<LAYER>(part, n, unit);
            change<MEASURES>(reals(Own::B)[unit], g, Own::PLACE + weights + unit, false, scalars, penalty);
        }
        if constexpr (LAYER <= HIDDEN_LAYERS) update_of<LAYER + 1, MEASURES>(part, n);
    }
};

}  // namespace persistent
