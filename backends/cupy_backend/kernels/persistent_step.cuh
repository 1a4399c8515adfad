// The persistent kernel (persistent.cuh): the parts of a step.  Each reads what others have written before the last
// wait.

namespace persistent {

struct Step : Thread {
    double squares, sizes;  // sums over weights, for the penalties
    double norm;            // sum of the squares of gradients
    REAL norm_factor;

    DEVICE Step(const Arguments& arguments, unsigned char* shared)
        : Thread(arguments, shared), squares(0), sizes(0), norm(0), norm_factor(1) {}

    // The quads of this thread in a row, of which it needs every GROUP_THREADS-th.
    DEVICE const Quad<SOURCE>* row_of_thread(int batch, int row, int n) const {
        if (X_BUFFERS) return (const Quad<SOURCE>*)(rows_in_memory(batch) + row * ROW_BYTES) + slice;
        // the sums of rows behind the last are not used
        const long long own = (at<long long>(AT_X_ORDER) + slot_of(batch))[row < n ? row : n - 1];
        return (const Quad<SOURCE>*)(a.X + own * a.X_stride) + slice;
    }

    // Four inputs of a row, without `x_factor`.
    DEVICE Quad<REAL> inputs(const Quad<SOURCE>* place, int batch, int row, int n, int quad) const {
        const Quad<SOURCE> source = *place;
        unsigned int kept = 15;
        if (INPUT_DROPOUT)
            kept = kept_inputs(batch, row < n ? row : n - 1)[quad / 2] >> quad % 2 * 4;
        Quad<REAL> x;
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            x.value[c] = REAL(source.value[c]);
            if (N_IN % 4 && quad * 4 + c >= N_IN) x.value[c] = REAL(0);  // what is there belongs to something else
            if (INPUT_DROPOUT && !(kept >> c & 1)) x.value[c] = REAL(0);
        }
        return x;
    }

    // Whether a thread has inputs in its quad i.
    DEVICE bool has_quad(int i) const {
        return (i + 1) * GROUP_THREADS <= QUADS || slice + i * GROUP_THREADS < QUADS;
    }

    // The rows of a tile are not in the same order in all lanes: the first sums of a lane are those that it keeps when
    // the warp adds them up, so that no instruction has to choose.  Rows in shared memory are so far apart that
    // the lanes still read from different banks.
    DEVICE void partial_sums(int batch, int n) {
        if (!has_weights1()) return;
        const int first = X_BUFFERS ? lane / UNITS_OF_THREAD : 0;
        int offsets[TILE_ROWS];  // in shared memory, of the rows of a tile: row r ^ first is the one of number r
        offsets[0] = (int)(rows_in_memory(batch) - memory) + first * ROW_BYTES + slice * (int)sizeof(Quad<SOURCE>);
        recompute(offsets[0]);  // or each would be computed again for each tile
#pragma unroll
        for (int r = 1; r < TILE_ROWS; ++r) {
            const int bit = r & -r;
            offsets[r] = offsets[r - bit] + (first & bit ? -bit : bit) * ROW_BYTES;
            recompute(offsets[r]);
        }
        REAL* const to = reals(AT_PARTIAL) + (slice / 32 * TALL + lane / UNITS_OF_THREAD) * PADDED_UNITS +
                         group * UNITS_OF_THREAD + lane % UNITS_OF_THREAD;
#pragma unroll(UNROLLED_TILES)
        for (int row = 0; row < TALL; row += TILE_ROWS) {
            if (row >= n) break;
            REAL sums[TILE_ROWS * UNITS_OF_THREAD];
#pragma unroll
            for (int i = 0; i < TILE_ROWS * UNITS_OF_THREAD; ++i) sums[i] = REAL(0);
#pragma unroll
            for (int i = 0; i < QUADS_OF_THREAD; ++i) {
                if (has_quad(i)) {
#pragma unroll
                    for (int r = 0; r < TILE_ROWS; ++r) {
                        const int own = row + (r ^ first), quad = slice + i * GROUP_THREADS;
                        const Quad<SOURCE>* place = (const Quad<SOURCE>*)(memory + offsets[r] + row * ROW_BYTES);
                        if (!X_BUFFERS) place = row_of_thread(batch, own, n);
                        const Quad<REAL> x = inputs(place + i * GROUP_THREADS, batch, own, n, quad);
#pragma unroll
                        for (int c = 0; c < 4; ++c)
#pragma unroll
                            for (int j = 0; j < UNITS_OF_THREAD; ++j)
                                sums[r * UNITS_OF_THREAD + j] += x.value[c] * w[i][c][j];
                    }
                }
            }
            WarpSums<TILE_ROWS * UNITS_OF_THREAD, 16, X_BUFFERS ? UNITS_OF_THREAD : 32>::run(sums, lane);
            to[row * PADDED_UNITS] = sums[0];
        }
    }

