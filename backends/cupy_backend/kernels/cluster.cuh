// What blocks of a cluster need to exchange numbers, and copies into shared memory that a thread need not wait for.
//
// A store into the shared memory of another block is counted there by an mbarrier: one thread of the receiving block
// says how many bytes to expect, and every thread that reads them waits.  A barrier of the cluster would do too, but
// its release waits for all pending memory operations of a thread, the copies of the next rows among them, and its
// acquire invalidates the L1 cache.
//
// And the clipping of a number, since C++ would need four instructions for what is one for a GPU.
//
// Compute capability 9.0 or higher.  Other compilers than NVIDIA's get these functions from elsewhere.
#ifdef __CUDACC__

// The compiler may not use what it has computed from x before.
DEVICE void recompute(int& x) { asm volatile("" : "+r"(x)); }

DEVICE unsigned int shared_address(const void* place) { return (unsigned int)__cvta_generic_to_shared(place); }

// Number of this block in its cluster.
DEVICE int cluster_rank() {
    unsigned int rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return (int)rank;
}

// All threads of all blocks of the cluster wait for each other.
DEVICE void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release;\n barrier.cluster.wait.acquire;" ::: "memory");
}

DEVICE void mbarrier_init(unsigned long long* mbarrier, unsigned int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(mbarrier)), "r"(arrivals) : "memory");
}

// Makes the mbarriers that this thread has initialized visible to the cluster, once a barrier of the cluster follows.
DEVICE void fence_mbarrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// One arrival, and so many more bytes without which the phase does not end.
DEVICE void mbarrier_expect(unsigned long long* mbarrier, unsigned int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(mbarrier)), "r"(bytes)
                 : "memory");
}

// Waits for the end of the phase with this parity; then what its stores have written is visible.
DEVICE void mbarrier_wait(unsigned long long* mbarrier, unsigned int parity) {
    asm volatile(
        "{\n .reg .pred done;\n"
        "again:\n mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n"
        " @!done bra again;\n}" ::"r"(shared_address(mbarrier)), "r"(parity) : "memory");
}

// The address, in block `rank`, of what is at `place` in this block.
DEVICE unsigned int address_in_block(const void* place, int rank) {
    unsigned int there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(place)), "r"(rank));
    return there;
}

// Writes to the same place in block `rank`, and lets the mbarrier there count the bytes.
DEVICE void store_async(float* place, int rank, float value, unsigned long long* mbarrier) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %1, [%2];"
                 ::"r"(address_in_block(place, rank)), "f"(value), "r"(address_in_block(mbarrier, rank)) : "memory");
}
DEVICE void store_async(double* place, int rank, double value, unsigned long long* mbarrier) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.f64 [%0], %1, [%2];"
                 ::"r"(address_in_block(place, rank)), "d"(value), "r"(address_in_block(mbarrier, rank)) : "memory");
}

// x, but no further from zero than the limit; NaN stays NaN.
DEVICE float clipped(float x, float limit) {
    asm("max.NaN.f32 %0, %0, %1;" : "+f"(x) : "f"(-limit));
    asm("min.NaN.f32 %0, %0, %1;" : "+f"(x) : "f"(limit));
    return x;
}
DEVICE double clipped(double x, double limit) {
    return np::minimum<double>(np::maximum<double>(x, -limit), limit);
}

// Copies 4, 8 or 16 bytes from global to shared memory, between addresses that are multiples of that.
template <int BYTES>
DEVICE void copy_async(void* to, const void* from) {
    if (BYTES == 16)  // past the L1 cache
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;"
                     ::"r"(shared_address(to)), "l"(from), "n"(BYTES == 16 ? 8 : BYTES) : "memory");
}

// Waits for the copies of this thread; other threads see them after a barrier.
DEVICE void copy_async_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }

#endif
