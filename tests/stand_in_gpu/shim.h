// The names of CUDA C++ that kernels use, for g++.  The scheduler of the threads is in scheduler.cpp.
//
// No header is included: NVRTC gives kernels none either, and reading <math.h> would take longer than the rest.
#pragma once
typedef decltype(sizeof 0) size_t;

namespace shim {

struct Index {
    unsigned x, y, z;
};
extern Index thread_index, block_index, block_size, grid_size;

struct Launch {
    Index grid, block;
    size_t dynamic_shared;
    unsigned cluster;  // blocks of a cluster
    unsigned long long seed;
    char* message;  // receives what went wrong
    int capacity;
};

// Runs `body(arguments)` in every thread; returns nonzero after an error.
int launch(void (*body)(void**), void** arguments, const Launch* launch);
// Waits for all threads of the block; returns the number of them whose vote is not zero.
int barrier(int vote, int line);
// Waits for the lanes of `mask`; `result` receives the eight bytes that lane `source` has brought.
void exchange(unsigned mask, const void* mine, unsigned source, void* result, int line);
// Waits for the lanes of `mask`; returns the bits of those whose vote is not zero.
unsigned ballot(unsigned mask, int vote, int line);
// Waits for the lanes of the warp; d (16, 8) += a (16, 16) b (16, 8), of which each lane has what the PTX manual says.
void multiply_add(float* d, const unsigned* a, unsigned b0, unsigned b1, int line);
// The block's shared variable that belongs to `key`: at its first use all bytes are 0xFF, which is NaN.
void* shared(const void* key, size_t bytes);
extern const char dynamic_key;
extern size_t dynamic_bytes;

// -- of a cluster of blocks; the names of kernels/cluster.cuh
unsigned cluster_rank();
// Waits for all threads of the cluster.
void cluster_barrier(int line);
void mbarrier_init(void* mbarrier, unsigned count);
// Makes what this thread has initialized visible to the cluster.
void mbarrier_fence();
void mbarrier_expect(void* mbarrier, unsigned bytes);
void mbarrier_wait(void* mbarrier, unsigned parity);
void store_async(void* place, unsigned rank, const void* value, size_t bytes, void* mbarrier);
void copy_async(void* to, const void* from, size_t bytes);
void copy_async_wait();

// -- of a cooperative grid; the names of kernels/grid.cuh
void grid_fence();
void arrive(unsigned long long* counter);
void wait_for_count(const unsigned long long* counter, unsigned long long count);
void publish(void* place, const void* value, size_t bytes);
void collect(const void* place, void* result);
void fail_unless(int condition);

}  // namespace shim

#ifndef SHIM_SCHEDULER
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __align__(n) alignas(n)

#define threadIdx (shim::thread_index)
#define blockIdx (shim::block_index)
#define blockDim (shim::block_size)
#define gridDim (shim::grid_size)
const int warpSize = 32;

namespace shim {

// A lambda expression at the declaration is the key: each instance of a template has its own.
template <class T, class Key>
T& shared_variable(Key) {
    static const char key = 0;
    return *(T*)shared(&key, sizeof(T));
}

// -- signatures ---------------------------------------------------------------------------------------------------

inline const char* name_of(const float*) { return "float32"; }
inline const char* name_of(const double*) { return "float64"; }
inline const char* name_of(const bool*) { return "bool"; }
inline const char* name_of(const char*) { return "int8"; }
inline const char* name_of(const signed char*) { return "int8"; }
inline const char* name_of(const unsigned char*) { return "uint8"; }
inline const char* name_of(const short*) { return "int16"; }
inline const char* name_of(const unsigned short*) { return "uint16"; }
inline const char* name_of(const int*) { return "int32"; }
inline const char* name_of(const unsigned*) { return "uint32"; }
inline const char* name_of(const long*) { return "int64"; }
inline const char* name_of(const unsigned long*) { return "uint64"; }
inline const char* name_of(const long long*) { return "int64"; }
inline const char* name_of(const unsigned long long*) { return "uint64"; }
inline const char* name_of(const void*) { return "structure"; }

template <class T>
struct Parameter {
    typedef T type;
    static const char* name() { return name_of((const T*)0); }
    static const char* end() { return ","; }
};
template <class T>
struct Parameter<const T> : Parameter<T> {};
template <class T>
struct Parameter<T*> {
    typedef T* type;
    static const char* name() { return name_of((const T*)0); }
    static const char* end() { return "*,"; }
};

inline char* append(char* text, const char* part) {
    while (*part) *text++ = *part++;
    *text = 0;
    return text;
}
// Writes the NumPy names of the parameters' types, each with a comma behind it.
template <class... P>
void describe(void (*)(P...), char* text) {
    ((text = append(append(text, Parameter<P>::name()), Parameter<P>::end())), ...);
}
template <int...>
struct Numbers {};
template <class... P, int... I>
void call(void (*kernel)(P...), void** arguments, Numbers<I...>) {
    kernel(*(typename Parameter<P>::type*)arguments[I]...);
}
template <class... P>
void call(void (*kernel)(P...), void** arguments) {
    call(kernel, arguments, Numbers<__integer_pack((int)sizeof...(P))...>());
}

// -- lanes of a warp ----------------------------------------------------------------------------------------------

inline unsigned lane() { return (thread_index.x + block_size.x * (thread_index.y + block_size.y * thread_index.z)) % 32; }

template <class T>
T from_lane(unsigned mask, T value, unsigned source, int line) {
    static_assert(sizeof(T) <= 8, "a shuffle exchanges at most eight bytes");
    unsigned char mine[8] = {}, found[8];
    __builtin_memcpy(mine, &value, sizeof value);
    exchange(mask, mine, source, found, line);
    __builtin_memcpy(&value, found, sizeof value);
    return value;
}
inline unsigned xor_lane(unsigned distance, unsigned width = 32) {
    const unsigned source = lane() ^ distance;
    return source / width > lane() / width ? lane() : source;
}
inline unsigned lane_below(unsigned distance, unsigned width = 32) {
    return lane() % width + distance < width ? lane() + distance : lane();
}
inline unsigned lane_above(unsigned distance, unsigned width = 32) {
    return lane() % width >= distance ? lane() - distance : lane();
}
inline unsigned lane_of_group(unsigned source, unsigned width = 32) { return lane() / width * width + source % width; }

template <class To, class From>
To bits(From value) {
    static_assert(sizeof(To) == sizeof(From), "");
    To result;
    __builtin_memcpy(&result, &value, sizeof result);
    return result;
}
template <class T>
struct Same {
    typedef T type;
};
}  // namespace shim

