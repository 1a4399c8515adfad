// The persistent kernel (persistent.cuh): the parts of a step.  Each reads what others have written before the last
// wait.

namespace persistent {

struct Step : FirstLayer {
    double losses;          // of rows of this thread
    double squares, sizes;  // sums over weights, for the penalties
    double norm;            // sum of the squares of gradients
    REAL norm_factor;

    DEVICE Step(const Arguments& arguments, unsigned char* shared)
        : FirstLayer(arguments, shared), losses(0), squares(0), sizes(0), norm(0), norm_factor(1) {}

    DEVICE void activate(int part, int n) {
        for_each<PART_ROWS * PADDED_UNITS>(n * PADDED_UNITS, [&](int q) {
            const int row = q / PADDED_UNITS, unit = q % PADDED_UNITS;
            REAL z = REAL(0);
#pragma unroll
            for (int warp = 0; warp < GROUP_THREADS / 32; ++warp)
                z += reals(AT_PARTIAL)[warp * TALL * PADDED_UNITS + q];
            if (SCALED) z *= a.x_factor;
            z += reals(AT_B1)[unit];
            REAL y = Activation1::forward(z);
            reals(AT_SAVED)[q] = Activation1::SAVES_Z ? z : y;
            if (HIDDEN_DROPOUT) y = keeps(part, row, unit) ? y * a.hidden_dropout.scale : REAL(0);
            reals(AT_OUTPUT)[q] = is_unit(unit) ? y : REAL(0);
        });
    }

    DEVICE void send_logits(int part, int n) {
        REAL* const own = share(part, rank, 0);
        if (t == 0) expect(part, BLOCKS * (n * N_OUT * (int)sizeof(REAL) + (sends_weights(part) ? 16 : 0)));
        for_each<PART_ROWS * N_OUT>(n * N_OUT, [&](int q) {
            const int row = q / N_OUT, o = q % N_OUT;
            REAL sum = REAL(0);
#pragma unroll 32
            for (int unit = 0; unit < PADDED_UNITS; ++unit)
                sum += reals(AT_OUTPUT)[row * PADDED_UNITS + unit] * reals(AT_W2)[unit * N_OUT + o];
            send(part, own + q, sum);
        });
        send_weights(part);
    }

    // For the penalties: sums of squares, and of absolute values.
    DEVICE void send_weights(int part) {
        if (sends_weights(part) && t < 2) {
            double sum = 0;
            for (int warp = 0; warp < BLOCK_WARPS; ++warp) sum += at<double>(AT_WARP_WEIGHTS)[warp * 2 + t];
            send(part, weight_sum(batch_of(part), rank, t), sum);
        }
    }

