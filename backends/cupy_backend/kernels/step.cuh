// The kernels of a training step, besides the matrix products; the steps are those of `backends.loop`.
//
// Matrices have one row for each row of the batch, and their rows begin at multiples of eight entries.  A thread of an
// elementwise kernel has eight entries of a row: one block of random numbers for dropout, and whole memory words.
//
// A kernel writes only what no other block of it reads; what it reads was written by an earlier kernel of the stream.
// The number of the batch lives on the device, so the same sequence of launches runs every step.  `words[NEXT_BATCH]`
// is read by the first kernel, which copies it to `words[BATCH]` for the others, and is increased by a later one.
//
// `kernel_source.py` writes the constants THREADS, NEXT_BATCH, BATCH and so on before this file.

namespace step {

// Fields of a `Sources` entry: see `column_sum`.
enum { VALUES, FACTORS, FIRST_COLUMN, ROWS, STRIDE, FIELDS };

const int WARPS = THREADS / 32;

template <class T>
struct alignas(sizeof(T) * 8 < 16 ? sizeof(T) * 8 : 16) Eight {
    T value[8];
};

DEVICE void store(float& to, float value) { to = value; }
DEVICE void store(double& to, double value) { to = value; }
// To bfloat16, to nearest, ties to even.
DEVICE void store(unsigned short& to, float value) {
    const unsigned int bits = __float_as_uint(value);
    to = value != value ? 0x7fff : (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

DEVICE bool is_finite(double x) { return x - x == 0; }

template <class T>
struct Dropout {
    int layer;
    unsigned int threshold;
    T scale;
};

// Which of the eight units of a group dropout keeps, one bit for each.
template <class T>
DEVICE unsigned int kept_units(const long long* words, long long batch, int row, int groups, int group, Dropout<T> dropout) {
    const Block random = philox(words[SEED], DROPOUT, (uint64)(words[ROW_OFFSET] + row) * groups + group, dropout.layer,
                                words[BATCHES_BEFORE] + batch, words[EPOCH]);
    const unsigned int threshold = dropout.threshold;
    unsigned int kept = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        kept |= (unsigned int)((unsigned int)random.word[i] >= threshold) << (2 * i);
        kept |= (unsigned int)((unsigned int)(random.word[i] >> 32) >= threshold) << (2 * i + 1);
    }
    return kept;
}

// Sums of up to four numbers over the block's threads; all threads receive them.
template <int COUNT>
DEVICE void sum_over_block(double (&values)[COUNT]) {
    __shared__ double warp_sums[COUNT * WARPS];
#pragma unroll
    for (int c = 0; c < COUNT; ++c)
        for (int distance = 16; distance; distance /= 2)
            values[c] += __shfl_xor_sync(0xffffffffu, values[c], distance);
    if (threadIdx.x % 32 == 0)
        for (int c = 0; c < COUNT; ++c) warp_sums[c * WARPS + threadIdx.x / 32] = values[c];
    __syncthreads();
    for (int c = 0; c < COUNT; ++c) {
        values[c] = 0;
        for (int warp = 0; warp < WARPS; ++warp) values[c] += warp_sums[c * WARPS + warp];
    }
}

// -- before and between the products --------------------------------------------------------------------------

// The batch's rows of X as floating-point numbers: scaled, multiplied by the factors of a scaling layer, dropped.
template <class T, class Source, class Operand, bool SCALING_LAYER, bool DROPPED>
DEVICE void gather_rows(long long* words, const long long* order, const Source* X, long long X_stride, T input_scale,
                        const T* factors, int batch_size, int rows, int n, int stride, Dropout<T> dropout, Operand* x,
                        T* unscaled) {
    const long long batch = words[NEXT_BATCH];
    const int thread = blockIdx.x * THREADS + threadIdx.x;
    if (thread == 0) words[BATCH] = batch;
    const int groups = stride / 8, row = thread / groups, group = thread % groups;
    if (row >= rows) return;
    const Eight<Source> source = ((const Eight<Source>*)(X + order[batch * batch_size + row] * X_stride))[group];
    const unsigned int kept = DROPPED ? kept_units(words, batch, row, groups, group, dropout) : 0xff;
    Eight<Operand> result;
    Eight<T> before;
    for (int i = 0; i < 8; ++i) {
        T value = T(0);
        if (group * 8 + i < n) {
            value = sizeof(Source) == 1 ? T(source.value[i]) * input_scale : T(source.value[i]);
            before.value[i] = value;
            if (SCALING_LAYER) value *= factors[group * 8 + i];
            if (DROPPED) value = kept >> i & 1 ? value * dropout.scale : T(0);
        } else {
            before.value[i] = T(0);
        }
        store(result.value[i], value);
    }
    ((Eight<Operand>*)(x + (long long)row * stride))[group] = result;
    if (SCALING_LAYER) ((Eight<T>*)(unscaled + (long long)row * stride))[group] = before;
}

// Adds the bias and applies the activation.  `saved` contains the product, and receives what the backward pass needs;
// `input` receives the next layer's input, unless that is `saved` itself.
template <class T, class Operand, class Activation, bool SEPARATE, bool DROPPED>
DEVICE void activate_rows(const long long* words, T* saved, const T* bias, int rows, int n, int stride,
                          Dropout<T> dropout, Operand* input) {
    const int thread = blockIdx.x * THREADS + threadIdx.x;
    const int groups = stride / 8, row = thread / groups, group = thread % groups;
    if (row >= rows) return;
    Eight<T>* const place = (Eight<T>*)(saved + (long long)row * stride) + group;
    Eight<T> values = *place;
    Eight<Operand> result;
    const unsigned int kept = DROPPED ? kept_units(words, words[BATCH], row, groups, group, dropout) : 0xff;
    for (int i = 0; i < 8; ++i) {
        if (group * 8 + i >= n) {
            store(result.value[i], T(0));
            continue;
        }
        const T z = values.value[i] + bias[group * 8 + i];
        T y = Activation::forward(z);
        values.value[i] = Activation::SAVES_Z ? z : y;
        if (DROPPED) y = kept >> i & 1 ? y * dropout.scale : T(0);
        store(result.value[i], y);
    }
    *place = values;
    if (SEPARATE) ((Eight<Operand>*)(input + (long long)row * stride))[group] = result;
}

// From the gradient with respect to a layer's output to that with respect to its z, in place; the output was dropped.
template <class T, class Operand, class Activation, bool SEPARATE, bool DROPPED>
DEVICE void activate_backward_rows(const long long* words, T* delta, const T* saved, int rows, int n, int stride,
                                   Dropout<T> dropout, Operand* operand) {
    const int thread = blockIdx.x * THREADS + threadIdx.x;
    const int groups = stride / 8, row = thread / groups, group = thread % groups;
    if (row >= rows) return;
    const long long start = (long long)row * stride;
    Eight<T> values = ((Eight<T>*)(delta + start))[group];
    const Eight<T> known = ((const Eight<T>*)(saved + start))[group];
    Eight<Operand> result;
    const unsigned int kept = DROPPED ? kept_units(words, words[BATCH], row, groups, group, dropout) : 0xff;
    for (int i = 0; i < 8; ++i) {
        T value = T(0);
        if (group * 8 + i < n) {
            value = values.value[i];
            if (DROPPED) value = kept >> i & 1 ? value * dropout.scale : T(0);
            value = Activation::backward(value, known.value[i]);
        }
        values.value[i] = value;
        store(result.value[i], value);
    }
    ((Eight<T>*)(delta + start))[group] = values;
    if (SEPARATE) ((Eight<Operand>*)(operand + start))[group] = result;
}

// -- loss -----------------------------------------------------------------------------------------------------

// Entry k of a row's target, given as a class number or as a row.
template <class T>
DEVICE T target_entry(const long long* classes, long long row, int n, int k) {
    return classes[row] == k ? T(1) : T(0);
}
template <class T>
DEVICE T target_entry(const T* rows, long long row, int n, int k) {
    return rows[row * n + k];
}

template <class T>
struct LossSettings {
    T keep, add;  // label smoothing: t * keep + add
    T delta_factor, ceiling;
};

// Loss of the batch's rows, summed for each block, and its gradient with respect to the logits.  LANES threads share a row.
template <class T, class Target, class Operand, class Loss, int LANES, bool WEIGHTED, bool SEPARATE>
DEVICE void loss_rows(long long* words, const long long* order, const Target* target, const T* weight,
                      const double* normalizers, int batch_size, int rows, int n, int stride, const T* product,
                      const T* bias, LossSettings<T> settings, T* delta, Operand* operand, double* block_losses) {
    const long long batch = words[BATCH];
    if (blockIdx.x == 0 && threadIdx.x == 0) words[NEXT_BATCH] = batch + 1;
    const double total = normalizers[batch];
    const int lane = threadIdx.x % LANES, rows_at_once = gridDim.x * (THREADS / LANES);
    double loss[1] = {0};
    // a warp stays together, since its lanes exchange values; those beyond the last row repeat it without writing
    for (int first = blockIdx.x * (THREADS / LANES) + threadIdx.x / 32 * (32 / LANES); first < rows; first += rows_at_once) {
        const int own = first + threadIdx.x % 32 / LANES, row = own < rows ? own : rows - 1;
        const long long source = order[batch * batch_size + row];
        const T share = WEIGHTED ? weight[source] / (total > 0 ? T(total) : T(1)) : total > 0 ? T(1 / total) : T(0);
        const T* const logits = product + (long long)row * stride;
        auto z = [=](int k) -> T { return logits[k] + bias[k]; };
        auto t = [=](int k) -> T { return target_entry<T>(target, source, n, k) * settings.keep + settings.add; };
        auto write = [=, &loss](int k, T value, T slope) {
            if (own >= rows) return;
            if (share == T(0)) value = slope = T(0);  // also where they are infinite
            loss[0] += (double)(np::minimum<T>(value, settings.ceiling) * share);
            slope *= share * settings.delta_factor;
            delta[(long long)row * stride + k] = slope;
            if (SEPARATE) store(operand[(long long)row * stride + k], slope);
        };
        Loss::template rows<T>(Row<LANES>{n, lane}, z, t, write);
    }
    sum_over_block(loss);
    if (threadIdx.x == 0) block_losses[blockIdx.x] = loss[0];
}

// -- gradients that are sums over the rows --------------------------------------------------------------------

// Sum over the rows of column `column` of all sources: the gradients of the biases, and of a scaling layer's factors.
// A source is a matrix, from its FIRST_COLUMN on, or the entrywise product of two.
template <class T>
DEVICE T column_sum(const long long* sources, int column, int first_row = 0, int last_row = 1 << 30, int step = 1) {
    while (column >= sources[FIELDS + FIRST_COLUMN]) sources += FIELDS;  // a last entry ends the list
    const long long rows = sources[ROWS], stride = sources[STRIDE], k = column - sources[FIRST_COLUMN];
    const T *const values = (const T*)sources[VALUES], *const factors = (const T*)sources[FACTORS];
    T total = T(0);
    for (long long row = first_row; row < last_row && row < rows; row += step)
        total += factors ? values[row * stride + k] * factors[row * stride + k] : values[row * stride + k];
    return total;
}

// Sums over `rows_of_block` rows of all columns: `sums[block, column]`.  A block has 32 columns and 8 rows at once.
template <class T>
DEVICE void sum_columns(const long long* sources, int columns, int rows_of_block, T* sums) {
    __shared__ T partial[WARPS * 32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = blockIdx.x * 32 + lane;
    const int first = blockIdx.y * rows_of_block;
    T total = T(0);
    if (column < columns) total = column_sum<T>(sources, column, first + warp, first + rows_of_block, WARPS);
    partial[warp * 32 + lane] = total;
    __syncthreads();
    if (warp == 0 && column < columns) {
        for (int other = 1; other < WARPS; ++other) total += partial[other * 32 + lane];
        sums[(long long)blockIdx.y * columns + column] = total;
    }
}

// -- update ---------------------------------------------------------------------------------------------------

template <class T>
struct Gradient {
    T* flat;                   // of the weights, from the products; of all parameters after `finish_gradient`
    const long long* sources;  // of the other parameters
    int n_weights, n;
    double l1;
    T clip_value;
};

template <class T, bool PENALIZED>
DEVICE T gradient_of(const Gradient<T>& gradient, const T* params, int i, double l2) {
    T g = i < gradient.n_weights ? gradient.flat[i]
                                 : column_sum<T>(gradient.sources, i - gradient.n_weights);
    if (PENALIZED && i < gradient.n_weights) {
        if (l2 != 0) g += T(l2) * params[i];
        if (gradient.l1 != 0) g += T(gradient.l1) * np::sign<T>(params[i]);
    }
    return np::minimum<T>(np::maximum<T>(g, -gradient.clip_value), gradient.clip_value);
}

// The whole gradient with penalties, clipped by value, and the sum of its squares for each block.
template <class T, bool PENALIZED>
DEVICE void finish_gradient(const long long* words, Gradient<T> gradient, const T* params, const double* l2,
                            double* block_squares) {
    double squares[1] = {0};
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < gradient.n; i += gridDim.x * THREADS) {
        const T g = gradient_of<T, PENALIZED>(gradient, params, i, PENALIZED ? l2[words[BATCH]] : 0);
        gradient.flat[i] = g;
        squares[0] += (double)(g * g);
    }
    sum_over_block(squares);
    if (threadIdx.x == 0) block_squares[blockIdx.x] = squares[0];
}

// Sums of the squares and of the absolute values of the weights, for each block: for the penalties.
template <class T>
DEVICE void sum_weights(const long long* words, const T* params, int n_weights, double* block_sums) {
    double sums[2] = {0, 0};
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < n_weights; i += gridDim.x * THREADS) {
        sums[0] += (double)(params[i] * params[i]);
        sums[1] += (double)np::abs<T>(params[i]);
    }
    sum_over_block(sums);
    // one set of sums for even and one for odd batches: `update` reads one and writes the other
    double* const place = block_sums + (words[NEXT_BATCH] & 1) * 2 * gridDim.x + 2 * blockIdx.x;
    if (threadIdx.x == 0) place[0] = sums[0], place[1] = sums[1];
}

template <class T>
struct UpdateSettings {
    const double *normalizers, *l2, *block_losses, *block_squares;
    double *block_sums, *losses;
    int n_block_losses;
    double loss_factor, clip_norm;
    const T* scalars;  // of each batch and segment: the factor of the weight decay, then the rule's scalars
    const int* segment_stops;
    int n_segments;
};

// The loss of the batch, and the update of all parameters, unless the loss or an earlier one stops the training.
template <class T, class Operand, class Rule, bool PENALIZED, bool BY_NORM, bool SEPARATE>
DEVICE void update_parameters(long long* words, Gradient<T> gradient, UpdateSettings<T> settings, T* params, T* state,
                              Operand* operand) {
    const long long batch = words[BATCH];
    const double l2 = settings.l2[batch];
    double sums[4] = {0, 0, 0, 0};  // of losses, squared gradients, squared weights, absolute weights
    for (int i = threadIdx.x; i < settings.n_block_losses; i += THREADS) sums[0] += settings.block_losses[i];
    for (int i = threadIdx.x; (BY_NORM || PENALIZED) && i < gridDim.x; i += THREADS) {
        if (BY_NORM) sums[1] += settings.block_squares[i];
        if (PENALIZED) {
            const double* const place = settings.block_sums + (batch & 1) * 2 * gridDim.x + 2 * i;
            sums[2] += place[0], sums[3] += place[1];
        }
    }
    sum_over_block(sums);
    double loss = sums[0] * settings.loss_factor;
    if (PENALIZED && l2 != 0) loss += 0.5 * l2 * sums[2];
    if (PENALIZED && gradient.l1 != 0) loss += gradient.l1 * sums[3];
    const bool failed = !is_finite(loss);
    const bool halted = words[HALT] && (failed || words[FAILED] >= 0);
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        settings.losses[batch] = loss;
        // other blocks may read it before or after, but they know of their own that this loss is not finite
        if (failed && words[FAILED] < 0) words[FAILED] = batch;
    }
    const T factor = BY_NORM ? T(np::minimum<double>(settings.clip_norm / (::sqrt(sums[1]) + 1e-6), 1.0)) : T(1);
    const bool updates = settings.normalizers[batch] > 0 && !halted;
    double weight_sums[2] = {0, 0};
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < gradient.n; i += gridDim.x * THREADS) {
        T p = params[i];
        if (updates) {
            int segment = 0;
            while (i >= settings.segment_stops[segment]) ++segment;
            const T* const scalars =
                settings.scalars + (batch * settings.n_segments + segment) * (1 + Rule::SCALARS);
            const T g = BY_NORM ? gradient.flat[i] * factor : gradient_of<T, PENALIZED>(gradient, params, i, l2);
            if (i < gradient.n_weights) p *= scalars[0];
            T states[Rule::STATES + 1];
            for (int s = 0; s < Rule::STATES; ++s) states[s] = state[(long long)s * gradient.n + i];
            Rule::apply(p, g, states, scalars + 1);
            params[i] = p;
            for (int s = 0; s < Rule::STATES; ++s) state[(long long)s * gradient.n + i] = states[s];
            if (SEPARATE && i < gradient.n_weights) store(operand[i], p);
        }
        if (PENALIZED && i < gradient.n_weights) {
            weight_sums[0] += (double)(p * p);
            weight_sums[1] += (double)np::abs<T>(p);
        }
    }
    if (PENALIZED) {
        sum_over_block(weight_sums);
        double* const place = settings.block_sums + ((batch + 1) & 1) * 2 * gridDim.x + 2 * blockIdx.x;
        if (threadIdx.x == 0) place[0] = weight_sums[0], place[1] = weight_sums[1];
    }
}

// -- once an epoch --------------------------------------------------------------------------------------------

// Sum of the rows' weights of each batch; one warp a batch.
template <class T>
DEVICE void weigh_batches(const long long* order, const T* weight, long long n_rows, int batch_size, int first_batch,
                          int last_batch, double* totals) {
    const int batch = first_batch + blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    double total = 0;
    const long long start = (long long)batch * batch_size;
    for (int i = lane; batch < last_batch && i < batch_size && start + i < n_rows; i += 32)
        total += (double)weight[order[start + i]];
    for (int distance = 16; distance; distance /= 2) total += __shfl_xor_sync(0xffffffffu, total, distance);
    if (batch < last_batch && lane == 0) totals[batch] = total;
}

// The weights as operands of the products, in bfloat16.
template <class T, class Operand>
DEVICE void round_weights(const T* params, int n_weights, Operand* operand) {
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < n_weights; i += gridDim.x * THREADS) store(operand[i], params[i]);
}

// Clears words[FINITE] if a parameter is not finite.
template <class T>
DEVICE void check_finite(long long* words, const T* params, int n) {
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < n; i += gridDim.x * THREADS)
        if (!is_finite((double)params[i])) words[FINITE] = 0;
}

}  // namespace step