// What the host calls for each kernel.
#define SHIM_KERNEL(name)                                                                                    \
    extern "C" __attribute__((visibility("default"))) void signature_##name(char* text) {                    \
        shim::describe(name, text);                                                                          \
    }                                                                                                        \
    extern "C" __attribute__((visibility("default"))) int launch_##name(void** a, const shim::Launch* how) { \
        return shim::launch([](void** arguments) { shim::call(name, arguments); }, a, how);                  \
    }

// WITHOUT_BARRIER is the line of a barrier that is left out, or 0
#define SHIM_BARRIER(vote) (__LINE__ == WITHOUT_BARRIER ? (vote) != 0 : shim::barrier(vote, __LINE__))
#define __syncthreads() ((void)SHIM_BARRIER(0))
#define __syncthreads_or(vote) (SHIM_BARRIER(vote) != 0)
#define __syncthreads_and(vote) (SHIM_BARRIER(!(vote)) == 0)
#define __syncthreads_count(vote) SHIM_BARRIER(vote)
#define __syncwarp(...) \
    (__LINE__ == WITHOUT_BARRIER ? 0u : shim::ballot(0xffffffffu __VA_OPT__(&) __VA_ARGS__, 0, __LINE__))

#define __shfl_sync(mask, value, ...) shim::from_lane(mask, value, shim::lane_of_group(__VA_ARGS__), __LINE__)
#define __shfl_xor_sync(mask, value, ...) shim::from_lane(mask, value, shim::xor_lane(__VA_ARGS__), __LINE__)
#define __shfl_down_sync(mask, value, ...) shim::from_lane(mask, value, shim::lane_below(__VA_ARGS__), __LINE__)
#define __shfl_up_sync(mask, value, ...) shim::from_lane(mask, value, shim::lane_above(__VA_ARGS__), __LINE__)
#define __ballot_sync(mask, vote) shim::ballot(mask, vote, __LINE__)
#define __any_sync(mask, vote) (shim::ballot(mask, vote, __LINE__) != 0)
#define __all_sync(mask, vote) (shim::ballot(mask, !(vote), __LINE__) == 0)

#define SHIM_UNLESS_LEFT_OUT(call) (__LINE__ == WITHOUT_BARRIER ? (void)0 : call)
#define cluster_rank() ((int)shim::cluster_rank())
#define cluster_barrier() SHIM_UNLESS_LEFT_OUT(shim::cluster_barrier(__LINE__))
#define mbarrier_init(mbarrier, count) shim::mbarrier_init(mbarrier, count)
#define fence_mbarrier_init() SHIM_UNLESS_LEFT_OUT(shim::mbarrier_fence())
#define mbarrier_expect(mbarrier, bytes) shim::mbarrier_expect(mbarrier, bytes)
#define mbarrier_wait(mbarrier, parity) SHIM_UNLESS_LEFT_OUT(shim::mbarrier_wait(mbarrier, parity))
#define copy_async_wait() SHIM_UNLESS_LEFT_OUT(shim::copy_async_wait())
inline void recompute(int&) {}
template <class T>
T clipped(T x, T limit) {
    return x != x ? x : x < -limit ? -limit : x > limit ? limit : x;
}
template <class T>
void store_async(T* place, int rank, T value, unsigned long long* mbarrier) {
    shim::store_async(place, rank, &value, sizeof value, mbarrier);
}
template <int BYTES>
void copy_async(void* to, const void* from) {
    shim::copy_async(to, from, BYTES);
}

