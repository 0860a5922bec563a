// Every element-wise function as a structure of two: its value, and a gradient times its
// derivative. `v` is what the function read, or what it returned (see is_of_output); o points to
// its options. The formulas and their sources stand in scratchnet/ops/kinked.py and smooth.py. No
// include guard: for the part of a file that each_isa.h reads once for each instruction set.

#include "core/function_vec.h"

// e^x - 1, of which e^r - 1 = r + r^2/2 + ... keeps the digits near 0; x = n ln 2 + r as in exp_vec.
template <class T>
SCRATCHNET_INLINE Vec<T> expm1_vec(Vec<T> x) {
  using C = ExpConstants<T>;
  const Vec<T> zero = {};
  x = x > C::limit ? zero + C::limit : x;
  x = x < -C::limit ? zero - C::limit : x;
  const Vec<T> shifted = x * T(1.4426950408889634) + C::magic;
  const Vec<T> n = shifted - C::magic;
  const Vec<T> r = x - n * C::ln2_high - n * C::ln2_low;
  Vec<T> series = zero + 1;
  for (int k = C::terms + 1; k >= 2; --k) series = series * r * (T(1) / k) + 1;
  const Bits<T> exponent =
      reinterpret_cast<Bits<T>>(shifted) - reinterpret_cast<Bits<T>>(zero + C::magic);
  const Bits<T> half = exponent >> 1;
  const Vec<T> first = reinterpret_cast<Vec<T>>((half + C::bias) << C::mantissa);
  const Vec<T> second = reinterpret_cast<Vec<T>>((exponent - half + C::bias) << C::mantissa);
  return series * r * first * second + (first * second - 1);
}

template <class T>
SCRATCHNET_INLINE Vec<T> tanh_vec(Vec<T> x) {
  const Vec<T> e = expm1_vec<T>(-2 * abs_vec<T>(x));  // tanh |x| = -e / (2 + e)
  const Bits<T> sign = reinterpret_cast<Bits<T>>(-Vec<T>{}) & reinterpret_cast<Bits<T>>(x);
  return reinterpret_cast<Vec<T>>(reinterpret_cast<Bits<T>>(-e / (2 + e)) | sign);
}

template <class T>
SCRATCHNET_INLINE Vec<T> sigmoid_vec(Vec<T> x) {
  return 1 / (1 + exp_vec<T>(-x));
}

// The normal distribution and its density. Far left the distribution is density * Mills' ratio, and
// (1 + x) times that is a polynomial of (x - 4) / (x + 4) for all x >= 0, fitted at Chebyshev's
// nodes: Shepherd and Laframboise, "Chebyshev Approximation of (1 + 2x) exp(x^2) erfc x" (1981).
template <class T>
struct Normal {
  Vec<T> below, density;
};
template <class T>
struct MillsConstants;
template <>
struct MillsConstants<float> {
  static constexpr float limit = 15;
  static constexpr int degree = 10;
  static constexpr float terms[degree + 1] = {0.472053206f, -0.096703468f, 0.0139996366f, 0.0286000328f, -0.0321978154f,
      0.0179394495f, -0.00500214085f, -0.000299918761f, 0.000690844856f, -6.67371849e-05f,
      -7.43745442e-05f};
};
template <>
struct MillsConstants<double> {
  static constexpr double limit = 40;
  static constexpr int degree = 22;
  static constexpr double terms[degree + 1] = {0.47205320650984467, -0.096703477326525372, 0.013999634724430079,
      0.028600364053505894, -0.032197837428343264, 0.017936097481039324,
      -0.0050023785854040551, -0.00028562311671599921, 0.00069489704019318622,
      -9.4430115480185163e-05, -8.7852749479550916e-05, 2.1249455227969401e-05,
      1.3625025193974047e-05, -3.4306982771660744e-06, -2.6078390798045812e-06,
      4.0242748101432243e-07, 5.4300399206059854e-07, 2.3513362577996063e-09,
      -1.0104644569536361e-07, -1.8538542083563312e-08, 1.1400867865785583e-08,
      4.2378542227893796e-09, 1.5513438905918424e-10};
};