    DEVICE void activate(int batch, int n) {
        for_each<BATCH_ROWS * PADDED_UNITS>(n * PADDED_UNITS, [&](int q) {
            const int row = q / PADDED_UNITS, unit = q % PADDED_UNITS;
            REAL z = REAL(0);
#pragma unroll
            for (int warp = 0; warp < GROUP_THREADS / 32; ++warp)
                z += reals(AT_PARTIAL)[warp * TALL * PADDED_UNITS + q];
            if (SCALED) z *= a.x_factor;
            z += reals(AT_B1)[unit];
            REAL y = Activation1::forward(z);
            reals(AT_SAVED)[q] = Activation1::SAVES_Z ? z : y;
            if (HIDDEN_DROPOUT) y = keeps(batch, row, unit) ? y * a.hidden_dropout.scale : REAL(0);
            reals(AT_OUTPUT)[q] = is_unit(unit) ? y : REAL(0);
        });
    }

    DEVICE void send_logits(int batch, int n) {
        const int side = batch & 1;
        if (t == 0)
            mbarrier_expect(mbarrier(batch), BLOCKS * (n * N_OUT * (int)sizeof(REAL) + (PENALIZED ? 16 : 0)));
        for_each<BATCH_ROWS * N_OUT>(n * N_OUT, [&](int q) {
            const int row = q / N_OUT, o = q % N_OUT;
            REAL share = REAL(0);
#pragma unroll 32
            for (int unit = 0; unit < PADDED_UNITS; ++unit)
                share += reals(AT_OUTPUT)[row * PADDED_UNITS + unit] * reals(AT_W2)[unit * N_OUT + o];
#pragma unroll
            for (int to = 0; to < BLOCKS; ++to)
                store_async(reals(AT_SHARES) + (side * BLOCKS + rank) * SHARES + q, to, share, mbarrier(batch));
        });
        send_weights(batch);
    }

    // For the penalties: sums of squares, and of absolute values.
    DEVICE void send_weights(int batch) {
        const int side = batch & 1;
        if (PENALIZED && t < 2) {
            double sum = 0;
            for (int warp = 0; warp < BLOCK_WARPS; ++warp) sum += at<double>(AT_WARP_WEIGHTS)[warp * 2 + t];
            for (int to = 0; to < BLOCKS; ++to)
                store_async(at<double>(AT_BLOCK_WEIGHTS) + (side * BLOCKS + rank) * 2 + t, to, sum, mbarrier(batch));
        }
    }

