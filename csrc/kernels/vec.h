// The vector type the kernels are written in: GCC/Clang vector extensions, one width per
// instruction set. No include guard: each instruction set includes it once, inside its own
// namespace.

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
using Vec = typename VecType<T>::type;
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

#define SCRATCHNET_INLINE static inline __attribute__((always_inline))

template <class T>
SCRATCHNET_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename VecType<T>::unaligned*>(p);
}

template <class T>
SCRATCHNET_INLINE void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename VecType<T>::unaligned*>(p) = v;
}

// The first n lanes, the others zero; memory past them is not touched.
template <class T>
SCRATCHNET_INLINE Vec<T> load_first(const T* p, int64_t n) {
  T lanes[kLanes<T>] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}

template <class T>
SCRATCHNET_INLINE void store_first(T* p, Vec<T> v, int64_t n) {
  T lanes[kLanes<T>];
  store(lanes, v);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

SCRATCHNET_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
