// The persistent kernel (persistent.cuh): the first layer.  A thread has four inputs of each of QUADS_OF_THREAD quads, and
// UNITS_OF_THREAD units: GROUP_THREADS threads share the quads of a group of units.

namespace persistent {

struct FirstLayer : Exchange {
    DEVICE FirstLayer(const Arguments& arguments, unsigned char* shared) : Exchange(arguments, shared) {}

    // The quads of this thread in a row, of which it needs every GROUP_THREADS-th.
    DEVICE const Quad<SOURCE>* row_of_thread(int part, int row, int n) const {
        if (X_BUFFERS) return (const Quad<SOURCE>*)(rows_in_memory(part) + row * ROW_BYTES) + slice;
        // the sums of rows behind the last are not used
        const long long own = (at<long long>(AT_X_ORDER) + slot_of(part))[row < n ? row : n - 1];
        return (const Quad<SOURCE>*)(a.X + own * a.X_stride) + slice;
    }

    // Four inputs of a row, without `x_factor`.
    DEVICE Quad<REAL> inputs(const Quad<SOURCE>* place, int part, int row, int n, int quad) const {
        const Quad<SOURCE> source = *place;
        unsigned int kept = 15;
        if (INPUT_DROPOUT)
            kept = kept_inputs(part, row < n ? row : n - 1)[quad / 2] >> quad % 2 * 4;
        Quad<REAL> x;
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            x.value[c] = REAL(source.value[c]);
            if (N_IN % 4 && quad * 4 + c >= N_IN) x.value[c] = REAL(0);  // what is there belongs to something else
            if (INPUT_DROPOUT && !(kept >> c & 1)) x.value[c] = REAL(0);
        }
        return x;
    }

    // The rows of a tile are not in the same order in all lanes: the first sums of a lane are those that it keeps when
    // the warp adds them up, so that no instruction has to choose.  Rows in shared memory are so far apart that
    // the lanes still read from different banks.
    DEVICE void partial_sums(int part, int n) {
        if (!has_weights1()) return;
        const int first = X_BUFFERS ? lane / UNITS_OF_THREAD : 0;
        int offsets[TILE_ROWS];  // in shared memory, of the rows of a tile: row r ^ first is the one of number r
        offsets[0] = (int)(rows_in_memory(part) - memory) + first * ROW_BYTES + slice * (int)sizeof(Quad<SOURCE>);
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
            for (int i = 0; i < SPANS; ++i) {
                if (has_span(i)) {
#pragma unroll
                    for (int r = 0; r < TILE_ROWS; ++r) {
                        const int own = row + (r ^ first), quad = slice + i * GROUP_THREADS;
                        const Quad<SOURCE>* place = (const Quad<SOURCE>*)(memory + offsets[r] + row * ROW_BYTES);
                        if (!X_BUFFERS) place = row_of_thread(part, own, n);
                        const Quad<REAL> x = inputs(place + i * GROUP_THREADS, part, own, n, quad);
#pragma unroll
                        for (int c = 0; c < 4; ++c)
#pragma unroll
                            for (int j = 0; j < UNITS_OF_THREAD; ++j)
                                sums[r * UNITS_OF_THREAD + j] +=
                                    x.value[c] * w[i * SPAN_WEIGHTS + c * UNITS_OF_THREAD + j];
                    }
                }
            }
            WarpSums<TILE_ROWS * UNITS_OF_THREAD, 16, X_BUFFERS ? UNITS_OF_THREAD : 32>::run(sums, lane);
            to[row * PADDED_UNITS] = sums[0];
        }
    }

    // Calls f(i, the gradient of the weights of span i), without `x_factor`, for each span of this thread.  If gradients are
    // kept, those of the parts of a batch are added up.
    template <class F>
    DEVICE void weight_gradients(int part, int n, F f) {
        if (!has_weights1()) return;
#pragma unroll
        for (int i = 0; i < SPANS; ++i) {
            if (!has_span(i)) continue;
            REAL own[SPAN_WEIGHTS];
            REAL* const g = KEEPS_GRADIENT ? kept + i * SPAN_WEIGHTS : own;
#pragma unroll
            for (int number = 0; number < SPAN_WEIGHTS; ++number)
                if (begins_batch(part)) g[number] = REAL(0);
            const REAL* const delta1 = reals(AT_DELTA1) + group * UNITS_OF_THREAD;
            const int quad = slice + i * GROUP_THREADS;
            auto add_row = [&](int row) {
                const Quad<REAL> x = inputs(row_of_thread(part, row, n) + i * GROUP_THREADS, part, row, n, quad);
#pragma unroll
                for (int j = 0; j < UNITS_OF_THREAD; j += 4) {
                    const Quad<REAL> d = *(const Quad<REAL>*)(delta1 + row * PADDED_UNITS + j);
#pragma unroll
                    for (int c = 0; c < 4; ++c)
#pragma unroll
                        for (int unit = 0; unit < 4; ++unit)
                            g[c * UNITS_OF_THREAD + j + unit] += x.value[c] * d.value[unit];
                }
            };
            if (n == PART_ROWS) {  // with a constant number of rows, their addresses are constants
#pragma unroll(UNROLLED_ROWS)
                for (int row = 0; row < PART_ROWS; ++row) add_row(row);
            } else {
#pragma unroll 1
                for (int row = 0; row < n; ++row) add_row(row);
            }
            f(i, g);
        }
    }
};

}  // namespace persistent
