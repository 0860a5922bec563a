// Losses that compare tensors element by element, summed up in the same pass, and their gradients.
#ifdef SCRATCHNET_KERNELS

#include "core/function_vec.h"

template <class T>
SCRATCHNET_INLINE Vec<T> sign_vec(Vec<T> x) {
  const Vec<T> zero = {};
  return x > zero ? zero + 1 : x < zero ? zero - 1 : x;
}

// What a loss compares, and its option.
template <class T>
struct Compared {
  Vec<T> x, target, weight, pos_weight;
  T option;
};

template <class T, Loss loss>
SCRATCHNET_INLINE Vec<T> loss_vec(const Compared<T>& given) {
  const Vec<T> zero = {}, d = given.x - given.target, size = abs_vec<T>(d);
  const T option = given.option;
  if constexpr (loss == Loss::mse) return d * d;
  if constexpr (loss == Loss::l1) return size;
  if constexpr (loss == Loss::smooth_l1) {
    return size < option ? size * size / (2 * option) : size - option / 2;
  }
  if constexpr (loss == Loss::huber) {
    return size < option ? size * size / 2 : option * (size - option / 2);
  }
  if constexpr (loss == Loss::charbonnier) return sqrt_vec(d * d + option * option);
  const Vec<T> margin = loss == Loss::soft_margin ? given.target * given.x : given.x;
  const Vec<T> rest = log1p_vec<T>(exp_vec<T>(-abs_vec<T>(margin)));
  const Vec<T> of_one = (margin < zero ? -margin : zero) + rest;  // log(1 + e^-margin)
  if constexpr (loss == Loss::soft_margin) return of_one;
  const Vec<T> of_zero = (margin > zero ? margin : zero) + rest;
  return given.weight *
         (given.pos_weight * given.target * of_one + (1 - given.target) * of_zero);
}

template <class T, Loss loss>
SCRATCHNET_INLINE Vec<T> loss_derivative_vec(const Compared<T>& given) {
  const Vec<T> zero = {}, d = given.x - given.target;
  const T option = given.option;
  if constexpr (loss == Loss::mse) return 2 * d;
  if constexpr (loss == Loss::l1) return sign_vec<T>(d);
  if constexpr (loss == Loss::smooth_l1) {
    return abs_vec<T>(d) < option ? d / option : sign_vec<T>(d);
  }
  if constexpr (loss == Loss::huber) {
    return d > option ? zero + option : d < -option ? zero - option : d;
  }
  if constexpr (loss == Loss::charbonnier) return d / sqrt_vec(d * d + option * option);
  const Vec<T> margin = loss == Loss::soft_margin ? given.target * given.x : given.x;
  const Vec<T> small = exp_vec<T>(-abs_vec<T>(margin));
  const Vec<T> larger = 1 / (1 + small), smaller = small * larger;  // sigmoid of +-|margin|
  const Vec<T> of_minus = margin < zero ? larger : smaller;         // sigmoid(-margin)
  if constexpr (loss == Loss::soft_margin) return -given.target * of_minus;
  const Vec<T> of_plus = margin < zero ? smaller : larger;
  return given.weight *
         ((1 - given.target) * of_plus - given.pos_weight * given.target * of_minus);
}

template <class T>
SCRATCHNET_INLINE Compared<T> compared(const Tensors<T>& from, int64_t i, int64_t n, T option) {
  const Vec<T> one = Vec<T>{} + 1;
  return {load_first(from.x + i, n), load_first(from.target + i, n),
          from.weight ? load_first(from.weight + i, n) : one,
          from.pos_weight ? load_first(from.pos_weight + i, n) : one, option};
}

// The sum of the losses begin .. end - 1, and each of them unless `each` is null.
template <class T, Loss loss>
double sum_of(const Tensors<T>& from, T* each, int64_t begin, int64_t end, T option) {
  constexpr int64_t L = kLanes<T>;
  Vec<T> sums[2] = {};
  int64_t i = begin;
  for (; i + 2 * L <= end; i += 2 * L) {
    SCRATCHNET_UNROLL
    for (int k = 0; k < 2; ++k) {
      const Vec<T> losses = loss_vec<T, loss>(compared(from, i + k * L, L, option));
      if (each) store(each + i + k * L, losses);
      sums[k] += losses;
    }
  }
  for (; i < end; i += L) {
    const int64_t n = smaller(L, end - i);
    T last[L] = {};
    store_first(last, loss_vec<T, loss>(compared(from, i, n, option)), n);
    if (each) store_first(each + i, load(last), n);
    sums[0] += load(last);
  }
  double sum = 0;
  for (int64_t lane = 0; lane < L; ++lane) sum += double(sums[0][lane]) + double(sums[1][lane]);
  return sum;
}

// The gradient of x, for the one of every loss, or `share` of the same for all.
template <class T, Loss loss>
void gradient_of(const Tensors<T>& from, const T* grad_each, T share, T* grad_x, int64_t begin,
                 int64_t end, T option) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t i = begin; i < end; i += L) {
    const int64_t n = smaller(L, end - i);
    const Vec<T> grad = grad_each ? load_first(grad_each + i, n) : Vec<T>{} + share;
    store_first(grad_x + i, grad * loss_derivative_vec<T, loss>(compared(from, i, n, option)), n);
  }
}

#define SCRATCHNET_EACH_LOSS(DO) \
  DO(mse) DO(l1) DO(smooth_l1) DO(huber) DO(charbonnier) DO(soft_margin) DO(bce)

