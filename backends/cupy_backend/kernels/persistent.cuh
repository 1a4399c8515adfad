// Many training steps of a network with one hidden layer in one launch; the parameters stay on the chip meanwhile.
//
// One cluster of BLOCKS blocks trains the network.  The hidden units are shared out: a block has UNITS of them, with
// their columns of W1 (in registers), their biases and rows of W2, and all that the update rule remembers of these (in
// shared memory).  b2 is in every block, and each updates it alike.  So the first layer and the whole backward pass need
// no other block.  What is exchanged is the logits: each block computes what its units contribute to them, and sends
// it to all blocks.  From there on all blocks compute the same loss and the same gradient of the logits, bit for bit.
//
//   partial_sums     of z1 = x @ W1: those of the inputs that a warp has
//   activate         z1 and the output of the hidden units
//   send_logits      what this block's units contribute to the logits, to all blocks
//   evaluate_loss    the logits, their loss and gradient
//   gradients        of W2 and of z1
//   update           the gradient of W1, in the threads that have the weights, and the update of all parameters
//
// A thread has four inputs of each of QUADS_OF_THREAD quads, and UNITS_OF_THREAD units: GROUP_THREADS threads share the
// quads of a group of units.  Units and inputs that only fill up a group have weights of zero, which are never updated.
//
// The arithmetic is that of `step.cuh`; sums over inputs, rows and blocks have a fixed order.
//
// Fixed when compiled: the sizes, the types REAL, SOURCE (of X) and TARGET, and the places AT_... in shared memory.
// `persistent_source.py` writes them before this file, and explains them.

namespace persistent {

struct alignas(16) Bytes16 {
    unsigned char value[16];
};
template <class T>
struct alignas(sizeof(T) == 1 ? 4 : 16) Quad {
    T value[4];
};

struct Arguments {
    long long* words;
    const long long *X_order, *order;  // row of X, and of target and weight, for each row of the epoch
    const SOURCE* X;
    long long X_stride;
    const TARGET* target;
    const REAL* weight;
    const double *normalizers, *l2;
    const REAL* scalars;  // of each batch: the factor of the weight decay, then those of the rule
    double* losses;
    REAL *params, *state;
    int n_rows, count;
    REAL x_factor;  // of the inputs; sums and gradients are multiplied by it, not each input
    step::LossSettings<REAL> loss;
    double loss_factor, l1, clip_norm;
    REAL clip_value;
    step::Dropout<REAL> input_dropout, hidden_dropout;
};

const int WEIGHTS1 = N_IN * N_HIDDEN, WEIGHTS = WEIGHTS1 + N_HIDDEN * N_OUT, PARAMETERS = WEIGHTS + N_HIDDEN + N_OUT;
const int WEIGHTS_OF_THREAD = QUADS_OF_THREAD * 4 * UNITS_OF_THREAD;
const int OTHERS = PADDED_UNITS * N_OUT + PADDED_UNITS + N_OUT;  // W2, b1 and b2 of a block
const int REMEMBERED = WEIGHTS_OF_THREAD * BLOCK_THREADS + OTHERS;  // entries of each state variable of the rule
const int INPUT_GROUPS = (N_IN + 7) / 8, HIDDEN_GROUPS = (N_HIDDEN + 7) / 8;  // that share a block of random numbers
const int SCALARS = 1 + Rule::SCALARS, BLOCK_WARPS = BLOCK_THREADS / 32, LOGITS = BATCH_ROWS * N_OUT;

// Adds up COUNT values over the lanes of a warp; each lane keeps COUNT / 32 sums, from number lane * COUNT / 32 on.
template <int COUNT, int DISTANCE>
struct WarpSums {
    static DEVICE void run(REAL* values, int lane) {
        const bool upper = lane & DISTANCE;
#pragma unroll
        for (int i = 0; i < COUNT / 2; ++i) {
            const REAL low = values[i], high = values[i + COUNT / 2];
            values[i] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, DISTANCE);
        }
        WarpSums<COUNT / 2, DISTANCE / 2>::run(values, lane);
    }
};
template <int COUNT>
struct WarpSums<COUNT, 0> {
    static DEVICE void run(REAL*, int) {}
};

