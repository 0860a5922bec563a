// Softmax and its logarithm along one axis, forward and backward: e^(x - max) / sum. A tensor
// without gaps is (outer, size, inner); the sums run along `size`, whose numbers are next to each
// other if inner is 1, and else a vector holds neighbours of `inner`.
#ifdef SCRATCHNET_KERNELS

#include "core/function_vec.h"

// The first n lanes of v, the others `rest`.
template <class T>
SCRATCHNET_INLINE Vec<T> only_first(Vec<T> v, int64_t n, T rest) {
  if (n == kLanes<T>) return v;
  Bits<T> lane;
  for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
  const Bits<T> count = Bits<T>{} + static_cast<std::decay_t<decltype(lane[0])>>(n);
  return lane < count ? v : Vec<T>{} + rest;
}

// The sum over i < size of term(i, n), a vector of whose lanes the first n count; four at a time.
template <class T, class Term>
SCRATCHNET_INLINE T sum_of(int64_t size, Term&& term) {
  constexpr int64_t L = kLanes<T>;
  Vec<T> sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * L <= size; i += 4 * L) {
    SCRATCHNET_UNROLL
    for (int k = 0; k < 4; ++k) sums[k] += term(i + k * L, L);
  }
  for (; i < size; i += L) {
    const int64_t n = smaller(L, size - i);
    sums[0] += only_first<T>(term(i, n), n, 0);
  }
  const Vec<T> all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  T sum = 0;
  for (int k = 0; k < kLanes<T>; ++k) sum += all[k];
  return sum;
}

// y[i] = value(i, n) for all i < size.
template <class T, class Value>
SCRATCHNET_INLINE void each_vector(int64_t size, T* y, Value&& value) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t i = 0; i < size; i += L) {
    const int64_t n = smaller(L, size - i);
    store_first(y + i, value(i, n), n);
  }
}

template <class T>
T largest_of(const T* x, int64_t size) {
  constexpr int64_t L = kLanes<T>;
  const T least = -std::numeric_limits<T>::infinity();
  Vec<T> best = Vec<T>{} + least;
  for (int64_t i = 0; i < size; i += L) {
    const int64_t n = smaller(L, size - i);
    const Vec<T> v = only_first<T>(load_first(x + i, n), n, least);
    best = v > best ? v : best;
  }
  T largest = best[0];
  for (int k = 1; k < L; ++k) largest = best[k] > largest ? best[k] : largest;
  return largest;  // of nan and numbers a number: e^(nan - it) is nan, and so the sum
}

// One row of numbers next to each other.
template <class T, bool kLog>
void softmax_row(const T* x, T* y, int64_t size) {
  const T largest = largest_of(x, size);
  const auto shifted = [=](int64_t i, int64_t n)
                           SCRATCHNET_TARGET { return load_first(x + i, n) - largest; };
  if (kLog) {
    const T sum = sum_of<T>(size, [&](int64_t i, int64_t n) SCRATCHNET_TARGET {
      return exp_vec<T>(shifted(i, n));
    });
    const T logarithm = std::log(sum);
    return each_vector<T>(size, y, [&](int64_t i, int64_t n)
                                       SCRATCHNET_TARGET { return shifted(i, n) - logarithm; });
  }
  const T sum = sum_of<T>(size, [&](int64_t i, int64_t n) SCRATCHNET_TARGET {
    const Vec<T> e = exp_vec<T>(shifted(i, n));
    store_first(y + i, e, n);
    return e;
  });
  const T share = 1 / sum;
  each_vector<T>(size, y, [=](int64_t i, int64_t n)
                              SCRATCHNET_TARGET { return load_first(y + i, n) * share; });
}

template <class T, bool kLog>
void softmax_row_backward(const T* grad, const T* y, T* result, int64_t size) {
  const T sum = sum_of<T>(size, [=](int64_t i, int64_t n) SCRATCHNET_TARGET {
    const Vec<T> g = load_first(grad + i, n);
    return kLog ? g : g * load_first(y + i, n);
  });
  each_vector<T>(size, result, [=](int64_t i, int64_t n) SCRATCHNET_TARGET {
    const Vec<T> g = load_first(grad + i, n), v = load_first(y + i, n);
    return kLog ? g - exp_vec<T>(v) * sum : v * (g - sum);
  });
}

// `width` rows side by side, whose numbers are `inner` apart.

template <class T, bool kLog>
void softmax_panel(const T* x, T* y, int64_t size, int64_t inner, int64_t width) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t at = 0; at < width; at += L) {
    const int64_t n = smaller(L, width - at);
    const T* from = x + at;
    T* to = y + at;
    Vec<T> largest = Vec<T>{} - std::numeric_limits<T>::infinity(), sum = {};
    for (int64_t i = 0; i < size; ++i) {
      const Vec<T> v = load_first(from + i * inner, n);
      largest = v > largest ? v : largest;
    }
    for (int64_t i = 0; i < size; ++i) {
      const Vec<T> e = exp_vec<T>(load_first(from + i * inner, n) - largest);
      if (!kLog) store_first(to + i * inner, e, n);
      sum += e;
    }
    Vec<T> last;
    for (int k = 0; k < L; ++k) last[k] = kLog ? std::log(sum[k]) : 1 / sum[k];
    for (int64_t i = 0; i < size; ++i) {
      const Vec<T> v = kLog ? load_first(from + i * inner, n) - largest - last
                            : load_first(to + i * inner, n) * last;
      store_first(to + i * inner, v, n);
    }
  }
}

