// The elementary functions of the formulas, with NumPy's results for NaN and infinity.

#define DEVICE __device__ __forceinline__

namespace np {
template <class T> DEVICE T abs(T x) { return ::fabs(x); }
template <class T> DEVICE T exp(T x) { return ::exp(x); }
template <class T> DEVICE T expm1(T x) { return ::expm1(x); }
template <class T> DEVICE T log(T x) { return ::log(x); }
template <class T> DEVICE T log1p(T x) { return ::log1p(x); }
template <class T> DEVICE T sqrt(T x) { return ::sqrt(x); }
template <class T> DEVICE T tanh(T x) { return ::tanh(x); }
template <class T> DEVICE T erfc(T x) { return ::erfc(x); }
template <class T> DEVICE T maximum(T a, T b) { return a >= b || a != a ? a : b; }
template <class T> DEVICE T minimum(T a, T b) { return a <= b || a != a ? a : b; }
template <class T> DEVICE T sign(T x) { return x > T(0) ? T(1) : x < T(0) ? T(-1) : x; }
}  // namespace np

// Results of a row-wise formula that returns two values: each a function of the entry's number k.
template <class A, class B>
struct Pair {
    A first;
    B second;
    DEVICE Pair(A a, B b) : first(a), second(b) {}
};

// The lanes of a warp that share one row of n entries: lane, lane + LANES, lane + 2 LANES, ... belong to this one.
// All 32 lanes of the warp must call `max` and `sum` together.
template <int LANES>
struct Row {
    int n, lane;

    DEVICE static int lanes() { return LANES; }

    template <class T, class F>
    DEVICE T max(F entry) const {
        T top = entry(lane < n ? lane : 0);
        for (int k = lane + LANES; k < n; k += LANES) top = np::maximum<T>(top, entry(k));
        for (int distance = LANES / 2; distance; distance /= 2)
            top = np::maximum<T>(top, __shfl_xor_sync(0xffffffffu, top, distance));
        return top;
    }

    template <class T, class F>
    DEVICE T sum(F entry) const {
        T total = T(0);
        for (int k = lane; k < n; k += LANES) total += entry(k);
        for (int distance = LANES / 2; distance; distance /= 2)
            total += __shfl_xor_sync(0xffffffffu, total, distance);
        return total;
    }
};
