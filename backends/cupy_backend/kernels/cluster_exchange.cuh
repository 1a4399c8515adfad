// The persistent kernel (persistent.cuh): how the blocks of a cluster exchange numbers.  `grid_exchange.cuh` has the same
// functions for a grid.
//
// A number goes to the same place in the shared memory of another block, or of all blocks, where an mbarrier counts its
// bytes.  There are MBARRIERS of these: one for even and one for odd parts, for what all blocks send to all; one for
// the norms; with BY_OWNERS one for the shares that go to the owner of an entry.

namespace persistent {

struct Exchange : Thread {
    DEVICE Exchange(const Arguments& arguments, unsigned char* shared) : Thread(arguments, shared) {}

    // Afterwards any block may send, and all threads of all blocks have come here.
    DEVICE void begin_exchange() {
        if (t == 0) {
            for (int i = 0; i < MBARRIERS; ++i) mbarrier_init(at<unsigned long long>(AT_MBARRIERS) + i, 1);
            fence_mbarrier_init();
        }
        cluster_barrier();
    }

    DEVICE unsigned long long* mbarrier(int part) const { return at<unsigned long long>(AT_MBARRIERS) + (part & 1); }

    // What block `block` contributes to entry q of the logits, or of z of layer 2; and to the two sums over weights.
    DEVICE REAL* share(int part, int block, int q) const {
        return reals(AT_SHARES) + (((part & 1) * BLOCKS + block) * SHARES + q);
    }
    DEVICE double* weight_sum(int batch, int block, int i) const {
        return at<double>(AT_BLOCK_WEIGHTS) + (((batch & 1) * BLOCKS + block) * 2 + i);
    }

    // -- for one thread: how many bytes will come -----------------------------------------------------------------------

    DEVICE void expect(int part, int bytes) { mbarrier_expect(mbarrier(part), bytes); }
    DEVICE void expect_owned(int bytes) { mbarrier_expect(at<unsigned long long>(AT_MBARRIERS) + 3, bytes); }
    DEVICE void expect_norms() { mbarrier_expect(at<unsigned long long>(AT_MBARRIERS) + 2, BLOCKS * 8); }

    // -- for any thread: to all blocks, or to one -----------------------------------------------------------------------

    template <class T>
    DEVICE void send(int part, T* place, T value) {
#pragma unroll
        for (int to = 0; to < BLOCKS; ++to) store_async(place, to, value, mbarrier(part));
    }
    DEVICE void send_to_owner(int, REAL* place, int owner, REAL value) {
        store_async(place, owner, value, at<unsigned long long>(AT_MBARRIERS) + 3);
    }
    DEVICE void send_norm(int, double* place, double value) {
        unsigned long long* const mbarrier = at<unsigned long long>(AT_MBARRIERS) + 2;
        for (int to = 0; to < BLOCKS; ++to) store_async(place, to, value, mbarrier);
    }

    // -- for all threads: until what all blocks have sent is in this block ----------------------------------------------

    DEVICE void receive(int part) { mbarrier_wait(mbarrier(part), (part - first) >> 1 & 1); }
    DEVICE void receive_owned(int part) {
        mbarrier_wait(at<unsigned long long>(AT_MBARRIERS) + 3, (part - first) & 1);
    }
    // `count` norms were received before.
    DEVICE void receive_norms(int, unsigned int count) {
        mbarrier_wait(at<unsigned long long>(AT_MBARRIERS) + 2, count & 1);
    }
};

}  // namespace persistent