template <class T>
double sum_losses(Loss loss, const Tensors<T>& from, T* each, int64_t begin, int64_t end,
                  T option) {
  switch (loss) {
#define CASE(name) \
  case Loss::name: \
    return sum_of<T, Loss::name>(from, each, begin, end, option);
    SCRATCHNET_EACH_LOSS(CASE)
#undef CASE
  }
  return 0;
}

template <class T>
void loss_gradient(Loss loss, const Tensors<T>& from, const T* grad_each, T share, T* grad_x,
                   int64_t begin, int64_t end, T option) {
  switch (loss) {
#define CASE(name) \
  case Loss::name: \
    return gradient_of<T, Loss::name>(from, grad_each, share, grad_x, begin, end, option);
    SCRATCHNET_EACH_LOSS(CASE)
#undef CASE
  }
}
#undef SCRATCHNET_EACH_LOSS

#else

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "core/binding.h"
#include "core/function.h"

namespace scratchnet {
namespace {

enum class Loss { mse, l1, smooth_l1, huber, charbonnier, soft_margin, bce };

template <class T>
struct Tensors {
  const T *x, *target, *weight, *pos_weight;  // of one layout; the last two may be null
};

}  // namespace
}  // namespace scratchnet

#include "core/each_isa.h"

namespace scratchnet {
namespace {

constexpr int64_t kStretch = 1 << 14;  // elements that a thread does at a time

using Given = std::vector<std::optional<Tensor>>;  // x, target and, for some, two weights

// The elements of a tensor that lie as those of x do, gaps nowhere; null if there is none.
template <class T>
T* like(const Tensor& x, const std::optional<Tensor>& tensor, const char* name) {
  if (!tensor) return nullptr;
  expect_sizes(*tensor, x.sizes, name);
  const bool alike = tensor->strides == x.strides && x.fills_memory();
  expect(alike || (x.is_contiguous() && tensor->is_contiguous()), name, ": expected strides ",
         x.strides, " like the prediction's, without gaps; got ", tensor->strides);
  return tensor->data<T>(name);
}

template <class T>
Tensors<T> tensors(const Given& given) {
  expect(given.size() >= 2 && given[0] && given[1], "expected a prediction and a target");
  const Tensor& x = *given[0];
  const auto at = [&](size_t i, const char* name) {
    return i < given.size() ? like<T>(x, given[i], name) : nullptr;
  };
  return {at(0, "x"), at(1, "target"), at(2, "weight"), at(3, "pos_weight")};
}

void forward(Loss loss, const Given& given, const Tensor& y, double option,
             const std::string& reduction) {
  with_dtype(given.at(0)->dtype, [&](auto zero) {
    using T = decltype(zero);
    const Tensors<T> from = tensors<T>(given);
    const Tensor& x = *given[0];
    const int64_t size = x.numel();
    T* each = reduction == "none" ? like<T>(x, y, "y") : nullptr;
    std::vector<double> sums((size + kStretch - 1) / kStretch);
    run_stretches(size, kStretch, [&](int64_t begin, int64_t end) {
      sums[begin / kStretch] = SCRATCHNET_BEST(sum_losses<T>)(loss, from, each, begin, end,
                                                              static_cast<T>(option));
    });
    if (reduction == "none") return;
    double sum = 0;
    for (const double part : sums) sum += part;
    *contiguous<T>(y, {}, "y") = static_cast<T>(reduction == "mean" ? sum / size : sum);
  });
}

void backward(Loss loss, const Tensor& grad_y, const Given& given, const Tensor& grad_x,
              double option, const std::string& reduction) {
  with_dtype(grad_y.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Tensors<T> from = tensors<T>(given);
    const Tensor& x = *given[0];
    const int64_t size = x.numel();
    T* to = like<T>(x, grad_x, "grad_x");
    const T* grad = grad_y.data<T>("grad_y");
    const T* grad_each = reduction == "none" ? like<T>(x, grad_y, "grad_y") : nullptr;
    const T share = grad_each || !size ? 0 : reduction == "mean" ? *grad / size : *grad;
    run_stretches(size, kStretch, [&](int64_t begin, int64_t end) {
      SCRATCHNET_BEST(loss_gradient<T>)(loss, from, grad_each, share, to, begin, end,
                                        static_cast<T>(option));
    });
  });
}

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  for (const auto& [name, loss] : {std::pair<std::string, Loss>("mse_loss", Loss::mse),
                                   {"l1_loss", Loss::l1},
                                   {"smooth_l1_loss", Loss::smooth_l1},
                                   {"huber_loss", Loss::huber},
                                   {"charbonnier_loss", Loss::charbonnier},
                                   {"soft_margin_loss", Loss::soft_margin},
                                   {"binary_cross_entropy_with_logits", Loss::bce}}) {
    def(
        m, (name + "_forward").c_str(),
        [loss = loss](const Given& given, const Tensor& y, double option,
                      const std::string& reduction) { forward(loss, given, y, option, reduction); },
        py::arg("tensors"), py::arg("y"), py::arg("option") = 0, py::arg("reduction"));
    def(
        m, (name + "_backward").c_str(),
        [loss = loss](const Tensor& grad_y, const Given& given, const Tensor& grad_x, double option,
                      const std::string& reduction) {
          backward(loss, grad_y, given, grad_x, option, reduction);
        },
        py::arg("grad_y"), py::arg("tensors"), py::arg("grad_x"), py::arg("option") = 0,
        py::arg("reduction"));
  }
}

#endif
