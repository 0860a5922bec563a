// Element-wise functions and their derivatives on one vector, and on stretches of memory. No
// include guard: for the part of a file that each_isa.h reads once for each instruction set.

// e^x to about one unit in the last place: x = n ln 2 + r with |r| <= ln 2 / 2, e^r by its Taylor
// series, and 2^n through the exponent bits, in two steps so that overflow gives infinity and
// underflow a denormal. NaN stays NaN.
template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  static constexpr float limit = 120.0f, magic = 12582912.0f;  // 1.5 * 2^23
  static constexpr float ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f;
  static constexpr int bias = 127, mantissa = 23, terms = 7;
};
template <>
struct ExpConstants<double> {
  static constexpr double limit = 800.0, magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_high = 0x1.62e42fefa38p-1, ln2_low = 0x1.ef35793c7673p-45;
  static constexpr int bias = 1023, mantissa = 52, terms = 13;
};

template <class T>
SCRATCHNET_INLINE Vec<T> exp_vec(Vec<T> x) {
  using C = ExpConstants<T>;
  const Vec<T> zero = {};
  x = x > C::limit ? zero + C::limit : x;
  x = x < -C::limit ? zero - C::limit : x;
  // Adding 1.5 * 2^mantissa leaves the nearest integer in the low bits of the sum.
  const Vec<T> shifted = x * T(1.4426950408889634) + C::magic;
  const Vec<T> n = shifted - C::magic;
  const Vec<T> r = x - n * C::ln2_high - n * C::ln2_low;
  Vec<T> series = zero + 1;
  for (int k = C::terms; k >= 1; --k) series = series * r * (T(1) / k) + 1;
  const Bits<T> exponent =
      reinterpret_cast<Bits<T>>(shifted) - reinterpret_cast<Bits<T>>(zero + C::magic);
  const Bits<T> half = exponent >> 1;
  const Vec<T> first = reinterpret_cast<Vec<T>>((half + C::bias) << C::mantissa);
  const Vec<T> second = reinterpret_cast<Vec<T>>((exponent - half + C::bias) << C::mantissa);
  return series * first * second;
}

template <class T>
SCRATCHNET_INLINE Vec<T> all(T value) {
  return Vec<T>{} + value;
}

template <class T>
SCRATCHNET_INLINE Vec<T> abs_vec(Vec<T> x) {
  const Bits<T> sign = reinterpret_cast<Bits<T>>(-Vec<T>{});
  return reinterpret_cast<Vec<T>>(reinterpret_cast<Bits<T>>(x) & ~sign);
}

// log(1 + t) for t in [0, 1]: 2 artanh(t / (2 + t)) by its series, from half of 1 + t, whose
// logarithm is smaller by ln 2, where that is nearer to 1.
template <class T>
SCRATCHNET_INLINE Vec<T> log1p_vec(Vec<T> t) {
  constexpr int kTerms = sizeof(T) == 4 ? 5 : 11;
  const Bits<T> large = t > T(0.4142135623730950);
  const Vec<T> u = large ? (t - 1) * T(0.5) : t, s = u / (2 + u), square = s * s;
  Vec<T> series = all<T>(T(1) / (2 * kTerms + 1));
  for (int k = kTerms - 1; k >= 0; --k) series = series * square + T(1) / (2 * k + 1);
  const Vec<T> zero = {};
  return 2 * s * series + (large ? zero + T(0.6931471805599453) : zero);
}

template <class T>
SCRATCHNET_INLINE Vec<T> function_vec(Vec<T> x, Function function) {
  const Vec<T> zero = {};
  if (function == Function::relu) return x < zero ? zero : x;  // NaN stays NaN
  if (function == Function::sigmoid) return 1 / (1 + exp_vec<T>(-x));
  return x;
}

// grad times the derivative of the function that returned y.
template <class T>
SCRATCHNET_INLINE Vec<T> derivative_vec(Vec<T> grad, Vec<T> y, Function function) {
  const Vec<T> zero = {};
  if (function == Function::relu) return y <= zero ? zero : grad;
  if (function == Function::sigmoid) return grad * (y * (1 - y));
  return grad;
}

template <class T>
void add_to(T* sum, const T* term, int64_t size) {
  constexpr int64_t L = kLanes<T>;
  int64_t i = 0;
  for (; i + L <= size; i += L) store(sum + i, load(sum + i) + load(term + i));
  for (; i < size; ++i) sum[i] += term[i];
}

template <class T>
void apply(T* image, int64_t size, Function function) {
  constexpr int64_t L = kLanes<T>;
  int64_t i = 0;
  for (; i + L <= size; i += L) store(image + i, function_vec<T>(load(image + i), function));
  if (i < size) {
    store_first(image + i, function_vec<T>(load_first(image + i, size - i), function), size - i);
  }
}

template <class T>
void apply_derivative(T* grad, const T* y, int64_t size, Function function) {
  constexpr int64_t L = kLanes<T>;
  int64_t i = 0;
  for (; i + L <= size; i += L) {
    store(grad + i, derivative_vec<T>(load(grad + i), load(y + i), function));
  }
  if (i < size) {
    const Vec<T> last =
        derivative_vec<T>(load_first(grad + i, size - i), load_first(y + i, size - i), function);
    store_first(grad + i, last, size - i);
  }
}
