// Cross-entropy of rows of logits, with its softmax, and the gradient.
#ifdef SCRATCHNET_KERNELS

#include "core/function_vec.h"

template <class T>
T lane_sum(Vec<T> v) {
  T sum = 0;
  for (int lane = 0; lane < kLanes<T>; ++lane) sum += v[lane];
  return sum;
}

template <class T>
Row<T> read_row(const T* x, int64_t classes, const T* weight, bool smooth) {
  constexpr int64_t L = kLanes<T>;
  const Vec<T> zero = {};
  Vec<T> top = zero + x[0];
  int64_t c = 0;
  for (; c + L <= classes; c += L) {
    const Vec<T> v = load(x + c);
    top = v > top ? v : top;
  }
  T most = top[0];
  for (int lane = 1; lane < L; ++lane) most = top[lane] > most ? top[lane] : most;
  for (; c < classes; ++c) most = x[c] > most ? x[c] : most;

  Vec<T> sums[2] = {}, weighted = {}, weights = {};
  for (c = 0; c + 2 * L <= classes; c += 2 * L) {
    SCRATCHNET_UNROLL
    for (int k = 0; k < 2; ++k) sums[k] += exp_vec<T>(load(x + c + k * L) - most);
  }
  for (; c < classes; c += L) {
    const int64_t n = smaller(L, classes - c);
    T last[L] = {};
    store_first(last, exp_vec<T>(load_first(x + c, n) - most), n);
    sums[0] += load(last);
  }
  if (smooth) {
    for (c = 0; c < classes; c += L) {
      const int64_t n = smaller(L, classes - c);
      const Vec<T> v = load_first(x + c, n) - most;  // of the lanes behind the last, 0 - most
      const Vec<T> w = weight ? load_first(weight + c, n) : zero + 1;
      T last[L] = {}, last_weight[L] = {};
      store_first(last, w * v, n);
      store_first(last_weight, w, n);
      weighted += load(last), weights += load(last_weight);
    }
  }
  const T rest = std::log(lane_sum<T>(sums[0] + sums[1]));  // log sum e^(x - most)
  const T all = lane_sum<T>(weights);
  return {most, rest, all * rest - lane_sum<T>(weighted), all};
}

// to = scale * e^(x - m - r) - share * weight, with log = {m, r} as Row has them: apart, for their
// sum has too few digits where m is large.
template <class T>
void row_gradient(const T* x, int64_t classes, const T* weight, const T* log, T scale, T share,
                  T* to) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t c = 0; c < classes; c += L) {
    const int64_t n = smaller(L, classes - c);
    Vec<T> grad = scale * exp_vec<T>((load_first(x + c, n) - log[0]) - log[1]);
    if (share != 0) grad -= weight ? share * load_first(weight + c, n) : Vec<T>{} + share;
    store_first(to + c, grad, n);
  }
}

#else

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "core/binding.h"
#include "core/function.h"

namespace scratchnet {
namespace {

// What is read off the logits of one row, m being the largest: all in numbers near 1 times m.
template <class T>
struct Row {
  T most, rest;  // m, and log sum e^(x - m)
  T smooth;      // -sum of w_c log p_c
  T weights;     // sum of w_c
};

}  // namespace
}  // namespace scratchnet

#include "core/each_isa.h"

