// The persistent kernel (persistent.cuh): what a thread has, and how it is loaded, stored and fetched ahead of time.

namespace persistent {

struct alignas(16) Bytes16 {
    unsigned char value[16];
};
template <class T>
struct alignas(sizeof(T) == 1 ? 4 : 16) Quad {
    T value[4];
};

// Of one network; `persistent.py` writes the same structure.
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
    int n_rows;
    REAL x_factor;  // of the inputs; sums and gradients are multiplied by it, not each input
    step::LossSettings<REAL> loss;
    double loss_factor, l1, clip_norm;
    REAL clip_value;
    step::Dropout<REAL> input_dropout, hidden_dropout;
};

const int WEIGHTS1 = N_IN * N_HIDDEN;
const int SHARED_OUT = WEIGHTS1 + N_HIDDEN * N_SECOND;  // weights that are in one block; all blocks have the others
// a thread has the weights of SPANS spans of inputs, in registers
const int SPANS = QUADS_OF_THREAD, SPAN_WEIGHTS = 4 * UNITS_OF_THREAD, WEIGHTS_OF_THREAD = SPANS * SPAN_WEIGHTS;
const int OTHERS = PADDED_UNITS * STRIDE2 + PADDED_UNITS + N_SECOND;  // W2, b1 and b2 of a block
// entries of each state variable of the rule
const int REMEMBERED = WEIGHTS_OF_THREAD * BLOCK_THREADS + OTHERS + ABOVE;
const int INPUT_GROUPS = (N_IN + 7) / 8, HIDDEN_GROUPS = (N_HIDDEN + 7) / 8;  // that share a block of random numbers
const int SCALARS = 1 + Rule::SCALARS, BLOCK_WARPS = BLOCK_THREADS / 32, SHARES = PART_ROWS * N_SECOND;

// Adds up COUNT values over the lanes of a warp; each lane keeps COUNT / 32 sums, from number lane * COUNT / 32 on.  In
// the steps of a distance of at least ORDERED, the values that a lane keeps are the first half already.
template <int COUNT, int DISTANCE, int ORDERED>
struct WarpSums {
    static DEVICE void run(REAL* values, int lane) {
        const bool upper = DISTANCE < ORDERED && (lane & DISTANCE);
#pragma unroll
        for (int i = 0; i < COUNT / 2; ++i) {
            const REAL low = values[i], high = values[i + COUNT / 2];
            values[i] = (upper ? high : low) + __shfl_xor_sync(0xffffffffu, upper ? low : high, DISTANCE);
        }
        WarpSums<COUNT / 2, DISTANCE / 2, ORDERED>::run(values, lane);
    }
};
template <int COUNT, int ORDERED>
struct WarpSums<COUNT, 0, ORDERED> {
    static DEVICE void run(REAL*, int) {}
};