DEVICE double sum_over_warp(double value) {
    for (int distance = 16; distance; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}

// One thread's part of the training.
struct Thread {
    const Arguments& a;
    unsigned char* const memory;
    const int t, rank, lane, group, slice;
    const int first;  // batch of this launch
    double squares, sizes;  // sums over weights, for the penalties
    double norm;            // sum of the squares of gradients
    REAL norm_factor;
    REAL w[QUADS_OF_THREAD][4][UNITS_OF_THREAD];

    DEVICE Thread(const Arguments& arguments, unsigned char* shared)
        : a(arguments), memory(shared), t(threadIdx.x), rank(cluster_rank()), lane(t % 32), group(t / GROUP_THREADS),
          slice(t % GROUP_THREADS), first((int)a.words[NEXT_BATCH]), squares(0), sizes(0), norm(0), norm_factor(1) {}

    template <class T>
    DEVICE T* at(int place) const {
        return (T*)(memory + place);
    }
    DEVICE REAL* reals(int place) const { return at<REAL>(place); }

    DEVICE int rows_of(int batch) const {
        const int left = a.n_rows - batch * BATCH_ROWS;
        return left < BATCH_ROWS ? left : BATCH_ROWS;
    }
    DEVICE bool is_unit(int unit) const { return unit < UNITS && rank * UNITS + unit < N_HIDDEN; }
    DEVICE unsigned long long* mbarrier(int batch) const { return at<unsigned long long>(AT_MBARRIERS) + (batch & 1); }
    DEVICE const REAL* scalars_of(int batch) const { return reals(AT_SCALARS) + (batch & 1) * SCALARS; }
    DEVICE double normalizer(int batch) const { return at<double>(AT_NORMALIZERS)[batch & 1]; }
    DEVICE double l2(int batch) const { return at<double>(AT_L2)[batch & 1]; }

    // Calls f(parameter, its place in the state, its place in the flat buffer) for all parameters that this thread has.
    template <class F>
    DEVICE void for_parameters(F f) {
        int t = this->t;
        recompute(t);  // or the places would be in registers from the beginning of the launch to its end
        const int group = t / GROUP_THREADS, slice = t % GROUP_THREADS;
#pragma unroll
        for (int i = 0; i < QUADS_OF_THREAD; ++i)
#pragma unroll
            for (int c = 0; c < 4; ++c)
#pragma unroll
                for (int j = 0; j < UNITS_OF_THREAD; ++j) {
                    const int k = (slice + i * GROUP_THREADS) * 4 + c, unit = group * UNITS_OF_THREAD + j;
                    const int number = (i * 4 + c) * UNITS_OF_THREAD + j;
                    const bool exists = k < N_IN && is_unit(unit);
                    f(w[i][c][j], number * BLOCK_THREADS + t, exists ? k * N_HIDDEN + rank * UNITS + unit : -1);
                }
        const int others = WEIGHTS_OF_THREAD * BLOCK_THREADS;
        for (int q = t; q < PADDED_UNITS * N_OUT; q += BLOCK_THREADS) {
            const int unit = q / N_OUT, hidden = rank * UNITS + unit;
            f(reals(AT_W2)[q], others + q, is_unit(unit) ? WEIGHTS1 + hidden * N_OUT + q % N_OUT : -1);
        }
        for (int unit = t; unit < PADDED_UNITS; unit += BLOCK_THREADS)
            f(reals(AT_B1)[unit], others + PADDED_UNITS * N_OUT + unit, is_unit(unit) ? WEIGHTS + rank * UNITS + unit : -1);
        for (int o = t; o < N_OUT; o += BLOCK_THREADS)
            f(reals(AT_B2)[o], others + PADDED_UNITS * N_OUT + PADDED_UNITS + o, WEIGHTS + N_HIDDEN + o);
    }

    DEVICE void load() {
        for_parameters([=](REAL& p, int place, int flat) {
            p = flat < 0 ? REAL(0) : a.params[flat];
            for (int s = 0; s < Rule::STATES; ++s)
                reals(AT_STATE)[s * REMEMBERED + place] = flat < 0 ? REAL(0) : a.state[(long long)s * PARAMETERS + flat];
        });
    }

    // Each place is written by one block: all have the same b2, and the first writes it.
    DEVICE void store() {
        for_parameters([=](REAL& p, int place, int flat) {
            if (flat < 0 || (flat >= WEIGHTS + N_HIDDEN && rank)) return;
            a.params[flat] = p;
            for (int s = 0; s < Rule::STATES; ++s)
                a.state[(long long)s * PARAMETERS + flat] = reals(AT_STATE)[s * REMEMBERED + place];
        });
    }

    // -- copies for a later batch ---------------------------------------------------------------------------------

    DEVICE void fetch_order(int batch) {
        const int slot = batch % 3 * BATCH_ROWS, n = rows_of(batch);
        for (int row = t; row < n; row += BLOCK_THREADS) {
            copy_async<8>(at<long long>(AT_X_ORDER) + slot + row, a.X_order + batch * BATCH_ROWS + row);
            copy_async<8>(at<long long>(AT_ORDER) + slot + row, a.order + batch * BATCH_ROWS + row);
        }
    }

    DEVICE unsigned char* rows_in_memory(int batch) const {
        return memory + AT_X + (X_BUFFERS == 2 ? (batch & 1) * TALL * ROW_BYTES : 0);
    }

    DEVICE void fetch_rows(int batch) {
        const int n = rows_of(batch);
        const long long* const rows = at<long long>(AT_X_ORDER) + batch % 3 * BATCH_ROWS;
        for (int q = t; q < n * PIECES; q += BLOCK_THREADS)
            copy_async<PIECE>(rows_in_memory(batch) + q / PIECES * ROW_BYTES + q % PIECES * PIECE,
                              (const unsigned char*)(a.X + rows[q / PIECES] * a.X_stride) + q % PIECES * PIECE);
    }

    // Targets, weights of the rows, and the numbers of the batch.
    DEVICE void fetch_numbers(int batch) {
        const int width = CLASS_NUMBERS ? 1 : N_OUT, side = batch & 1, n = rows_of(batch);
        const long long* const rows = at<long long>(AT_ORDER) + batch % 3 * BATCH_ROWS;
        for (int q = t; q < n * width; q += BLOCK_THREADS)
            copy_async<sizeof(TARGET)>(at<TARGET>(AT_TARGET) + side * BATCH_ROWS * width + q,
                                       a.target + rows[q / width] * width + q % width);
        for (int row = t; WEIGHTED && row < n; row += BLOCK_THREADS)
            copy_async<sizeof(REAL)>(reals(AT_WEIGHT) + side * BATCH_ROWS + row, a.weight + rows[row]);
        for (int i = t; i < SCALARS; i += BLOCK_THREADS)
            copy_async<sizeof(REAL)>(reals(AT_SCALARS) + side * SCALARS + i, a.scalars + batch * SCALARS + i);
        if (t == 0) {
            copy_async<8>(at<double>(AT_NORMALIZERS) + side, a.normalizers + batch);
            copy_async<8>(at<double>(AT_L2) + side, a.l2 + batch);
        }
    }

    // The bits of the units that dropout keeps.
    DEVICE void draw_masks(int batch) {
        const int side = batch & 1, n = rows_of(batch);
        for (int q = t; INPUT_DROPOUT && q < n * INPUT_GROUPS; q += BLOCK_THREADS)
            memory[AT_KEPT_INPUTS + side * BATCH_ROWS * INPUT_GROUPS + q] = (unsigned char)step::kept_units(
                a.words, batch, q / INPUT_GROUPS, INPUT_GROUPS, q % INPUT_GROUPS, a.input_dropout);
        for (int q = t; HIDDEN_DROPOUT && q < n * OWN_GROUPS; q += BLOCK_THREADS)
            memory[AT_KEPT_HIDDEN + side * BATCH_ROWS * OWN_GROUPS + q] = (unsigned char)step::kept_units(
                a.words, batch, q / OWN_GROUPS, HIDDEN_GROUPS, rank * UNITS / 8 + q % OWN_GROUPS, a.hidden_dropout);
    }

    DEVICE bool keeps(int batch, int row, int unit) const {
        const int hidden = rank * UNITS + unit, own = hidden / 8 - rank * UNITS / 8;
        return memory[AT_KEPT_HIDDEN + ((batch & 1) * BATCH_ROWS + row) * OWN_GROUPS + own] >> hidden % 8 & 1;
    }

    // -- a step -----------------------------------------------------------------------------------------------------

    // Four inputs of a row, without `x_factor`.
    DEVICE Quad<REAL> inputs(int batch, int row, int n, int quad) const {
        const SOURCE* from;
        if (X_BUFFERS) {
            from = (const SOURCE*)(rows_in_memory(batch) + row * ROW_BYTES);
        } else {  // the sums of rows behind the last are not used
            from = a.X + (at<long long>(AT_X_ORDER) + batch % 3 * BATCH_ROWS)[row < n ? row : n - 1] * a.X_stride;
        }
        const Quad<SOURCE> source = ((const Quad<SOURCE>*)from)[quad];
        unsigned int kept = 15;
        if (INPUT_DROPOUT)
            kept = memory[AT_KEPT_INPUTS + ((batch & 1) * BATCH_ROWS + (row < n ? row : n - 1)) * INPUT_GROUPS + quad / 2] >>
                   quad % 2 * 4;
        Quad<REAL> x;
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            x.value[c] = REAL(source.value[c]);
            if (N_IN % 4 && quad * 4 + c >= N_IN) x.value[c] = REAL(0);  // what is there belongs to something else
            if (INPUT_DROPOUT && !(kept >> c & 1)) x.value[c] = REAL(0);
        }
        return x;
    }

    DEVICE void partial_sums(int batch, int n) {
        const int sums_of_lane = TILE_ROWS * UNITS_OF_THREAD / 32;
#pragma unroll 1
        for (int row = 0; row < n; row += TILE_ROWS) {
            REAL sums[TILE_ROWS * UNITS_OF_THREAD];
#pragma unroll
            for (int i = 0; i < TILE_ROWS * UNITS_OF_THREAD; ++i) sums[i] = REAL(0);
#pragma unroll
            for (int i = 0; i < QUADS_OF_THREAD; ++i) {
                const int quad = slice + i * GROUP_THREADS;
                if (quad < QUADS) {
#pragma unroll
                    for (int r = 0; r < TILE_ROWS; ++r) {
                        const Quad<REAL> x = inputs(batch, row + r, n, quad);
#pragma unroll
                        for (int c = 0; c < 4; ++c)
#pragma unroll
                            for (int j = 0; j < UNITS_OF_THREAD; ++j)
                                sums[r * UNITS_OF_THREAD + j] += x.value[c] * w[i][c][j];
                    }
                }
            }
            WarpSums<TILE_ROWS * UNITS_OF_THREAD, 16>::run(sums, lane);
#pragma unroll
            for (int i = 0; i < sums_of_lane; ++i) {
                const int number = lane * sums_of_lane + i, tall = slice / 32 * TALL + row + number / UNITS_OF_THREAD;
                reals(AT_PARTIAL)[tall * PADDED_UNITS + group * UNITS_OF_THREAD + number % UNITS_OF_THREAD] = sums[i];
            }
        }
    }

    DEVICE void activate(int batch, int n) {
        for (int q = t; q < n * PADDED_UNITS; q += BLOCK_THREADS) {
            const int row = q / PADDED_UNITS, unit = q % PADDED_UNITS;
            REAL z = REAL(0);
#pragma unroll
            for (int warp = 0; warp < GROUP_THREADS / 32; ++warp) z += reals(AT_PARTIAL)[warp * TALL * PADDED_UNITS + q];
            if (SCALED) z *= a.x_factor;
            z += reals(AT_B1)[unit];
            REAL y = Activation1::forward(z);
            reals(AT_SAVED)[q] = Activation1::SAVES_Z ? z : y;
            if (HIDDEN_DROPOUT) y = keeps(batch, row, unit) ? y * a.hidden_dropout.scale : REAL(0);
            reals(AT_OUTPUT)[q] = is_unit(unit) ? y : REAL(0);
        }
    }

    DEVICE void send_logits(int batch, int n) {
        const int side = batch & 1;
        if (t == 0)
            mbarrier_expect(mbarrier(batch), BLOCKS * (n * N_OUT * (int)sizeof(REAL) + (PENALIZED ? 16 : 0)));
        for (int q = t; q < n * N_OUT; q += BLOCK_THREADS) {
            const int row = q / N_OUT, o = q % N_OUT;
            REAL share = REAL(0);
#pragma unroll
            for (int unit = 0; unit < PADDED_UNITS; ++unit)
                share += reals(AT_OUTPUT)[row * PADDED_UNITS + unit] * reals(AT_W2)[unit * N_OUT + o];
#pragma unroll
            for (int to = 0; to < BLOCKS; ++to)
                store_async(reals(AT_SHARES) + (side * BLOCKS + rank) * LOGITS + q, to, share, mbarrier(batch));
        }
        if (PENALIZED && t < 2) {  // sums of squares, and of absolute values
            double sum = 0;
            for (int warp = 0; warp < BLOCK_WARPS; ++warp) sum += at<double>(AT_WARP_WEIGHTS)[warp * 2 + t];
            for (int to = 0; to < BLOCKS; ++to)
                store_async(at<double>(AT_BLOCK_WEIGHTS) + (side * BLOCKS + rank) * 2 + t, to, sum, mbarrier(batch));
        }
    }

    // LANES threads of a warp share a row, as in `step::loss_rows`.
    DEVICE void evaluate_loss(int batch, int n) {
        const int side = batch & 1, row_lane = t % LANES;
        const double total = normalizer(batch);
        const TARGET* const target = at<TARGET>(AT_TARGET) + side * BATCH_ROWS * (CLASS_NUMBERS ? 1 : N_OUT);
        double loss = 0;
        for (int begin = t / 32 * (32 / LANES); begin < n; begin += BLOCK_THREADS / LANES) {
            const int own = begin + lane / LANES, row = own < n ? own : n - 1;
            REAL* const logits = reals(AT_LOGITS) + row * N_OUT;
            for (int k = row_lane; own < n && k < N_OUT; k += LANES) {
                REAL sum = REAL(0);
#pragma unroll
                for (int block = 0; block < BLOCKS; ++block)
                    sum += reals(AT_SHARES)[(side * BLOCKS + block) * LOGITS + row * N_OUT + k];
                logits[k] = sum + reals(AT_B2)[k];
            }
            __syncwarp();  // the lanes of a row read each other's logits
            REAL share = total > 0 ? REAL(1 / total) : REAL(0);
            if (WEIGHTED) share = reals(AT_WEIGHT)[side * BATCH_ROWS + row] / (total > 0 ? REAL(total) : REAL(1));
            REAL* const delta = reals(AT_DELTA) + row * N_OUT;
            auto z = [=](int k) -> REAL { return logits[k]; };
            auto wanted = [=](int k) -> REAL {
                return step::target_entry<REAL>(target, row, N_OUT, k) * a.loss.keep + a.loss.add;
            };
            auto write = [=, &loss](int k, REAL value, REAL slope) {
                if (own >= n) return;
                if (share == REAL(0)) value = slope = REAL(0);  // also where they are infinite
                loss += (double)(np::minimum<REAL>(value, a.loss.ceiling) * share);
                delta[k] = slope * (share * a.loss.delta_factor);
            };
            Loss::template rows<REAL>(Row<LANES>{N_OUT, row_lane}, z, wanted, write);
        }
        loss = sum_over_warp(loss);
        if (lane == 0) at<double>(AT_WARP_LOSSES)[t / 32] = loss;
    }

    // The loss of the batch with its penalties: the same in every thread of every block.
    DEVICE double total_loss(int batch) const {
        double loss = 0, sums[2] = {0, 0};
        for (int warp = 0; warp < BLOCK_WARPS; ++warp) loss += at<double>(AT_WARP_LOSSES)[warp];
        loss *= a.loss_factor;
        for (int i = 0; PENALIZED && i < 2 * BLOCKS; ++i)
            sums[i % 2] += at<double>(AT_BLOCK_WEIGHTS)[(batch & 1) * BLOCKS * 2 + i];
        if (PENALIZED && l2(batch) != 0) loss += 0.5 * l2(batch) * sums[0];
        if (PENALIZED && a.l1 != 0) loss += a.l1 * sums[1];
        return loss;
    }

    DEVICE void gradients(int batch, int n) {
        const REAL *const delta = reals(AT_DELTA), *const output = reals(AT_OUTPUT), *const w2 = reals(AT_W2);
        for (int q = t; q < PADDED_UNITS * N_OUT + n * PADDED_UNITS; q += BLOCK_THREADS) {
            if (q < PADDED_UNITS * N_OUT) {
                const int unit = q / N_OUT, o = q % N_OUT;
                REAL g = REAL(0);
#pragma unroll 8
                for (int row = 0; row < n; ++row) g += output[row * PADDED_UNITS + unit] * delta[row * N_OUT + o];
                reals(AT_GRADIENT2)[q] = g;
                continue;
            }
            const int p = q - PADDED_UNITS * N_OUT, row = p / PADDED_UNITS, unit = p % PADDED_UNITS;
            REAL d = REAL(0);
#pragma unroll
            for (int o = 0; o < N_OUT; ++o) d += delta[row * N_OUT + o] * w2[unit * N_OUT + o];
            if (HIDDEN_DROPOUT) d = keeps(batch, row, unit) ? d * a.hidden_dropout.scale : REAL(0);
            d = Activation1::backward(d, reals(AT_SAVED)[p]);
            reals(AT_DELTA1)[p] = is_unit(unit) ? d : REAL(0);
        }
    }

    // Updates a parameter; if it MEASURES, adds the square of its gradient to `norm` instead.
    template <bool MEASURES>
    DEVICE void change(REAL& p, REAL g, int place, bool is_weight, const REAL* scalars, double l2) {
        if (PENALIZED && is_weight) {
            if (l2 != 0) g += REAL(l2) * p;
            if (a.l1 != 0) g += REAL(a.l1) * np::sign<REAL>(p);
        }
        if (CLIPPED) g = np::minimum<REAL>(np::maximum<REAL>(g, -a.clip_value), a.clip_value);
        if (MEASURES) {
            norm += (double)(g * g);
            return;
        }
        if (BY_NORM) g *= norm_factor;
        if (is_weight) p *= scalars[0];
        REAL states[Rule::STATES + 1];
#pragma unroll
        for (int s = 0; s < Rule::STATES; ++s) states[s] = reals(AT_STATE)[s * REMEMBERED + place];
        Rule::apply(p, g, states, scalars + 1);
#pragma unroll
        for (int s = 0; s < Rule::STATES; ++s) reals(AT_STATE)[s * REMEMBERED + place] = states[s];
        if (PENALIZED && is_weight) weigh(p);
    }

    template <bool MEASURES>
    DEVICE void update(int batch, int n) {
        REAL scalars[SCALARS];
#pragma unroll
        for (int i = 0; i < SCALARS; ++i) scalars[i] = scalars_of(batch)[i];
        const double penalty = PENALIZED ? l2(batch) : 0;
#pragma unroll
        for (int i = 0; i < QUADS_OF_THREAD; ++i) {
            const int quad = slice + i * GROUP_THREADS;
            if (quad < QUADS) update_quad<MEASURES>(batch, n, i, quad, scalars, penalty);
        }
        const REAL *const delta = reals(AT_DELTA), *const delta1 = reals(AT_DELTA1);
        const int others = WEIGHTS_OF_THREAD * BLOCK_THREADS, weights = PADDED_UNITS * N_OUT;
        for (int q = t; q < OTHERS; q += BLOCK_THREADS) {
            REAL g = REAL(0);
            if (q < weights) {
                if (is_unit(q / N_OUT))
                    change<MEASURES>(reals(AT_W2)[q], reals(AT_GRADIENT2)[q], others + q, true, scalars, penalty);
            } else if (q < weights + PADDED_UNITS) {
                const int unit = q - weights;
#pragma unroll 8
                for (int row = 0; row < n; ++row) g += delta1[row * PADDED_UNITS + unit];
                if (is_unit(unit)) change<MEASURES>(reals(AT_B1)[unit], g, others + q, false, scalars, penalty);
            } else if (!MEASURES || rank == 0) {  // in the norm, b2 counts once
                const int o = q - weights - PADDED_UNITS;
#pragma unroll 8
                for (int row = 0; row < n; ++row) g += delta[row * N_OUT + o];
                change<MEASURES>(reals(AT_B2)[o], g, others + q, false, scalars, penalty);
            }
        }
    }

    // The gradient of the weights of four inputs, and their update.
    template <bool MEASURES>
    DEVICE void update_quad(int batch, int n, int i, int quad, const REAL* scalars, double penalty) {
        REAL g[4][UNITS_OF_THREAD];
#pragma unroll
        for (int c = 0; c < 4; ++c)
#pragma unroll
            for (int j = 0; j < UNITS_OF_THREAD; ++j) g[c][j] = REAL(0);
#pragma unroll 2
        for (int row = 0; row < n; ++row) {
            const Quad<REAL> x = inputs(batch, row, n, quad);
#pragma unroll
            for (int j = 0; j < UNITS_OF_THREAD; j += 4) {
                const Quad<REAL> d =
                    *(const Quad<REAL>*)(reals(AT_DELTA1) + row * PADDED_UNITS + group * UNITS_OF_THREAD + j);
#pragma unroll
                for (int c = 0; c < 4; ++c)
#pragma unroll
                    for (int unit = 0; unit < 4; ++unit) g[c][j + unit] += x.value[c] * d.value[unit];
            }
        }
#pragma unroll
        for (int c = 0; c < 4; ++c)
#pragma unroll
            for (int j = 0; j < UNITS_OF_THREAD; ++j) {
                if (N_IN % 4 && quad * 4 + c >= N_IN) continue;
                if (!is_unit(group * UNITS_OF_THREAD + j)) continue;
                const int number = (i * 4 + c) * UNITS_OF_THREAD + j;
                const REAL gradient = SCALED ? g[c][j] * a.x_factor : g[c][j];
                change<MEASURES>(w[i][c][j], gradient, number * BLOCK_THREADS + t, true, scalars, penalty);
            }
    }

    // -- clipping by the norm -------------------------------------------------------------------------------------------

    // Leaves the sums of each warp for `send_norm`.
    DEVICE void publish_norm() {
        norm = sum_over_warp(norm);
        if (lane == 0) at<double>(AT_WARP_NORMS)[t / 32] = norm;
        norm = 0;
    }

    DEVICE void send_norm() {
        if (t) return;
        unsigned long long* const mbarrier = at<unsigned long long>(AT_MBARRIERS) + 2;
        mbarrier_expect(mbarrier, BLOCKS * 8);
        double sum = 0;
        for (int warp = 0; warp < BLOCK_WARPS; ++warp) sum += at<double>(AT_WARP_NORMS)[warp];
        for (int to = 0; to < BLOCKS; ++to) store_async(at<double>(AT_BLOCK_NORMS) + rank, to, sum, mbarrier);
    }

    DEVICE void read_norm() {
        double sum = 0;
        for (int block = 0; block < BLOCKS; ++block) sum += at<double>(AT_BLOCK_NORMS)[block];
        norm_factor = REAL(np::minimum<double>(a.clip_norm / (::sqrt(sum) + 1e-6), 1.0));
    }

    // -- penalties ----------------------------------------------------------------------------------------------------

    DEVICE void weigh(REAL p) {
        squares += (double)(p * p);
        sizes += (double)np::abs<REAL>(p);
    }

    // Leaves the sums of each warp for `send_logits` of the next step.
    DEVICE void publish_weights() {
        squares = sum_over_warp(squares), sizes = sum_over_warp(sizes);
        if (lane == 0) at<double>(AT_WARP_WEIGHTS)[t / 32 * 2] = squares;
        if (lane == 0) at<double>(AT_WARP_WEIGHTS)[t / 32 * 2 + 1] = sizes;
        squares = sizes = 0;
    }

    DEVICE void run();
};

