// The persistent kernel (persistent.cuh): how the blocks of a cooperative grid exchange numbers, for networks that no
// cluster holds.  The functions are those of `cluster_exchange.cuh`.
//
// A number goes to the same place of a copy of the exchanged arrays in global memory, which is in the L2 cache.  Then
// the blocks meet, and each copies what it needs to its shared memory.  The exchanged arrays are the first in shared
// memory: shares, sums of them (BY_OWNERS), sums over weights, norms.
//
//   bytes of `exchange`
//   0                    counter of arrivals, of all launches
//   COPIES_AT            the copy for even parts, of COPY_BYTES, and that for odd ones; each consists of the arrays
//                        that are for all blocks, and from OWNERS_AT on the shares for each owner
//
// Why one side of a copy may be written again: a block publishes for part + 2 after it has met the others in the step of
// part + 1.  Each block went there after it had copied all that it received in the step of part, and a barrier of the
// block.  In the first step of a launch nobody reads what earlier launches left.

namespace persistent {

struct Exchange : Thread {
    DEVICE Exchange(const Arguments& arguments, unsigned char* shared) : Thread(arguments, shared) {}

    DEVICE unsigned char* exchange() const { return *at<unsigned char*>(AT_EXCHANGE); }
    DEVICE unsigned long long* counter() const { return (unsigned long long*)exchange(); }
    DEVICE unsigned char* copy_for(int part) const { return exchange() + COPIES_AT + (part & 1) * COPY_BYTES; }

    // All blocks wait for each other.  What any thread has published before, any thread can collect afterwards.
    DEVICE void meet() {
        // Thread 0 fences what the threads of this block have published.
        __syncthreads();
        if (t == 0) {
            grid_fence();
            arrive(counter());
            wait_for_count(counter(), *at<unsigned long long>(AT_MEETING) += BLOCKS);
            grid_fence();
        }
        // The others collect after thread 0 has seen that all have come.
        __syncthreads();
    }

    // Any block may send at once.  Before the first number of this launch is written to `words`, the blocks meet, so
    // all have read them.
    DEVICE void begin_exchange() {
        fail_unless(gridDim.x == BLOCKS);  // or it would wait for blocks that do not exist
        // Each launch leaves a multiple of BLOCKS.  Before this block arrives, others may have arrived, but once at most.
        if (t == 0) *at<unsigned long long>(AT_MEETING) = count_of(counter()) / BLOCKS * BLOCKS;
        __syncthreads();
    }

    // What block `block` contributes to entry q of the logits, or of z of layer 2; and to the two sums over weights.
    DEVICE REAL* share(int, int block, int q) const { return reals(AT_SHARES) + (block * SHARES + q); }
    DEVICE double* weight_sum(int, int block, int i) const { return at<double>(AT_BLOCK_WEIGHTS) + (block * 2 + i); }

    DEVICE void expect(int, int) const {}
    DEVICE void expect_owned(int) const {}
    DEVICE void expect_norms() const {}

    // -- for any thread: to all blocks, or to one -----------------------------------------------------------------------

    template <class T>
    DEVICE void send(int part, T* place, T value) {
        publish((T*)(copy_for(part) + ((unsigned char*)place - memory)), value);
    }
    DEVICE void send_to_owner(int part, REAL* place, int owner, REAL value) {
        REAL* const shares = (REAL*)(copy_for(part) + OWNERS_AT + owner * OWNER_BYTES);
        publish(shares + (place - reals(AT_SHARES)), value);
    }
    DEVICE void send_norm(int part, double* place, double value) { send(part, place, value); }

    // -- for all threads: until what all blocks have sent is in this block ----------------------------------------------

    DEVICE void receive(int part) {
        meet();
        copy(RECEIVED_AT, copy_for(part) + RECEIVED_AT, RECEIVED_BYTES);
        // only with the part for which they are sent: with the others, what is in their place is old
        if (sends_weights(part)) copy(AT_BLOCK_WEIGHTS, copy_for(part) + AT_BLOCK_WEIGHTS, WEIGHT_BYTES);
        end_of_copies();
    }
    DEVICE void receive_owned(int part) {
        meet();
        copy(AT_SHARES, copy_for(part) + OWNERS_AT + rank * OWNER_BYTES, OWNER_BYTES);
        end_of_copies();
    }
    DEVICE void receive_norms(int part, unsigned int) {
        meet();
        copy(AT_BLOCK_NORMS, copy_for(part) + AT_BLOCK_NORMS, NORM_BYTES);
        end_of_copies();
    }

    // To shared memory.  Several loads are on their way at once.
    DEVICE void copy(int place, const unsigned char* from, int bytes) {
        const int count = bytes / 16, AT_ONCE = 4;
        const Words* const source = (const Words*)from;
#pragma unroll 1
        for (int i = t; i < count; i += AT_ONCE * BLOCK_THREADS) {
            Words found[AT_ONCE];
#pragma unroll
            for (int k = 0; k < AT_ONCE; ++k)
                if (i + k * BLOCK_THREADS < count) found[k] = collect(source + i + k * BLOCK_THREADS);
#pragma unroll
            for (int k = 0; k < AT_ONCE; ++k)
                if (i + k * BLOCK_THREADS < count) at<Words>(place)[i + k * BLOCK_THREADS] = found[k];
        }
    }

    // Any thread reads what others have copied.  Those that read what was there before are past the barriers of `meet`.
    DEVICE void end_of_copies() { __syncthreads(); }
};

}  // namespace persistent