template <class T>
SCRATCHNET_INLINE Normal<T> normal_vec(Vec<T> x) {
  using C = MillsConstants<T>;
  const Vec<T> far = abs_vec<T>(x), m = far > C::limit ? all<T>(C::limit) : far;
  // m^2 = square + rest, exactly: the error of a rounded m^2 would come out e^(m^2/2) times as
  // large.
  constexpr int kLow = sizeof(T) == 4 ? 12 : 27;
  const Vec<T> high = reinterpret_cast<Vec<T>>((reinterpret_cast<Bits<T>>(m) >> kLow) << kLow);
  const Vec<T> low = m - high, square = m * m;
  const Vec<T> rest = high * high - square + 2 * high * low + low * low;
  const Vec<T> e = exp_vec<T>(square * T(-0.5)) * (1 - rest * T(0.5));
  const Vec<T> t = (m - 4) / (m + 4);
  Vec<T> series = all<T>(C::terms[C::degree]);
  for (int k = C::degree - 1; k >= 0; --k) series = series * t + C::terms[k];
  const Vec<T> tail = e * series / (1 + m);
  return {x < T(0) ? tail : 1 - tail, e * T(0.3989422804014327)};
}

// -- pieces of straight lines ----------------------------------------------------------------------

template <class T>
struct Relu {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) { return function_vec<T>(x, Function::relu); }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> y, const T*) {
    return derivative_vec<T>(grad, y, Function::relu);
  }
};

template <class T>
struct Hardtanh {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T* o) {
    x = x < o[0] ? all<T>(o[0]) : x;
    return x > o[1] ? all<T>(o[1]) : x;
  }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> y, const T* o) {
    return (y > o[0]) & (y < o[1]) ? grad : Vec<T>{};
  }
};

template <class T>
struct Relu6 {
  static constexpr T kEnds[2] = {0, 6};
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) { return Hardtanh<T>::value(x, kEnds); }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> y, const T*) {
    return Hardtanh<T>::gradient(grad, y, kEnds);
  }
};

template <class T>
struct LeakyRelu {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T* o) { return x > T(0) ? x : x * o[0]; }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T* o) {
    return x > T(0) ? grad : grad * o[0];
  }
};

template <class T>
struct Threshold {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T* o) { return x <= o[0] ? all<T>(o[1]) : x; }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T* o) {
    return x <= o[0] ? Vec<T>{} : grad;
  }
};

template <class T>
struct Hardshrink {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T* o) { return gradient(x, x, o); }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T* o) {
    return (x >= -o[0]) & (x <= o[0]) ? Vec<T>{} : grad;
  }
};

template <class T>
struct Softshrink {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T* o) {
    const T ends[2] = {-o[0], o[0]};
    return x - Hardtanh<T>::value(x, ends);
  }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T* o) {
    return Hardshrink<T>::gradient(grad, x, o);
  }
};

template <class T>
struct Hardsigmoid {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) {
    return Relu6<T>::value(x + 3, nullptr) * T(1.0 / 6);
  }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T*) {
    return (x <= T(-3)) | (x >= T(3)) ? Vec<T>{} : grad * T(1.0 / 6);
  }
};

template <class T>
struct Hardswish {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) { return x * Relu6<T>::value(x + 3, nullptr) * T(1.0 / 6); }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T*) {
    const Vec<T> right = x >= T(3) ? grad : grad * (x * T(1.0 / 3) + T(0.5));
    return x <= T(-3) ? Vec<T>{} : right;
  }
};

// -- exponentials ----------------------------------------------------------------------------------

template <class T>
struct Sigmoid {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) { return function_vec<T>(x, Function::sigmoid); }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> y, const T*) {
    return derivative_vec<T>(grad, y, Function::sigmoid);
  }
};

template <class T>
struct LogSigmoid {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) {
    const Vec<T> left = x > T(0) ? Vec<T>{} : x;
    return left - log1p_vec<T>(exp_vec<T>(-abs_vec<T>(x)));
  }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T*) { return grad * sigmoid_vec<T>(-x); }
};

template <class T>
struct Tanh {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) { return tanh_vec<T>(x); }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> y, const T*) { return grad * (1 - y * y); }
};

template <class T>
struct Tanhshrink {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) { return x - tanh_vec<T>(x); }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T*) {
    const Vec<T> t = tanh_vec<T>(x);
    return grad * (t * t);
  }
};

template <class T>
struct Softsign {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) { return x / (1 + abs_vec<T>(x)); }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T*) {
    const Vec<T> below = 1 + abs_vec<T>(x);
    return grad / (below * below);
  }
};

template <class T>
struct Softplus {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T* o) {
    const Vec<T> z = x * o[0], right = z < T(0) ? Vec<T>{} : z;
    return z > o[1] ? x : (right + log1p_vec<T>(exp_vec<T>(-abs_vec<T>(z)))) / o[0];
  }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T* o) {
    const Vec<T> z = x * o[0];
    return z > o[1] ? grad : grad * sigmoid_vec<T>(z);
  }
};

template <class T>
struct Elu {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T* o) { return x > T(0) ? x : expm1_vec<T>(x) * o[0]; }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T* o) {
    return x > T(0) ? grad : grad * (exp_vec<T>(x) * o[0]);
  }
};

