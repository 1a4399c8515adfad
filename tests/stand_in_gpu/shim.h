// The names of CUDA C++ that kernels use, for g++.  The scheduler of the threads is in scheduler.cpp.
#pragma once
#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <string>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

namespace shim {

struct Index {
    unsigned x, y, z;
};
extern Index thread_index, block_index, block_size, grid_size;

struct Launch {
    Index grid, block;
    size_t dynamic_shared;
    uint64_t seed;
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
// The block's shared variable that belongs to `key`: at its first use all bytes are 0xFF, which is NaN.
void* shared(const void* key, size_t bytes);
extern const char dynamic_key;
extern size_t dynamic_bytes;

// A lambda expression at the declaration is the key: each instance of a template has its own.
template <class T, class Key>
T& shared_variable(Key) {
    static const char key = 0;
    return *(T*)shared(&key, sizeof(T));
}

inline unsigned lane() { return (thread_index.x + block_size.x * (thread_index.y + block_size.y * thread_index.z)) % 32; }

template <class T>
T from_lane(unsigned mask, T value, unsigned source, int line) {
    static_assert(sizeof(T) <= 8, "a shuffle exchanges at most eight bytes");
    unsigned char mine[8] = {}, found[8];
    memcpy(mine, &value, sizeof value);
    exchange(mask, mine, source, found, line);
    memcpy(&value, found, sizeof value);
    return value;
}
inline unsigned xor_lane(unsigned distance, unsigned width) {
    const unsigned source = lane() ^ distance;
    return source / width > lane() / width ? lane() : source;
}
inline unsigned lane_below(unsigned distance, unsigned width) {
    return lane() % width + distance < width ? lane() + distance : lane();
}
inline unsigned lane_above(unsigned distance, unsigned width) {
    return lane() % width >= distance ? lane() - distance : lane();
}
inline unsigned lane_of_group(unsigned source, unsigned width) { return lane() / width * width + source % width; }

template <class T>
const char* type_name() {  // NumPy's
    if (std::is_same_v<T, float>) return "float32";
    if (std::is_same_v<T, double>) return "float64";
    if (std::is_same_v<T, bool>) return "bool";
    if (!std::is_integral_v<T>) return "structure";
    const bool is_signed = std::is_signed_v<T>;
    switch (sizeof(T)) {
        case 1: return is_signed ? "int8" : "uint8";
        case 2: return is_signed ? "int16" : "uint16";
        case 4: return is_signed ? "int32" : "uint32";
        default: return is_signed ? "int64" : "uint64";
    }
}
template <class T>
std::string describe() {
    using Pointee = std::remove_pointer_t<T>;
    return std::string(type_name<std::remove_cv_t<Pointee>>()) + (std::is_pointer_v<T> ? "*" : "") + ",";
}
template <class... P>
std::string signature(void (*)(P...)) {
    return (std::string() + ... + describe<P>());
}
template <class... P, size_t... I>
void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_cv_t<P>*)arguments[I]...);
}
template <class... P>
void call(void (*kernel)(P...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<P...>());
}
template <class To, class From>
To bits(From value) {
    static_assert(sizeof(To) == sizeof(From), "");
    To result;
    memcpy(&result, &value, sizeof result);
    return result;
}
}  // namespace shim

// What the host calls for each kernel.
#define SHIM_KERNEL(name)                                                                                    \
    extern "C" __attribute__((visibility("default"))) const char* signature_##name() {                       \
        static const std::string text = shim::signature(name);                                               \
        return text.c_str();                                                                                 \
    }                                                                                                        \
    extern "C" __attribute__((visibility("default"))) int launch_##name(void** a, const shim::Launch* how) { \
        return shim::launch([](void** arguments) { shim::call(name, arguments); }, a, how);                  \
    }

#define threadIdx (shim::thread_index)
#define blockIdx (shim::block_index)
#define blockDim (shim::block_size)
#define gridDim (shim::grid_size)
const int warpSize = 32;

// WITHOUT_BARRIER is the line of a barrier that is left out, or 0
#define SHIM_BARRIER(vote) (__LINE__ == WITHOUT_BARRIER ? (vote) != 0 : shim::barrier(vote, __LINE__))
#define __syncwarp(...) \
    (__LINE__ == WITHOUT_BARRIER ? 0u : shim::ballot(0xffffffffu __VA_OPT__(&) __VA_ARGS__, 0, __LINE__))
#define __syncthreads() ((void)SHIM_BARRIER(0))
#define __syncthreads_or(vote) (SHIM_BARRIER(vote) != 0)
#define __syncthreads_and(vote) (SHIM_BARRIER(!(vote)) == 0)
#define __syncthreads_count(vote) SHIM_BARRIER(vote)

#define SHIM_WIDTH(...) (32 __VA_OPT__(*0 +) __VA_ARGS__)
#define __shfl_sync(mask, value, source, ...) \
    shim::from_lane(mask, value, shim::lane_of_group(source, SHIM_WIDTH(__VA_ARGS__)), __LINE__)
#define __shfl_xor_sync(mask, value, distance, ...) \
    shim::from_lane(mask, value, shim::xor_lane(distance, SHIM_WIDTH(__VA_ARGS__)), __LINE__)
#define __shfl_down_sync(mask, value, distance, ...) \
    shim::from_lane(mask, value, shim::lane_below(distance, SHIM_WIDTH(__VA_ARGS__)), __LINE__)
#define __shfl_up_sync(mask, value, distance, ...) \
    shim::from_lane(mask, value, shim::lane_above(distance, SHIM_WIDTH(__VA_ARGS__)), __LINE__)
#define __ballot_sync(mask, vote) shim::ballot(mask, vote, __LINE__)
#define __any_sync(mask, vote) (shim::ballot(mask, vote, __LINE__) != 0)
#define __all_sync(mask, vote) (shim::ballot(mask, !(vote), __LINE__) == 0)

inline void __threadfence() {}
inline void __threadfence_block() {}

template <class A, class B>
std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return fmin((T)a, (T)b);
    else return (T)b < (T)a ? (T)b : (T)a;
}
template <class A, class B>
std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    if constexpr (std::is_floating_point_v<T>) return fmax((T)a, (T)b);
    else return (T)a < (T)b ? (T)b : (T)a;
}
inline float rsqrt(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((unsigned long long)a * b) >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
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
T atomicAdd(T* p, std::common_type_t<T> value) {
    const T old = *p;
    *p += value;
    return old;
}
template <class T>
T atomicMin(T* p, std::common_type_t<T> value) {
    const T old = *p;
    *p = min(old, value);
    return old;
}
template <class T>
T atomicMax(T* p, std::common_type_t<T> value) {
    const T old = *p;
    *p = max(old, value);
    return old;
}
template <class T>
T atomicExch(T* p, std::common_type_t<T> value) {
    const T old = *p;
    *p = value;
    return old;
}
template <class T>
T atomicCAS(T* p, std::common_type_t<T> expected, std::common_type_t<T> value) {
    const T old = *p;
    if (old == expected) *p = value;
    return old;
}
