// What the blocks of a cooperative grid need to exchange numbers through global memory.
//
// In the memory model of PTX, `publish` and `collect` are weak: what a thread has published is certain to be seen by
// another one only if a chain of synchronization leads from one to the other.  Here it is
//
//   publish -> barrier of the block -> fence, arrive -> wait_for_count, fence -> barrier of the block -> collect
//
// A fence before a relaxed atomic operation is a release, and one after a relaxed load that has seen its result is an
// acquire.  Barriers of a block and these are cumulative: the fence of one thread covers what the others of its block
// have done before the barrier, and what they do after the next one.
//
// Other compilers than NVIDIA's get these functions from elsewhere.

struct alignas(16) Words {
    unsigned int a, b, c, d;
};

#ifdef __CUDACC__

DEVICE void grid_fence() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }

DEVICE void arrive(unsigned long long* counter) {
    asm volatile("red.relaxed.gpu.global.add.u64 [%0], 1;" ::"l"(counter) : "memory");
}

DEVICE unsigned long long count_of(const unsigned long long* counter) {
    unsigned long long count;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(count) : "l"(counter) : "memory");
    return count;
}

DEVICE void wait_for_count(const unsigned long long* counter, unsigned long long count) {
    while (count_of(counter) < count) {
    }
}

DEVICE void publish(float* place, float value) {
    asm volatile("st.global.f32 [%0], %1;" ::"l"(place), "f"(value) : "memory");
}
DEVICE void publish(double* place, double value) {
    asm volatile("st.global.f64 [%0], %1;" ::"l"(place), "d"(value) : "memory");
}

// Past the L1 cache.
DEVICE Words collect(const Words* place) {
    Words found;
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(found.a), "=r"(found.b), "=r"(found.c), "=r"(found.d) : "l"(place) : "memory");
    return found;
}

// Ends the program with an error of the launch.
DEVICE void fail_unless(bool condition) {
    if (!condition) asm volatile("trap;");
}

#endif