// The steps of a launch.  What is said at each barrier: who wrote before it, who reads after it, and why what they read
// is not overwritten too early.
//
// Buffers with a side for even and one for odd batches are those that copies, masks and stores of other blocks fill ahead
// of time: rows, targets and numbers, masks, shares of the logits, mbarriers.  The row numbers, which are copied two
// batches ahead, have three slots.
DEVICE void Thread::run() {
    // Earlier launches wrote these words.  In this one a single thread writes to `words`, after the barrier of the cluster.
    const bool halt = a.words[HALT] != 0;
    int failed = (int)a.words[FAILED];
    if (halt && failed >= 0) return;  // the same in all blocks
    const int last = first + a.count;
    load();
    fetch_order(first);
    if (first + 1 < last) fetch_order(first + 1);
    copy_async_wait();
    __syncthreads();  // all threads have waited for their copies of row numbers, which any thread reads from here on
    if (X_BUFFERS) fetch_rows(first);
    fetch_numbers(first);
    draw_masks(first);
    if (PENALIZED) {
        for_parameters([=](REAL& p, int, int flat) {
            if (flat >= 0 && flat < WEIGHTS) weigh(p);
        });
        publish_weights();
    }
    copy_async_wait();
    if (t == 0) {
        for (int i = 0; i < 3; ++i) mbarrier_init(at<unsigned long long>(AT_MBARRIERS) + i, 1);
        fence_mbarrier_init();
    }
    // Within the block: the first rows, masks and parameters are in shared memory.  Between blocks: the mbarriers to which
    // they send exist, and all have read `words`.
    cluster_barrier();

    unsigned int norms = 0;  // that have been exchanged
    for (int batch = first; batch < last; ++batch) {
        const int n = rows_of(batch);
        // The copies go to the sides and the slot that step batch - 1 was the last to read; all threads have passed the
        // barrier at its end.
        if (batch + 2 < last) fetch_order(batch + 2);
        if (batch + 1 < last) {
            if (X_BUFFERS == 2) fetch_rows(batch + 1);
            fetch_numbers(batch + 1);
        }
        partial_sums(batch, n);
        // Any thread reads the partial sums of all warps.  They are written again in the next step.
        __syncthreads();
        activate(batch, n);
        // Any thread reads the outputs of all units.  They are written again in the next step.
        __syncthreads();
        // The shares of step batch go where those of batch - 2 were.  This block sends them after it has received all shares
        // of batch - 1.  Another block sent its own of these after the barrier at the end of its step batch - 2, so all its
        // threads had read the shares of that step, and the phase of its mbarrier had ended.  Shares may come before the
        // receiver expects them: its phase does not end before it does.
        send_logits(batch, n);
        if (batch + 1 < last) draw_masks(batch + 1);  // while the shares are on their way; read after the last barrier
        // This thread reads shares that all blocks, its own too, have sent.  It cannot miss the end of a later phase: no
        // block sends for batch + 2 before this one has sent for batch + 1, after the barrier at the end of this step.
        mbarrier_wait(mbarrier(batch), (batch - first) / 2 & 1);
        evaluate_loss(batch, n);
        // Any thread reads the gradient of the logits, and the sums of all warps.  They are written again in the next step.
        __syncthreads();
        const double loss = total_loss(batch);  // the same in all blocks, so all of them halt
        if (rank == 0 && t == 0) a.losses[batch] = loss;
        if (!step::is_finite(loss) && failed < 0) failed = batch;
        if (halt && failed >= 0) break;
        const bool updates = normalizer(batch) > 0;
        if (updates) gradients(batch, n);
        // Any thread reads the gradients of z1 and W2; and W2 and the biases, which others read before it, may change.
        __syncthreads();
        if (updates && BY_NORM) {
            update<true>(batch, n);
            publish_norm();
            // One thread reads the sums of all warps.  They are written again in the next step.
            __syncthreads();
            // The sums go where those of an earlier step were.  This block sends them after it has received all shares of
            // this step, which others sent after the barrier at the end of the step before.
            send_norm();
            mbarrier_wait(at<unsigned long long>(AT_MBARRIERS) + 2, norms++ & 1);
            read_norm();
        }
        if (updates) {
            update<false>(batch, n);
            if (PENALIZED) publish_weights();
        }
        if (X_BUFFERS == 1 && batch + 1 < last) {
            __syncthreads();  // no thread reads the rows of this batch any more
            fetch_rows(batch + 1);
        }
        copy_async_wait();
        // All that other threads copied for the next batch is there, and all parameters are updated.  What this step
        // read may be overwritten.
        __syncthreads();
    }
    copy_async_wait();  // if the loop was left early
    // The parameters and states that a thread stores are its own, but those in shared memory may have been changed by
    // others: before the barrier above, or not since they were loaded.
    store();
    if (rank == 0 && t == 0) {
        a.words[NEXT_BATCH] = last;
        if (failed >= 0) a.words[FAILED] = failed;
    }
    // A block may end before the others: what they were to send to it has come, since it waited for every step.
}

}  // namespace persistent