template <class T>
struct Celu {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T* o) {
    return x > T(0) ? x : expm1_vec<T>(x / o[0]) * o[0];
  }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T* o) {
    return x > T(0) ? grad : grad * exp_vec<T>(x / o[0]);
  }
};

template <class T>
struct Selu {
  static constexpr T kScale = T(1.0507009873554804934), kAlpha = T(1.6732632423543772848);
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) { return Elu<T>::value(x, &kAlpha) * kScale; }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T*) {
    return Elu<T>::gradient(grad, x, &kAlpha) * kScale;
  }
};

template <class T>
struct Silu {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) { return x * sigmoid_vec<T>(x); }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T*) {
    const Vec<T> s = sigmoid_vec<T>(x);
    return grad * (s * (1 + x * (1 - s)));
  }
};

// tanh(log(1 + e)) = w / (w + 2) with e = e^x and w = e (e + 2); from x = 40 on it is 1.
template <class T>
struct Mish {
  SCRATCHNET_INLINE Vec<T> near(Vec<T> x) { return x > T(40) ? all<T>(40) : x; }
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) {
    const Vec<T> e = exp_vec<T>(near(x)), w = e * (e + 2);
    return x * (w / (w + 2));
  }
  // sigma(x) (1 - t^2) = 4 e (1 + e) / (w + 2)^2
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T*) {
    const Vec<T> z = near(x), e = exp_vec<T>(z), w = e * (e + 2), part = 1 / (w + 2);
    return grad * (part * (w + z * (4 * e * (1 + e) * part)));
  }
};

template <class T>
struct Gelu {
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) { return x * normal_vec<T>(x).below; }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T*) {
    const Normal<T> normal = normal_vec<T>(x);
    return grad * (normal.below + x * normal.density);
  }
};

// (1 + tanh u) / 2 = sigma(2 u), with u = sqrt(2/pi) (x + 0.044715 x^3) within +-25: beyond, it is
// 0 or 1.
template <class T>
struct GeluTanh {
  static constexpr T kEnds[2] = {-25, 25};
  static constexpr T kInner = T(1.5957691216057307), kCubic = T(0.044715);  // 2 sqrt(2/pi)
  SCRATCHNET_INLINE Vec<T> value(Vec<T> x, const T*) {
    const Vec<T> z = Hardtanh<T>::value(x, kEnds);
    return x * sigmoid_vec<T>(kInner * (z + kCubic * z * z * z));
  }
  SCRATCHNET_INLINE Vec<T> gradient(Vec<T> grad, Vec<T> x, const T*) {
    const Vec<T> z = Hardtanh<T>::value(x, kEnds);
    const Vec<T> s = sigmoid_vec<T>(kInner * (z + kCubic * z * z * z));
    return grad * (s + x * (s * (1 - s)) * (kInner * (1 + 3 * kCubic * z * z)));
  }
};

// -- on stretches of memory ------------------------------------------------------------------------

template <class T, template <class> class F>
void evaluate_by(const T* x, T* y, int64_t size, const T* options) {
  constexpr int64_t L = kLanes<T>;
  int64_t i = 0;
  for (; i + L <= size; i += L) store(y + i, F<T>::value(load(x + i), options));
  if (i < size) store_first(y + i, F<T>::value(load_first(x + i, size - i), options), size - i);
}

template <class T, template <class> class F>
void differentiate_by(const T* grad, const T* v, T* result, int64_t size, const T* options) {
  constexpr int64_t L = kLanes<T>;
  int64_t i = 0;
  for (; i + L <= size; i += L) {
    store(result + i, F<T>::gradient(load(grad + i), load(v + i), options));
  }
  if (i < size) {
    const int64_t n = size - i;
    store_first(result + i, F<T>::gradient(load_first(grad + i, n), load_first(v + i, n), options),
                n);
  }
}

template <class T>
void evaluate(int row, const T* options, const T* x, T* y, int64_t size) {
#define SCRATCHNET_ROW(name, structure, first, second) &evaluate_by<T, structure>,
  constexpr void (*kAll[])(const T*, T*, int64_t, const T*) = {
      SCRATCHNET_FUNCTIONS(SCRATCHNET_ROW)};
#undef SCRATCHNET_ROW
  kAll[row](x, y, size, options);
}

template <class T>
void differentiate(int row, const T* options, const T* grad, const T* v, T* result, int64_t size) {
#define SCRATCHNET_ROW(name, structure, first, second) &differentiate_by<T, structure>,
  constexpr void (*kAll[])(const T*, const T*, T*, int64_t, const T*) = {
      SCRATCHNET_FUNCTIONS(SCRATCHNET_ROW)};
#undef SCRATCHNET_ROW
  kAll[row](grad, v, result, size, options);
}