    // A logit: the sum of what all blocks have sent, or with several hidden layers a product of the last one's output.
    template <int LAYERS>
    DEVICE REAL logit(int part, int row, int k) const {
        REAL sum = REAL(0);
        if constexpr (LAYERS == 1) {
#pragma unroll BLOCKS_AT_ONCE
            for (int block = 0; block < BLOCKS; ++block) sum += *share(part, block, row * N_OUT + k);
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
    DEVICE void evaluate_loss(int part, int n) {
        const int side = part & 1, row_lane = t % LANES;
        const double total = normalizer(batch_of(part));
        const TARGET* const target = at<TARGET>(AT_TARGET) + side * PART_ROWS * (CLASS_NUMBERS ? 1 : N_OUT);
        double loss = begins_batch(part) ? 0 : losses;
        for (int begin = t / 32 * (32 / LANES); begin < n; begin += BLOCK_THREADS / LANES) {
            const int own = begin + lane / LANES, row = own < n ? own : n - 1;
            REAL* const logits = reals(AT_LOGITS) + row * N_OUT;
            for (int k = row_lane; own < n && k < N_OUT; k += LANES) logits[k] = logit<HIDDEN_LAYERS>(part, row, k);
            __syncwarp();  // the lanes of a row read each other's logits
            REAL share = total > 0 ? REAL(1 / total) : REAL(0);
            if (WEIGHTED) share = reals(AT_WEIGHT)[side * PART_ROWS + row] / (total > 0 ? REAL(total) : REAL(1));
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
        if (!ends_batch(part)) {
            losses = loss;
            return;
        }
        loss = sum_over_warp(loss);
        if (lane == 0) at<double>(AT_WARP_LOSSES)[t / 32] = loss;
    }

    // The loss of the batch with its penalties: the same in every thread of every block.
    DEVICE double total_loss(int batch) const {
        double loss = 0, sums[2] = {0, 0};
        for (int warp = 0; warp < BLOCK_WARPS; ++warp) loss += at<double>(AT_WARP_LOSSES)[warp];
        loss *= a.loss_factor;
#pragma unroll(2 * BLOCKS_AT_ONCE)
        for (int i = 0; PENALIZED && i < 2 * BLOCKS; ++i) sums[i % 2] += *weight_sum(batch, 0, i);
        if (PENALIZED && l2(batch) != 0) loss += 0.5 * l2(batch) * sums[0];
        if (PENALIZED && a.l1 != 0) loss += a.l1 * sums[1];
        return loss;
    }

    DEVICE void gradients(int part, int n) {
        const REAL *const delta = reals(AT_DELTA), *const output = reals(AT_OUTPUT), *const w2 = reals(AT_W2);
        const int weights = PADDED_UNITS * N_OUT;
        for_each<weights + PART_ROWS * PADDED_UNITS>(weights + n * PADDED_UNITS, [&](int q) {
            if (q < weights) {
                const int unit = q / N_OUT, o = q % N_OUT;
                REAL g = begins_batch(part) ? REAL(0) : reals(AT_GRADIENT2)[q];
#pragma unroll 8
                for (int row = 0; row < n; ++row) g += output[row * PADDED_UNITS + unit] * delta[row * N_OUT + o];
                reals(AT_GRADIENT2)[q] = g;
                return;
            }
            const int p = q - weights, row = p / PADDED_UNITS, unit = p % PADDED_UNITS;
            REAL d = REAL(0);
#pragma unroll 32
            for (int o = 0; o < N_OUT; ++o) d += delta[row * N_OUT + o] * w2[unit * N_OUT + o];
            if (HIDDEN_DROPOUT) d = keeps(part, row, unit) ? d * a.hidden_dropout.scale : REAL(0);
            d = Activation1::backward(d, reals(AT_SAVED)[p]);
            reals(AT_DELTA1)[p] = is_unit(unit) ? d : REAL(0);
        });
    }

    // The gradient of bias number q of b1 and b2: of this part, or of the batch up to this part.
    DEVICE REAL bias_gradient(int part, int n, int q) const {
        const bool is_b1 = q < PADDED_UNITS;
        const int stride = is_b1 ? PADDED_UNITS : STRIDE2;
        const REAL* const delta = is_b1 ? reals(AT_DELTA1) + q : reals(AT_DELTA2) + q - PADDED_UNITS;
        REAL g = begins_batch(part) ? REAL(0) : reals(AT_GRADIENT_BIASES)[q];
#pragma unroll 8
        for (int row = 0; row < n; ++row) g += delta[row * stride];
        return g;
    }

    // Adds the gradients of a part that is not the last to those of the batch, or those that are to be kept.
    DEVICE void keep_gradients(int part, int n) {
        weight_gradients(part, n, [](int, const REAL*) {});
        if (ends_batch(part)) return;
        // the thread that will need them: see `update`
        for_each<OTHERS>(OTHERS, [&](int q) {
            const int bias = q - PADDED_UNITS * STRIDE2;
            if (bias >= 0) reals(AT_GRADIENT_BIASES)[bias] = bias_gradient(part, n, bias);
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
    DEVICE void update(int part, int n) {
        const int batch = batch_of(part);
        REAL scalars[SCALARS];
#pragma unroll
        for (int i = 0; i < SCALARS; ++i) scalars[i] = scalars_of(batch)[i];
        const double penalty = PENALIZED ? l2(batch) : 0;
        const REAL x_factor = a.x_factor;
        auto change_span = [&](int i, const REAL* g) {
#pragma unroll
            for (int j = 0; j < SPAN_WEIGHTS; ++j) {
                // Weights that only fill up remain zero without a check: their gradient is zero.  But a rule may divide
                // by what it remembers, which is zero as well.
                const int number = i * SPAN_WEIGHTS + j;
                const bool exists = (!(N_IN % (TENSOR ? 16 : 4)) || input_of(number, slice) < N_IN) &&
                                    is_unit(unit_of(number, group, slice));
                if (Rule::STATES && !exists) continue;
                const REAL gradient = SCALED ? g[j] * x_factor : g[j];
                change<MEASURES>(w[number], gradient, number * BLOCK_THREADS + t, true, scalars, penalty);
            }
        };
        if (KEEPS_GRADIENT) {
#pragma unroll
            for (int i = 0; i < SPANS; ++i)
                if (has_weights1() && has_span(i)) change_span(i, kept + i * SPAN_WEIGHTS);
        } else {
            weight_gradients(part, n, change_span);
        }
        const int others = WEIGHTS_OF_THREAD * BLOCK_THREADS, weights = PADDED_UNITS * STRIDE2;
        for_each<OTHERS>(OTHERS, [&](int q) {
            if (q < weights) {
                if (is_weight2(q))
                    change<MEASURES>(reals(AT_W2)[q], reals(AT_GRADIENT2)[q], others + q, true, scalars, penalty);
                return;
            }
            const int unit = q - weights, o = unit - PADDED_UNITS;
            // in the norm, b2 counts once
            if (o < 0 ? !is_unit(unit) : MEASURES && rank) return;
            REAL& bias = o < 0 ? reals(AT_B1)[unit] : reals(AT_B2)[o];
            change<MEASURES>(bias, bias_gradient(part, n, unit), others + q, false, scalars, penalty);
        });
    }

    // -- clipping by the norm ----------------------------------------------------------------------------------------

    // Leaves the sums of each warp for `send_norm_of_block`.
    DEVICE void publish_norm() {
        norm = sum_over_warp(norm);
        if (lane == 0) at<double>(AT_WARP_NORMS)[t / 32] = norm;
        norm = 0;
    }

    DEVICE void send_norm_of_block(int part) {
        if (t) return;
        expect_norms();
        double sum = 0;
        for (int warp = 0; warp < BLOCK_WARPS; ++warp) sum += at<double>(AT_WARP_NORMS)[warp];
        send_norm(part, at<double>(AT_BLOCK_NORMS) + rank, sum);
    }

    DEVICE void read_norm() {
        double sum = 0;
#pragma unroll BLOCKS_AT_ONCE
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