template <class T, bool kLog>
void softmax_panel_backward(const T* grad, const T* y, T* result, int64_t size, int64_t inner,
                            int64_t width) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t at = 0; at < width; at += L) {
    const int64_t n = smaller(L, width - at);
    Vec<T> sum = {};
    for (int64_t i = 0; i < size; ++i) {
      const Vec<T> g = load_first(grad + at + i * inner, n);
      sum += kLog ? g : g * load_first(y + at + i * inner, n);
    }
    for (int64_t i = 0; i < size; ++i) {
      const Vec<T> g = load_first(grad + at + i * inner, n), v = load_first(y + at + i * inner, n);
      store_first(result + at + i * inner, kLog ? g - exp_vec<T>(v) * sum : v * (g - sum), n);
    }
  }
}

#else

#include <cmath>
#include <limits>
#include <type_traits>

#include "core/binding.h"
#include "core/function.h"
#include "core/each_isa.h"

namespace scratchnet {
namespace {

// The elements of x with those of one axis apart by `inner`; all tensors lie as the first.
struct Rows {
  int64_t outer, size, inner;
};

Rows rows_of(const Tensor& x, int64_t dim) {
  expect(x.fills_memory(), "x: expected a tensor without gaps, got strides ", x.strides);
  if (x.dim() == 0) return {1, 1, 1};
  expect(dim >= 0 && dim < x.dim(), "dim: expected an axis of ", x.sizes, ", got ", dim);
  const int64_t size = x.size(dim), rest = size ? x.numel() / size : 0;
  if (size <= 1) return {1, size, rest};
  return {rest / x.strides[dim], size, x.strides[dim]};
}

template <class T>
T* like(const Tensor& x, const Tensor& tensor, const char* name) {
  expect_sizes(tensor, x.sizes, name);
  expect(tensor.strides == x.strides || (x.is_contiguous() && tensor.is_contiguous()), name,
         ": expected strides ", x.strides, " like the first tensor's, got ", tensor.strides);
  return tensor.data<T>(name);
}

// Calls row(at) for rows of numbers next to each other, else panel(at, width), `at` being where
// they begin.
template <class T, class Row, class Panel>
void each_row(const Rows& rows, Row&& row, Panel&& panel) {
  if (rows.size == 0 || rows.outer == 0 || rows.inner == 0) return;
  const int64_t elements = rows.outer * rows.size * rows.inner;
  constexpr int64_t kGrain = 1 << 13;  // elements of a task, about
  if (rows.inner == 1) {
    const int64_t grain = std::max<int64_t>(kGrain / rows.size, 1);
    return run_tasks(threads_for(elements), (rows.outer + grain - 1) / grain,
                     [&](int64_t task, int64_t) {
                       const int64_t end = std::min((task + 1) * grain, rows.outer);
                       for (int64_t r = task * grain; r < end; ++r) row(r * rows.size);
                     });
  }
  // whole vectors, and a few of them: what lies side by side in memory is read at once
  const int64_t least = 4 * lanes<T>();
  const int64_t width = std::max(kGrain / rows.size / least * least, least);
  const int64_t panels = (rows.inner + width - 1) / width;
  run_tasks(threads_for(elements), rows.outer * panels, [&](int64_t task, int64_t) {
    const int64_t first = task % panels * width;
    panel(task / panels * rows.size * rows.inner + first, std::min(width, rows.inner - first));
  });
}

template <bool kLog>
void forward(const Tensor& x, const Tensor& y, int64_t dim) {
  const Rows rows = rows_of(x, dim);
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = like<T>(x, x, "x");
    T* to = like<T>(x, y, "y");
    const auto row = SCRATCHNET_BEST(softmax_row<T, kLog>);
    const auto panel = SCRATCHNET_BEST(softmax_panel<T, kLog>);
    each_row<T>(
        rows, [=](int64_t at) { row(from + at, to + at, rows.size); },
        [=](int64_t at, int64_t width) {
          panel(from + at, to + at, rows.size, rows.inner, width);
        });
  });
}

template <bool kLog>
void backward(const Tensor& grad_y, const Tensor& y, const Tensor& grad_x, int64_t dim) {
  const Rows rows = rows_of(grad_y, dim);
  with_dtype(grad_y.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = like<T>(grad_y, grad_y, "grad_y");
    const T* returned = like<T>(grad_y, y, "y");
    T* to = like<T>(grad_y, grad_x, "grad_x");
    const auto row = SCRATCHNET_BEST(softmax_row_backward<T, kLog>);
    const auto panel = SCRATCHNET_BEST(softmax_panel_backward<T, kLog>);
    each_row<T>(
        rows, [=](int64_t at) { row(from + at, returned + at, to + at, rows.size); },
        [=](int64_t at, int64_t width) {
          panel(from + at, returned + at, to + at, rows.size, rows.inner, width);
        });
  });
}

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  def(m, "softmax_forward", forward<false>, py::arg("x"), py::arg("y"), py::arg("dim"));
  def(m, "log_softmax_forward", forward<true>, py::arg("x"), py::arg("y"), py::arg("dim"));
  def(m, "softmax_backward", backward<false>, py::arg("grad_y"), py::arg("y"), py::arg("grad_x"),
      py::arg("dim"));
  def(m, "log_softmax_backward", backward<true>, py::arg("grad_y"), py::arg("y"),
      py::arg("grad_x"), py::arg("dim"));
}

#endif