#define grid_fence() SHIM_UNLESS_LEFT_OUT(shim::grid_fence())
#define arrive(counter) SHIM_UNLESS_LEFT_OUT(shim::arrive(counter))
#define wait_for_count(counter, count) SHIM_UNLESS_LEFT_OUT(shim::wait_for_count(counter, count))
#define fail_unless(condition) shim::fail_unless(condition)
inline unsigned long long count_of(const unsigned long long* counter) { return *counter; }
template <class T>
void publish(T* place, T value) {
    shim::publish(place, &value, sizeof value);
}
template <class T>
T collect(const T* place) {
    static_assert(sizeof(T) == 16, "");
    T value;
    shim::collect(place, &value);
    return value;
}

inline void __threadfence() {}
inline void __threadfence_block() {}

// -- functions ----------------------------------------------------------------------------------------------------

#define SHIM_ONE(name)              \
    extern "C" double name(double); \
    extern "C" float name##f(float); \
    inline float name(float x) { return name##f(x); }
#define SHIM_TWO(name)                      \
    extern "C" double name(double, double); \
    extern "C" float name##f(float, float); \
    inline float name(float x, float y) { return name##f(x, y); }
SHIM_ONE(exp) SHIM_ONE(exp2) SHIM_ONE(expm1) SHIM_ONE(log) SHIM_ONE(log2) SHIM_ONE(log1p) SHIM_ONE(sqrt) SHIM_ONE(cbrt)
SHIM_ONE(sin) SHIM_ONE(cos) SHIM_ONE(tan) SHIM_ONE(atan) SHIM_ONE(sinh) SHIM_ONE(cosh) SHIM_ONE(tanh) SHIM_ONE(asinh)
SHIM_ONE(erf) SHIM_ONE(erfc) SHIM_ONE(fabs) SHIM_ONE(floor) SHIM_ONE(ceil) SHIM_ONE(rint) SHIM_ONE(round) SHIM_ONE(trunc)
SHIM_TWO(fmin) SHIM_TWO(fmax) SHIM_TWO(pow) SHIM_TWO(fmod) SHIM_TWO(hypot) SHIM_TWO(atan2) SHIM_TWO(copysign)
extern "C" double fma(double, double, double);
extern "C" float fmaf(float, float, float);
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
inline float rsqrt(float x) { return 1 / sqrt(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float abs(float x) { return fabs(x); }
inline double abs(double x) { return fabs(x); }
inline int abs(int x) { return x < 0 ? -x : x; }
inline bool isfinite(double x) { return __builtin_isfinite(x); }
inline bool isinf(double x) { return __builtin_isinf(x); }
inline bool isnan(double x) { return x != x; }

// of two floating-point numbers the one that is not NaN
template <class A, class B>
auto min(A a, B b) -> decltype(true ? A() : B()) {
    return b < a || a != a ? b : a;
}
template <class A, class B>
auto max(A a, B b) -> decltype(true ? A() : B()) {
    return b > a || a != a ? b : a;
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
#define multiply_add(d, a, b0, b1) shim::multiply_add(d, a, b0, b1, __LINE__)
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
    const unsigned long long bytes = (unsigned long long)high << 32 | low;
    unsigned result = 0;
    for (int i = 0; i < 4; ++i) result |= (unsigned)(bytes >> (selector >> 4 * i & 7) * 8 & 255) << 8 * i;
    return result;
}
inline unsigned __float_as_uint(float x) { return shim::bits<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return shim::bits<float>(x); }
inline int __float_as_int(float x) { return shim::bits<int>(x); }
inline float __int_as_float(int x) { return shim::bits<float>(x); }
inline long long __double_as_longlong(double x) { return shim::bits<long long>(x); }
inline double __longlong_as_double(long long x) { return shim::bits<double>(x); }
template <class T>
T __ldg(const T* p) {
    return *p;
}

// blocks run one after the other and threads change only where they wait, so these need nothing special
template <class T>
T atomicAdd(T* p, typename shim::Same<T>::type value) {
    const T old = *p;
    *p += value;
    return old;
}
template <class T>
T atomicMin(T* p, typename shim::Same<T>::type value) {
    const T old = *p;
    *p = min(old, value);
    return old;
}
template <class T>
T atomicMax(T* p, typename shim::Same<T>::type value) {
    const T old = *p;
    *p = max(old, value);
    return old;
}
template <class T>
T atomicExch(T* p, typename shim::Same<T>::type value) {
    const T old = *p;
    *p = value;
    return old;
}
template <class T>
T atomicCAS(T* p, typename shim::Same<T>::type expected, typename shim::Same<T>::type value) {
    const T old = *p;
    if (old == expected) *p = value;
    return old;
}
#endif