DEVICE double sum_over_warp(double value) {
    for (int distance = 16; distance; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}

// Copies the arguments of this cluster's network to shared memory, and computes the range of parts of this launch: what
// is read there needs no registers in the meantime.
DEVICE void fetch_arguments(const unsigned char* networks, int count, unsigned char* memory) {
    const unsigned char* const own = networks + blockIdx.x / BLOCKS * (int)sizeof(Arguments);
    for (int i = threadIdx.x * 8; i < (int)sizeof(Arguments); i += BLOCK_THREADS * 8)
        copy_async<8>(memory + AT_ARGUMENTS + i, own + i);
    if (threadIdx.x == 0) {
        const long long* const words = ((const Arguments*)own)->words;
        const int first = (int)words[NEXT_BATCH], left = (int)words[END_BATCH] - first;
        int* const parts = (int*)(memory + AT_PARTS_OF_LAUNCH);
        parts[0] = first * PARTS, parts[1] = (first + (left < count ? left : count)) * PARTS;
    }
    copy_async_wait();
}

// One thread's part of the training.
struct Thread {
    const Arguments& a;
    unsigned char* const memory;
    const int t, rank, lane, group, slice;  // the compiler knows that t is not negative, and so how to divide it
    const volatile int &first, &last;  // parts of this launch, without the last one; in shared memory
    REAL w[WEIGHTS_OF_THREAD];
    REAL kept[KEEPS_GRADIENT ? WEIGHTS_OF_THREAD : 1];  // the gradient of w, if more than one pass needs it

    DEVICE Thread(const Arguments& arguments, unsigned char* shared)
        : a(arguments), memory(shared), t(threadIdx.x & 1023), rank(GRID ? (int)blockIdx.x : cluster_rank()),
          lane(t % 32), group(t / GROUP_THREADS), slice(t % GROUP_THREADS), first(*at<int>(AT_PARTS_OF_LAUNCH)),
          last(*(at<int>(AT_PARTS_OF_LAUNCH) + 1)) {}

    template <class T>
    DEVICE T* at(int place) const {
        return (T*)(memory + place);
    }
    DEVICE REAL* reals(int place) const { return at<REAL>(place); }

    // Calls f(0), ..., f(count - 1), each in one thread; count is at most MOST.
    template <int MOST, class F>
    DEVICE void for_each(int count, F f) const {
        if constexpr (MOST <= BLOCK_THREADS) {
            if (t < count) f(t);
        } else {
            for (int q = t; q < count; q += BLOCK_THREADS) f(q);
        }
    }

    // -- parts of a batch: PARTS of them, of PART_ROWS rows or, at the end of a batch, fewer

    DEVICE static int batch_of(int part) { return (unsigned int)part / PARTS; }
    DEVICE static int row_in_batch(int part) { return PARTS == 1 ? 0 : (unsigned int)part % PARTS * PART_ROWS; }
    DEVICE static bool begins_batch(int part) { return PARTS == 1 || (unsigned int)part % PARTS == 0; }
    DEVICE static bool ends_batch(int part) { return PARTS == 1 || (unsigned int)part % PARTS == PARTS - 1; }
    // Whether blocks exchange their sums over weights, for the penalties: once a batch.
    DEVICE static bool sends_weights(int part) { return PENALIZED && begins_batch(part); }
    // The place of its first row in the order of the epoch.
    DEVICE static int begin_of(int part) { return batch_of(part) * BATCH_ROWS + row_in_batch(part); }
    // The last batch may have fewer rows: then parts of it have none.
    DEVICE int rows_of(int part) const {
        const int left = a.n_rows - begin_of(part);
        if (PARTS == 1) return left < PART_ROWS ? left : PART_ROWS;
        const int in_batch = BATCH_ROWS - row_in_batch(part), n = left < in_batch ? left : in_batch;
        return n < 0 ? 0 : n < PART_ROWS ? n : PART_ROWS;
    }

    DEVICE bool is_unit(int unit) const { return unit < UNITS && rank * UNITS + unit < N_HIDDEN; }
    DEVICE bool has_weights1() const { return WEIGHT_THREADS == BLOCK_THREADS || t < WEIGHT_THREADS; }
    DEVICE bool is_weight2(int q) const {
        return is_unit(q / STRIDE2) && (STRIDE2 == N_SECOND || q % STRIDE2 < N_SECOND);
    }
    DEVICE const REAL* scalars_of(int batch) const { return reals(AT_SCALARS) + (batch & 1) * SCALARS; }
    DEVICE double normalizer(int batch) const { return at<double>(AT_NORMALIZERS)[batch & 1]; }
    DEVICE double l2(int batch) const { return at<double>(AT_L2)[batch & 1]; }

    // The input and the unit to which a weight of a thread belongs: see the files of the first layer.
    DEVICE static int input_of(int number, int slice) {
        const int i = number / SPAN_WEIGHTS;
        if (TENSOR) return (slice / 32 + i * (GROUP_THREADS / 32)) * 16 + slice % 4 * 4 + number % 4;
        return (slice + i * GROUP_THREADS) * 4 + number % SPAN_WEIGHTS / UNITS_OF_THREAD;
    }
    DEVICE static int unit_of(int number, int group, int slice) {
        if (TENSOR) return (group * UNITS_OF_THREAD + number % SPAN_WEIGHTS / 4) * 8 + slice % 32 / 4;
        return group * UNITS_OF_THREAD + number % UNITS_OF_THREAD;
    }
    // Whether a thread has inputs in its span i.
    DEVICE bool has_span(int i) const {
        const int spans = TENSOR ? (QUADS + 3) / 4 : QUADS, threads = TENSOR ? GROUP_THREADS / 32 : GROUP_THREADS;
        return (i + 1) * threads <= spans || (TENSOR ? slice / 32 : slice) + i * threads < spans;
    }

    // Calls f(parameter, its place in the state, its place in the flat buffer) for all parameters that this thread has.
    template <class F>
    DEVICE void for_parameters(F f) {
        int t = this->t;
        recompute(t);  // or the places would be in registers from the beginning of the launch to its end
        const int group = t / GROUP_THREADS, slice = t % GROUP_THREADS;
#pragma unroll
        for (int number = 0; number < WEIGHTS_OF_THREAD; ++number) {
            const int k = input_of(number, slice), unit = unit_of(number, group, slice);
            const bool exists = k < N_IN && is_unit(unit);
            f(w[number], number * BLOCK_THREADS + t, exists ? k * N_HIDDEN + rank * UNITS + unit : -1);
        }
        const int others = WEIGHTS_OF_THREAD * BLOCK_THREADS;
        for (int q = t; q < PADDED_UNITS * STRIDE2; q += BLOCK_THREADS) {
            const int hidden = rank * UNITS + q / STRIDE2;
            f(reals(AT_W2)[q], others + q, is_weight2(q) ? WEIGHTS1 + hidden * N_SECOND + q % STRIDE2 : -1);
        }
        for (int unit = t; unit < PADDED_UNITS; unit += BLOCK_THREADS)
            f(reals(AT_B1)[unit], others + PADDED_UNITS * STRIDE2 + unit,
              is_unit(unit) ? WEIGHTS + rank * UNITS + unit : -1);
        for (int o = t; o < N_SECOND; o += BLOCK_THREADS)
            f(reals(AT_B2)[o], others + PADDED_UNITS * STRIDE2 + PADDED_UNITS + o, WEIGHTS + N_HIDDEN + o);
        if constexpr (HIDDEN_LAYERS > 1) for_parameters_of<3>(t, f);
    }

    // The same for the layers from LAYER on, which all blocks have.
    template <int LAYER, class F>
    DEVICE void for_parameters_of(int t, F f) {
        typedef Layer<LAYER> Own;
#pragma unroll 1
        for (int q = t; q < Own::BELOW * Own::W_STRIDE; q += BLOCK_THREADS) {
            const int below = q / Own::W_STRIDE, unit = q % Own::W_STRIDE;
            f(reals(Own::W)[q], Own::PLACE + q, unit < Own::N ? Own::FLAT_W + below * Own::N + unit : -1);
        }
#pragma unroll 1
        for (int unit = t; unit < Own::N; unit += BLOCK_THREADS)
            f(reals(Own::B)[unit], Own::PLACE + Own::BELOW * Own::W_STRIDE + unit, Own::FLAT_B + unit);
        if constexpr (LAYER <= HIDDEN_LAYERS) for_parameters_of<LAYER + 1>(t, f);
    }

    DEVICE void load() {
        for_parameters([=](REAL& p, int place, int flat) {
            p = flat < 0 ? REAL(0) : a.params[flat];
            for (int s = 0; s < Rule::STATES; ++s) {
                const REAL known = flat < 0 ? REAL(0) : a.state[(long long)s * PARAMETERS + flat];
                reals(AT_STATE)[s * REMEMBERED + place] = known;
            }
        });
    }

    // Each place is written by one block: what all have, b2 for example, the first writes.
    DEVICE void store() {
        for_parameters([=](REAL& p, int place, int flat) {
            if (flat < 0 || (flat >= WEIGHTS + N_HIDDEN && rank)) return;
            if (flat >= SHARED_OUT && flat < WEIGHTS && rank) return;
            a.params[flat] = p;
            for (int s = 0; s < Rule::STATES; ++s)
                a.state[(long long)s * PARAMETERS + flat] = reals(AT_STATE)[s * REMEMBERED + place];
        });
    }

    // -- copies for a later part ----------------------------------------------------------------------------------

    // Where the row numbers of a part begin.
    DEVICE static int slot_of(int part) { return (unsigned int)part % 3 * PART_ROWS; }

    DEVICE void fetch_order(int part) {
        const int slot = slot_of(part), begin = begin_of(part);
        const long long *const X_order = a.X_order + begin, *const order = a.order + begin;
        for_each<PART_ROWS>(rows_of(part), [=](int row) {
            copy_async<8>(at<long long>(AT_X_ORDER) + slot + row, X_order + row);
            copy_async<8>(at<long long>(AT_ORDER) + slot + row, order + row);
        });
    }

    DEVICE unsigned char* rows_in_memory(int part) const {
        return memory + AT_X + (X_BUFFERS == 2 ? (part & 1) * TALL * ROW_BYTES : 0);
    }

    DEVICE void fetch_rows(int part) {
        // COPIERS threads copy a row
        const int n = rows_of(part), first = t % COPIERS * PIECE;
        const long long* const rows = at<long long>(AT_X_ORDER) + slot_of(part);
        const unsigned char* const X = (const unsigned char*)a.X + first;
        const long long X_bytes = a.X_stride * (int)sizeof(SOURCE);
        unsigned char* const to = rows_in_memory(part) + first;
        for (int row = t / COPIERS; row < n; row += BLOCK_THREADS / COPIERS) {
            const unsigned char* const from = X + rows[row] * X_bytes;
#pragma unroll
            for (int i = 0; i < PIECES * PIECE; i += COPIERS * PIECE)
                if (i + COPIERS * PIECE <= PIECES * PIECE || first + i < PIECES * PIECE)
                    copy_async<PIECE>(to + row * ROW_BYTES + i, from + i);
        }
    }

    // Targets, weights of the rows, and with the first part the numbers of the batch.
    DEVICE void fetch_numbers(int part) {
        constexpr int width = CLASS_NUMBERS ? 1 : N_OUT;
        const int side = part & 1, n = rows_of(part);
        const long long* const rows = at<long long>(AT_ORDER) + slot_of(part);
        const TARGET* const from = a.target;
        for_each<PART_ROWS * width>(n * width, [=](int q) {
            copy_async<sizeof(TARGET)>(at<TARGET>(AT_TARGET) + side * PART_ROWS * width + q,
                                       from + rows[q / width] * width + q % width);
        });
        if (WEIGHTED)
            for_each<PART_ROWS>(n, [=](int row) {
                copy_async<sizeof(REAL)>(reals(AT_WEIGHT) + side * PART_ROWS + row, a.weight + rows[row]);
            });
        if (!begins_batch(part)) return;
        const int batch = batch_of(part), of_batch = batch & 1;
        for_each<SCALARS>(SCALARS, [=](int i) {
            copy_async<sizeof(REAL)>(reals(AT_SCALARS) + of_batch * SCALARS + i, a.scalars + batch * SCALARS + i);
        });
        if (t == 0) {
            copy_async<8>(at<double>(AT_NORMALIZERS) + of_batch, a.normalizers + batch);
            copy_async<8>(at<double>(AT_L2) + of_batch, a.l2 + batch);
        }
    }

    // A bit for each input of a row that dropout keeps.
    DEVICE unsigned char* kept_inputs(int part, int row) const {
        return memory + AT_KEPT_INPUTS + ((part & 1) * PART_ROWS + row) * INPUT_GROUPS;
    }
    // A bit for each hidden unit, from the first group on of which this block has units.
    DEVICE unsigned char* kept_hidden(int part, int row) const {
        return memory + AT_KEPT_HIDDEN + ((part & 1) * PART_ROWS + row) * OWN_GROUPS;
    }

    DEVICE void draw_masks(int part) {
        const int n = rows_of(part), batch = batch_of(part), begin = row_in_batch(part);
        if (INPUT_DROPOUT)
            for_each<PART_ROWS * INPUT_GROUPS>(n * INPUT_GROUPS, [=](int q) {
                kept_inputs(part, 0)[q] = (unsigned char)step::kept_units(
                    a.words, batch, begin + q / INPUT_GROUPS, INPUT_GROUPS, q % INPUT_GROUPS, a.input_dropout);
            });
        if (HIDDEN_DROPOUT)
            for_each<PART_ROWS * OWN_GROUPS>(n * OWN_GROUPS, [=](int q) {
                kept_hidden(part, 0)[q] = (unsigned char)step::kept_units(
                    a.words, batch, begin + q / OWN_GROUPS, HIDDEN_GROUPS, rank * UNITS / 8 + q % OWN_GROUPS, a.hidden_dropout);
            });
        if constexpr (HIDDEN_LAYERS > 1) draw_masks_of<2>(part, n);
    }

    // The same for the hidden layers from LAYER on, of which each block needs all units.
    template <int LAYER>
    DEVICE void draw_masks_of(int part, int n) {
        typedef Layer<LAYER> Own;
        const int groups = (Own::N + 7) / 8, begin = row_in_batch(part);
        const step::Dropout<REAL> dropout = {LAYER, Own::THRESHOLD, Own::scale()};
        for (int q = t; Own::DROPOUT && q < n * groups; q += BLOCK_THREADS)
            kept_of<LAYER>(part, 0)[q] = (unsigned char)step::kept_units(
                a.words, batch_of(part), begin + q / groups, groups, q % groups, dropout);
        if constexpr (LAYER < HIDDEN_LAYERS) draw_masks_of<LAYER + 1>(part, n);
    }

    template <int LAYER>
    DEVICE unsigned char* kept_of(int part, int row) const {
        return memory + Layer<LAYER>::KEPT + ((part & 1) * PART_ROWS + row) * ((Layer<LAYER>::N + 7) / 8);
    }
    template <int LAYER>
    DEVICE REAL dropped(int part, int row, int unit, REAL value) const {
        if (!Layer<LAYER>::DROPOUT) return value;
        return kept_of<LAYER>(part, row)[unit / 8] >> unit % 8 & 1 ? value * Layer<LAYER>::scale() : REAL(0);
    }

    DEVICE bool keeps(int part, int row, int unit) const {
        const int hidden = rank * UNITS + unit, own = hidden / 8 - rank * UNITS / 8;
        return kept_hidden(part, row)[own] >> hidden % 8 & 1;
    }
};

}  // namespace persistent
