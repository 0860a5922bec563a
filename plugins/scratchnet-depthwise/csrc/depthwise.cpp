// Depthwise convolution, forward and backward, plane by plane: a plane is one channel of one image,
// h x w numbers that lie one after the other.
//
// The headers are scratchnet's; none is torch's, so that this fits any version of it. The loops are
// plain: the compiler makes vectors of them, for each instruction set.

#ifdef SCRATCHNET_KERNELS  // this part is compiled once for each instruction set: core/each_isa.h

template <class T>
void forward(const T* x, const T* weight, T bias, T* y, const Shape& s) {
  std::fill(y, y + s.out_h * s.out_w, bias);
  for (int64_t u = 0; u < s.kh; ++u) {
    const Range rows = inside(s.h, s.out_h, s.stride_h, u, s.pad_h);
    for (int64_t v = 0; v < s.kw; ++v) {
      const Range columns = inside(s.w, s.out_w, s.stride_w, v, s.pad_w);
      const T factor = weight[u * s.kw + v];
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        const T* from = x + s.at(i, u, columns.begin, v);
        T* to = y + i * s.out_w + columns.begin;
        for (int64_t j = 0; j < columns.size(); ++j) to[j] += factor * from[j * s.stride_w];
      }
    }
  }
}

// Of one plane; the sum over the batch is the caller's, in an order that does not depend on the
// number of threads.
template <class T>
void backward(const T* grad_y, const T* x, const T* weight, T* grad_x, T* grad_weight,
              T* grad_bias, const Shape& s) {
  std::fill(grad_x, grad_x + s.h * s.w, T(0));
  *grad_bias = 0;
  for (int64_t i = 0; i < s.out_h * s.out_w; ++i) *grad_bias += grad_y[i];
  for (int64_t u = 0; u < s.kh; ++u) {
    const Range rows = inside(s.h, s.out_h, s.stride_h, u, s.pad_h);
    for (int64_t v = 0; v < s.kw; ++v) {
      const Range columns = inside(s.w, s.out_w, s.stride_w, v, s.pad_w);
      const T factor = weight[u * s.kw + v];
      T of_weight = 0;
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        const int64_t at = s.at(i, u, columns.begin, v);
        const T* from = x + at;
        const T* grad = grad_y + i * s.out_w + columns.begin;
        T* to = grad_x + at;
        for (int64_t j = 0; j < columns.size(); ++j) {
          to[j * s.stride_w] += factor * grad[j];
          of_weight += grad[j] * from[j * s.stride_w];
        }
      }
      grad_weight[u * s.kw + v] = of_weight;
    }
  }
}

#else

#include <algorithm>
#include <optional>

#include "core/binding.h"

namespace scratchnet {
namespace {

struct Shape {
  int64_t n, channels, h, w, kh, kw, out_h, out_w, stride_h, stride_w, pad_h, pad_w;

  Shape(const Tensor& x, const Tensor& weight, const Tensor& y, Pair stride, Pair padding) {
    expect_images(x, "x"), expect_images(weight, "weight"), expect_images(y, "y");
    n = x.size(0), channels = x.size(1), h = x.size(2), w = x.size(3);
    kh = weight.size(2), kw = weight.size(3), out_h = y.size(2), out_w = y.size(3);
    stride_h = stride[0], stride_w = stride[1], pad_h = padding[0], pad_w = padding[1];
  }
  int64_t planes() const { return n * channels; }
  // Where in x the tap (u, v) of the output (i, j) is.
  int64_t at(int64_t i, int64_t u, int64_t j, int64_t v) const {
    return (i * stride_h + u - pad_h) * w + j * stride_w + v - pad_w;
  }
};

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// The outputs i for which i·stride + tap - pad lies in [0, size).
Range inside(int64_t size, int64_t out, int64_t stride, int64_t tap, int64_t pad) {
  const int64_t first = pad - tap, last = size - 1 + pad - tap;
  return {first <= 0 ? 0 : (first + stride - 1) / stride,
          last < 0 ? 0 : std::min(out, last / stride + 1)};
}

}  // namespace
}  // namespace scratchnet

#include "core/each_isa.h"

namespace scratchnet {
namespace {

void forward(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
             const Tensor& y, Pair stride, Pair padding) {
  const Shape s(x, weight, y, stride, padding);
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* in = contiguous<T>(x, x.sizes, "x");
    const T* w = contiguous<T>(weight, {s.channels, 1, s.kh, s.kw}, "weight");
    const T* b = bias ? contiguous<T>(*bias, {s.channels}, "bias") : nullptr;
    T* out = contiguous<T>(y, {s.n, s.channels, s.out_h, s.out_w}, "y");
    run_tasks(threads_for(x.numel()), s.planes(), [&](int64_t plane, int64_t) {
      const int64_t c = plane % s.channels;
      SCRATCHNET_BEST(forward<T>)(in + plane * s.h * s.w, w + c * s.kh * s.kw, b ? b[c] : T(0),
                                  out + plane * s.out_h * s.out_w, s);
    });
  });
}

// grad_weight is (N, C, 1, K_h, K_w) and grad_bias (N, C): image by image.
void backward(const Tensor& grad_y, const Tensor& x, const Tensor& weight, const Tensor& grad_x,
              const Tensor& grad_weight, const Tensor& grad_bias, Pair stride, Pair padding) {
  const Shape s(x, weight, grad_y, stride, padding);
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* grad = contiguous<T>(grad_y, {s.n, s.channels, s.out_h, s.out_w}, "grad_y");
    const T* in = contiguous<T>(x, x.sizes, "x");
    const T* w = contiguous<T>(weight, {s.channels, 1, s.kh, s.kw}, "weight");
    T* of_x = contiguous<T>(grad_x, x.sizes, "grad_x");
    T* of_w = contiguous<T>(grad_weight, {s.n, s.channels, 1, s.kh, s.kw}, "grad_weight");
    T* of_b = contiguous<T>(grad_bias, {s.n, s.channels}, "grad_bias");
    run_tasks(threads_for(x.numel()), s.planes(), [&](int64_t plane, int64_t) {
      const int64_t taps = s.kh * s.kw, of_plane = plane * s.h * s.w;
      SCRATCHNET_BEST(backward<T>)(grad + plane * s.out_h * s.out_w, in + of_plane,
                                   w + plane % s.channels * taps, of_x + of_plane,
                                   of_w + plane * taps, of_b + plane, s);
    });
  });
}

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(module) {
  scratchnet::def(module, "forward", scratchnet::forward);
  scratchnet::def(module, "backward", scratchnet::backward);
}

#endif
