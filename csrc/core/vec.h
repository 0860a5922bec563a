// The vector type the kernels are written in: GCC/Clang vector extensions, one width per
// instruction set. No include guard: each_isa.h includes it once for each, in its namespace.

constexpr int kVectorBytes = SCRATCHNET_VECTOR_BYTES;

template <class T>
struct VecType;
template <>
struct VecType<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
  typedef float unaligned __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
  typedef int32_t bits __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VecType<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
  typedef double unaligned __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
  typedef int64_t bits __attribute__((vector_size(kVectorBytes)));
};

template <class T>
using Bits = typename VecType<T>::bits;  // integers as wide as T, and what comparisons give
template <class T>
using Vec = typename VecType<T>::type;
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

#undef SCRATCHNET_INLINE
#undef SCRATCHNET_UNROLL
#define SCRATCHNET_INLINE static inline __attribute__((always_inline))
// Before every loop over an array of vectors that is meant to live in registers: unrolled at once,
// and not after the compiler has already decided to keep the array in memory.
#define SCRATCHNET_UNROLL _Pragma("GCC unroll 32")

template <class T>
SCRATCHNET_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename VecType<T>::unaligned*>(p);
}

template <class T>
SCRATCHNET_INLINE void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename VecType<T>::unaligned*>(p) = v;
}

template <class T>
SCRATCHNET_INLINE void prefetch(const T* p) {
  __builtin_prefetch(p, 1);
}

SCRATCHNET_INLINE Vec<float> sqrt_vec(Vec<float> x) {
#if SCRATCHNET_VECTOR_BYTES == 64
  return _mm512_sqrt_ps(x);
#elif SCRATCHNET_VECTOR_BYTES == 32
  return _mm256_sqrt_ps(x);
#else
  for (int i = 0; i < kLanes<float>; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
#endif
}
SCRATCHNET_INLINE Vec<double> sqrt_vec(Vec<double> x) {
#if SCRATCHNET_VECTOR_BYTES == 64
  return _mm512_sqrt_pd(x);
#elif SCRATCHNET_VECTOR_BYTES == 32
  return _mm256_sqrt_pd(x);
#else
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_sqrt(x[i]);
  return x;
#endif
}

// Loads and stores of a vector's first n lanes; the other lanes are zero or untouched, and so is
// the memory behind them. The only place where vector extensions do not suffice: AVX has an
// instruction.
#if SCRATCHNET_VECTOR_BYTES == 64

template <class T>
using Mask = uint16_t;
template <class T>
SCRATCHNET_INLINE Mask<T> first_lanes(int64_t n) {
  return static_cast<Mask<T>>((1u << n) - 1);
}
SCRATCHNET_INLINE Vec<float> load_masked(const float* p, Mask<float> mask) {
  return _mm512_maskz_loadu_ps(mask, p);
}
SCRATCHNET_INLINE Vec<double> load_masked(const double* p, Mask<double> mask) {
  return _mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), p);
}
SCRATCHNET_INLINE void store_masked(float* p, Vec<float> v, Mask<float> mask) {
  _mm512_mask_storeu_ps(p, mask, v);
}
SCRATCHNET_INLINE void store_masked(double* p, Vec<double> v, Mask<double> mask) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>(mask), v);
}

#elif SCRATCHNET_VECTOR_BYTES == 32

template <class T>
using Mask = __m256i;
template <class T>
SCRATCHNET_INLINE Mask<T> first_lanes(int64_t n) {
  typename VecType<T>::bits lane, count = {};
  for (int i = 0; i < kLanes<T>; ++i) lane[i] = i, count[i] = n;
  return reinterpret_cast<__m256i>(lane < count);
}
SCRATCHNET_INLINE Vec<float> load_masked(const float* p, Mask<float> mask) {
  return _mm256_maskload_ps(p, mask);
}
SCRATCHNET_INLINE Vec<double> load_masked(const double* p, Mask<double> mask) {
  return _mm256_maskload_pd(p, mask);
}
SCRATCHNET_INLINE void store_masked(float* p, Vec<float> v, Mask<float> mask) {
  _mm256_maskstore_ps(p, mask, v);
}
SCRATCHNET_INLINE void store_masked(double* p, Vec<double> v, Mask<double> mask) {
  _mm256_maskstore_pd(p, mask, v);
}

#else

template <class T>
using Mask = int64_t;
template <class T>
SCRATCHNET_INLINE Mask<T> first_lanes(int64_t n) {
  return n;
}
template <class T>
SCRATCHNET_INLINE Vec<T> load_masked(const T* p, int64_t n) {
  if (n == kLanes<T>) return load(p);
  Vec<T> v = {};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
template <class T>
SCRATCHNET_INLINE void store_masked(T* p, Vec<T> v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}

#endif

// The same where it is not worth keeping the mask.
template <class T>
SCRATCHNET_INLINE Vec<T> load_first(const T* p, int64_t n) {
  return n == kLanes<T> ? load(p) : load_masked(p, first_lanes<T>(n));
}
template <class T>
SCRATCHNET_INLINE void store_first(T* p, Vec<T> v, int64_t n) {
  n == kLanes<T> ? store(p, v) : store_masked(p, v, first_lanes<T>(n));
}

SCRATCHNET_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