    // A logit: the sum of what all blocks have sent, or with several hidden layers a product of the last one's output.
    template <int LAYERS>
    DEVICE REAL logit(int side, int row, int k) const {
        REAL sum = REAL(0);
        if constexpr (LAYERS == 1) {
#pragma unroll
            for (int block = 0; block < BLOCKS; ++block)
                sum += reals(AT_SHARES)[(side * BLOCKS + block) * SHARES + row * N_OUT + k];
            return sum + reals(AT_B2)[k];
        } else {
            typedef Layer<LAYERS> Last;
            typedef Layer<LAYERS + 1> Output;
#pragma unroll 8
            for (int unit = 0; unit < Last::N; ++unit)
                sum += reals(Last::OUTPUT)[row * Last::STRIDE + unit] * reals(Output::W)[unit * Output::W_STRIDE + k];
            return sum + reals(Output::B)[k];
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
            for (int k = row_lane; own < n && k < N_OUT; k += LANES) logits[k] = logit<HIDDEN_LAYERS>(side, row, k);
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
        const int weights = PADDED_UNITS * N_OUT;
        for_each<weights + BATCH_ROWS * PADDED_UNITS>(weights + n * PADDED_UNITS, [&](int q) {
            if (q < weights) {
                const int unit = q / N_OUT, o = q % N_OUT;
                REAL g = REAL(0);
#pragma unroll 8
                for (int row = 0; row < n; ++row) g += output[row * PADDED_UNITS + unit] * delta[row * N_OUT + o];
                reals(AT_GRADIENT2)[q] = g;
                return;
            }
            const int p = q - weights, row = p / PADDED_UNITS, unit = p % PADDED_UNITS;
            REAL d = REAL(0);
#pragma unroll 32
            for (int o = 0; o < N_OUT; ++o) d += delta[row * N_OUT + o] * w2[unit * N_OUT + o];
            if (HIDDEN_DROPOUT) d = keeps(batch, row, unit) ? d * a.hidden_dropout.scale : REAL(0);
            d = Activation1::backward(d, reals(AT_SAVED)[p]);
            reals(AT_DELTA1)[p] = is_unit(unit) ? d : REAL(0);
        });
    }

    // Updates a parameter; if it MEASURES, adds the square of its gradient to `norm` instead.  What all blocks have
    // `counts` in the sums over weights in one of them.
    template <bool MEASURES>
    DEVICE void change(REAL& p, REAL g, int place, bool is_weight, const REAL* scalars, double l2, bool counts = true) {
        if (PENALIZED && is_weight) {
            if (l2 != 0) g += REAL(l2) * p;
            if (a.l1 != 0) g += REAL(a.l1) * np::sign<REAL>(p);
        }
        if (CLIPPED) g = clipped(g, a.clip_value);
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
        if (PENALIZED && is_weight && counts) weigh(p);
    }

    template <bool MEASURES>
    DEVICE void update(int batch, int n) {
        REAL scalars[SCALARS];
#pragma unroll
        for (int i = 0; i < SCALARS; ++i) scalars[i] = scalars_of(batch)[i];
        const double penalty = PENALIZED ? l2(batch) : 0;
#pragma unroll
        for (int i = 0; i < QUADS_OF_THREAD; ++i)
            if (has_weights1() && has_quad(i)) update_quad<MEASURES>(batch, n, i, scalars, penalty);
        const REAL *const delta2 = reals(AT_DELTA2), *const delta1 = reals(AT_DELTA1);
        const int others = WEIGHTS_OF_THREAD * BLOCK_THREADS, weights = PADDED_UNITS * STRIDE2;
        for_each<OTHERS>(OTHERS, [&](int q) {
            REAL g = REAL(0);
            if (q < weights) {
                if (is_weight2(q))
                    change<MEASURES>(reals(AT_W2)[q], reals(AT_GRADIENT2)[q], others + q, true, scalars, penalty);
            } else if (q < weights + PADDED_UNITS) {
                const int unit = q - weights;
#pragma unroll 8
                for (int row = 0; row < n; ++row) g += delta1[row * PADDED_UNITS + unit];
                if (is_unit(unit)) change<MEASURES>(reals(AT_B1)[unit], g, others + q, false, scalars, penalty);
            } else if (!MEASURES || rank == 0) {  // in the norm, b2 counts once
                const int o = q - weights - PADDED_UNITS;
#pragma unroll 8
                for (int row = 0; row < n; ++row) g += delta2[row * STRIDE2 + o];
                change<MEASURES>(reals(AT_B2)[o], g, others + q, false, scalars, penalty);
            }
        });
    }

    // The gradient of the weights of four inputs, and their update.
    template <bool MEASURES>
    DEVICE void update_quad(int batch, int n, int i, const REAL* scalars, double penalty) {
        const int quad = slice + i * GROUP_THREADS;
        const REAL* const delta1 = reals(AT_DELTA1) + group * UNITS_OF_THREAD;
        REAL g[4][UNITS_OF_THREAD];
#pragma unroll
        for (int c = 0; c < 4; ++c)
#pragma unroll
            for (int j = 0; j < UNITS_OF_THREAD; ++j) g[c][j] = REAL(0);
        auto add_row = [&](int row) {
            const Quad<REAL> x = inputs(row_of_thread(batch, row, n) + i * GROUP_THREADS, batch, row, n, quad);
#pragma unroll
            for (int j = 0; j < UNITS_OF_THREAD; j += 4) {
                const Quad<REAL> d = *(const Quad<REAL>*)(delta1 + row * PADDED_UNITS + j);
#pragma unroll
                for (int c = 0; c < 4; ++c)
#pragma unroll
                    for (int unit = 0; unit < 4; ++unit) g[c][j + unit] += x.value[c] * d.value[unit];
            }
        };
        if (n == BATCH_ROWS) {  // with a constant number of rows, their addresses are constants
#pragma unroll 2
            for (int row = 0; row < BATCH_ROWS; ++row) add_row(row);
        } else {
#pragma unroll 1
            for (int row = 0; row < n; ++row) add_row(row);
        }
        const REAL x_factor = a.x_factor;
#pragma unroll
        for (int c = 0; c < 4; ++c)
#pragma unroll
            for (int j = 0; j < UNITS_OF_THREAD; ++j) {
                // Weights that only fill up remain zero without a check: their gradient is zero.  But a rule may divide
                // by what it remembers, which is zero as well.
                const bool exists = (!(N_IN % 4) || quad * 4 + c < N_IN) && is_unit(group * UNITS_OF_THREAD + j);
                if (Rule::STATES && !exists) continue;
                const int number = (i * 4 + c) * UNITS_OF_THREAD + j;
                const REAL gradient = SCALED ? g[c][j] * x_factor : g[c][j];
                change<MEASURES>(w[i][c][j], gradient, number * BLOCK_THREADS + t, true, scalars, penalty);
            }
    }

    // -- clipping by the norm ----------------------------------------------------------------------------------------

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
};

}  // namespace persistent