namespace scratchnet {
namespace {

constexpr int64_t kStretch = 1 << 14;  // elements that a thread does at a time, about

struct Rows {
  int64_t count, classes;
  Rows(const Tensor& x, const Tensor& target) {
    expect(x.dim() >= 1, "x: expected rows of classes, got shape ", x.sizes);
    expect_sizes(target, Sizes(x.sizes.begin(), x.sizes.end() - 1), "target");
    count = target.numel(), classes = x.sizes.back();
  }
  // body(row) for each
  template <class Body>
  void run(Body&& body) const {
    const int64_t at_once = std::max<int64_t>(1, kStretch / std::max<int64_t>(1, classes));
    run_tasks(threads_for(count * classes), (count + at_once - 1) / at_once,
              [&](int64_t task, int64_t) {
                const int64_t end = std::min((task + 1) * at_once, count);
                for (int64_t row = task * at_once; row < end; ++row) body(row);
              });
  }
};

Sizes pairs(const Tensor& target) {
  Sizes sizes = target.sizes;
  sizes.push_back(2);
  return sizes;
}

template <class T>
const T* weights(const std::optional<Tensor>& weight, int64_t classes) {
  return weight ? contiguous<T>(*weight, {classes}, "weight") : nullptr;
}

// Returns the sum of the targets' weights.
double forward(const Tensor& x, const Tensor& target, const std::optional<Tensor>& weight,
               const Tensor& losses, const Tensor& logs, int64_t ignore_index, double smoothing) {
  double divisor = 0;
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Rows rows(x, target);
    const T* from = contiguous<T>(x, x.sizes, "x");
    const int64_t* classes = contiguous<int64_t>(target, target.sizes, "target");
    const T* of_class = weights<T>(weight, rows.classes);
    T* loss = contiguous<T>(losses, target.sizes, "losses");
    T* log = contiguous<T>(logs, pairs(target), "logs");
    for (int64_t row = 0; row < rows.count; ++row) {
      const int64_t t = classes[row];
      if (t == ignore_index) continue;
      expect(t >= 0 && t < rows.classes, "target: expected classes below ", rows.classes, ", got ",
             t);
      divisor += of_class ? of_class[t] : 1;
    }
    const T sharp = static_cast<T>(1 - smoothing), smooth = static_cast<T>(smoothing) / rows.classes;
    rows.run([&](int64_t row) {
      const int64_t t = classes[row];
      loss[row] = 0;
      if (t == ignore_index) return;
      const T* own = from + row * rows.classes;
      const Row<T> read =
          SCRATCHNET_BEST(read_row<T>)(own, rows.classes, of_class, smoothing != 0);
      log[2 * row] = read.most, log[2 * row + 1] = read.rest;
      const T of_target = (of_class ? of_class[t] : 1) * (read.rest - (own[t] - read.most));
      loss[row] = smoothing != 0 ? sharp * of_target + smooth * read.smooth : of_target;
    });
  });
  return divisor;
}

void backward(const Tensor& grad_y, const Tensor& x, const Tensor& target,
              const std::optional<Tensor>& weight, const Tensor& logs, const Tensor& grad_x,
              int64_t ignore_index, double smoothing, double scale) {
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Rows rows(x, target);
    const T* from = contiguous<T>(x, x.sizes, "x");
    const int64_t* classes = contiguous<int64_t>(target, target.sizes, "target");
    const T* of_class = weights<T>(weight, rows.classes);
    const T* log = contiguous<T>(logs, pairs(target), "logs");
    T* to = contiguous<T>(grad_x, x.sizes, "grad_x");
    const bool each = grad_y.dim() > 0;
    const T* grad = contiguous<T>(grad_y, each ? target.sizes : Sizes{}, "grad_y");
    T all = static_cast<T>(rows.classes);
    if (of_class) all = std::accumulate(of_class, of_class + rows.classes, T(0));
    const T sharp = static_cast<T>(1 - smoothing), smooth = static_cast<T>(smoothing) / rows.classes;
    rows.run([&](int64_t row) {
      const int64_t t = classes[row];
      T* own = to + row * rows.classes;
      if (t == ignore_index) {
        std::fill(own, own + rows.classes, T(0));
        return;
      }
      const T g = grad[each ? row : 0] * static_cast<T>(scale);
      const T of_target = g * sharp * (of_class ? of_class[t] : 1);
      SCRATCHNET_BEST(row_gradient<T>)
      (from + row * rows.classes, rows.classes, of_class, log + 2 * row, of_target + g * smooth * all,
       g * smooth, own);
      own[t] -= of_target;
    });
  });
}

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  def(m, "cross_entropy_forward", forward);
  def(m, "cross_entropy_backward", backward);
}

#endif
