// Max and average pooling of channels-last images: the channels of a pixel lie along the vectors.
#ifdef SCRATCHNET_KERNELS

template <class T>
SCRATCHNET_INLINE Bits<T> whole(int64_t value) {
  Bits<T> result = {};
  return result + static_cast<decltype(+result[0])>(value);
}

// One row of the output: y[c] = max over the taps of x, and where in the image it was; the first of
// equals wins, and the last NaN.
template <class T>
void max_row(const Pool& pool, int64_t row, const T* x, T* y, int64_t* indices) {
  constexpr int64_t L = kLanes<T>;
  const Window h = pool.h.window(row);
  for (int64_t col = 0; col < pool.w.out; ++col) {
    const Window w = pool.w.window(col);
    for (int64_t c = 0; c < pool.channels; c += L) {
      const int64_t n = smaller(L, pool.channels - c);
      Vec<T> best = Vec<T>{} - __builtin_inf();
      Bits<T> at = whole<T>(h.begin * pool.w.in + w.begin);
      for (int64_t i = h.begin; i < h.end; i += pool.h.dilation) {
        for (int64_t j = w.begin; j < w.end; j += pool.w.dilation) {
          const int64_t pixel = i * pool.w.in + j;
          const Vec<T> value = load_first(x + pixel * pool.channels + c, n);
          const Bits<T> better = (value > best) | (value != value);
          best = better ? value : best;
          at = better ? whole<T>(pixel) : at;
        }
      }
      store_first(y + col * pool.channels + c, best, n);
      for (int64_t k = 0; indices && k < n; ++k) indices[col * pool.channels + c + k] = at[k];
    }
  }
}

// One row of the output: y[c] = the sum over the taps of x, divided.
template <class T>
void mean_row(const Pool& pool, int64_t row, const T* x, T* y) {
  constexpr int64_t L = kLanes<T>;
  const Window h = pool.h.window(row);
  for (int64_t col = 0; col < pool.w.out; ++col) {
    const Window w = pool.w.window(col);
    const T divisor = static_cast<T>(pool.divisor(h, w));
    for (int64_t c = 0; c < pool.channels; c += L) {
      const int64_t n = smaller(L, pool.channels - c);
      Vec<T> sum = {};
      for (int64_t i = h.begin; i < h.end; ++i) {
        const T* from = x + (i * pool.w.in + w.begin) * pool.channels + c;
        for (int64_t j = w.begin; j < w.end; ++j, from += pool.channels) sum += load_first(from, n);
      }
      store_first(y + col * pool.channels + c, sum / divisor, n);
    }
  }
}

// One row of the gradient of x: the sum over the windows that see a pixel of grad_y, divided.
template <class T>
void mean_row_backward(const Pool& pool, int64_t row, const T* grad_y, T* grad_x) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t i = 0; i < pool.w.in * pool.channels; ++i) grad_x[i] = 0;
  for (int64_t out = 0; out < pool.h.out; ++out) {
    const Window h = pool.h.window(out);
    if (row < h.begin || row >= h.end) continue;
    for (int64_t col = 0; col < pool.w.out; ++col) {
      const Window w = pool.w.window(col);
      const T divisor = static_cast<T>(pool.divisor(h, w));
      const T* from = grad_y + (out * pool.w.out + col) * pool.channels;
      for (int64_t c = 0; c < pool.channels; c += L) {
        const int64_t n = smaller(L, pool.channels - c);
        const Vec<T> share = load_first(from + c, n) / divisor;
        for (int64_t j = w.begin; j < w.end; ++j) {
          T* to = grad_x + j * pool.channels + c;
          store_first(to, load_first(to, n) + share, n);
        }
      }
    }
  }
}

#else

#include "pool.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "core/binding.h"
#include "core/each_isa.h"

namespace scratchnet {

template <class T>
void max_row(const Pool& pool, int64_t row, const T* x, T* y, int64_t* indices) {
  SCRATCHNET_BEST(max_row<T>)(pool, row, x, y, indices);
}
template <class T>
void mean_row(const Pool& pool, int64_t row, const T* x, T* y) {
  SCRATCHNET_BEST(mean_row<T>)(pool, row, x, y);
}
template <class T>
void mean_row_backward(const Pool& pool, int64_t row, const T* grad_y, T* grad_x) {
  SCRATCHNET_BEST(mean_row_backward<T>)(pool, row, grad_y, grad_x);
}
template <class T>
bool scatter_max(const Pool& pool, int64_t first, int64_t end, const T* grad_y,
                 const int64_t* indices, T* grad_x) {
  for (int64_t i = 0; i < pool.in_pixels(); ++i) {
    std::fill(grad_x + i * pool.channels + first, grad_x + i * pool.channels + end, T(0));
  }
  bool right = true;
  for (int64_t i = 0; i < pool.out_pixels(); ++i) {
    for (int64_t at = i * pool.channels + first; at < i * pool.channels + end; ++at) {
      const bool inside = indices[at] >= 0 && indices[at] < pool.in_pixels();
      if (inside) grad_x[indices[at] * pool.channels + at % pool.channels] += grad_y[at];
      right = right && inside;
    }
  }
  return right;
}

Pool make_pool(Size in, Size out, Pair kernel, Pair stride, Pair padding, Pair dilation) {
  const auto axis = [&](int i, int64_t in, int64_t out) {
    expect(kernel[i] > 0 && stride[i] > 0 && dilation[i] > 0,
           "expected a kernel size, stride and dilation of at least 1, got ", kernel[i], ", ",
           stride[i], " and ", dilation[i]);
    expect(padding[i] >= 0 && 2 * padding[i] <= kernel[i],
           "expected a padding of at most half the kernel size, got ", padding[i], " for ",
           kernel[i]);
    const PoolAxis axis{in, out, kernel[i], stride[i], padding[i], dilation[i]};
    for (int64_t j = 0; j < out; ++j) {
      const Window window = axis.window(j);
      expect(window.begin < window.end, "window ", j, " of ", out, " over an axis of ", in,
             " sees no pixel");
    }
    return axis;
  };
  const Pool pool{in.channels, axis(0, in.height, out.height), axis(1, in.width, out.width), true,
                  0};
  expect(in.channels == out.channels, "pooling leaves the channels: expected ", in.channels,
         ", got ", out.channels);
  expect(pool.in_pixels() <= std::numeric_limits<int32_t>::max(), "images of ", pool.in_pixels(),
         " pixels are too large");
  return pool;
}

Size pooled_size(Size in, Pair kernel, Pair stride, Pair padding, Pair dilation, bool ceil_mode) {
  const auto axis = [&](int i, int64_t size) {
    const int64_t room = size + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1;
    expect(stride[i] > 0 && room >= 0, "an input of size ", size, " is smaller than the kernel");
    if (!ceil_mode) return room / stride[i] + 1;
    const int64_t out = (room + stride[i] - 1) / stride[i] + 1;
    return (out - 1) * stride[i] >= size + padding[i] ? out - 1
                                                      : out;  // none begins in the padding
  };
  return {in.channels, axis(0, in.height), axis(1, in.width)};
}

#define SCRATCHNET_INSTANTIATE(T)                                      \
  template void max_row(const Pool&, int64_t, const T*, T*, int64_t*); \
  template void mean_row(const Pool&, int64_t, const T*, T*);          \
  template void mean_row_backward(const Pool&, int64_t, const T*, T*); \
  template bool scatter_max(const Pool&, int64_t, int64_t, const T*, const int64_t*, T*);
SCRATCHNET_INSTANTIATE(float)
SCRATCHNET_INSTANTIATE(double)

namespace {

Pool pool_of(const Tensor& x, const Tensor& y, Pair kernel, Pair stride, Pair padding,
             Pair dilation) {
  return make_pool(image_size(x, "x"), image_size(y, "y"), kernel, stride, padding, dilation);
}

Pool mean_of(const Tensor& x, const Tensor& y, Pair kernel, Pair stride, Pair padding,
             bool count_include_pad, std::optional<int64_t> divisor_override) {
  Pool pool = pool_of(x, y, kernel, stride, padding, {1, 1});
  expect(divisor_override.value_or(1) != 0, "divisor_override: expected anything but 0");
  pool.counts_padding = count_include_pad, pool.divides_by = divisor_override.value_or(0);
  return pool;
}

void max_forward(const Tensor& x, const Tensor& y, const Tensor& indices, Pair kernel, Pair stride,
                 Pair padding, Pair dilation) {
  const Pool pool = pool_of(x, y, kernel, stride, padding, dilation);
  const int64_t row_size = pool.w.out * pool.channels;
  int64_t* where = channels_last<int64_t>(indices, y.sizes, "indices");
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = channels_last<T>(x, x.sizes, "x");
    T* to = channels_last<T>(y, y.sizes, "y");
    run_tasks(threads_for(x.numel()), y.size(0) * pool.h.out, [&](int64_t i, int64_t) {
      max_row(pool, i % pool.h.out, from + i / pool.h.out * pool.in_size(), to + i * row_size,
              where + i * row_size);
    });
  });
}

void max_backward(const Tensor& grad_y, const Tensor& indices, const Tensor& grad_x) {
  expect_images(grad_y, "grad_y");
  expect_sizes(grad_x, {grad_y.size(0), grad_y.size(1), grad_x.size(2), grad_x.size(3)}, "grad_x");
  Pool pool{};
  pool.channels = grad_y.size(1);
  pool.h.in = grad_x.size(2), pool.w.in = grad_x.size(3);
  pool.h.out = grad_y.size(2), pool.w.out = grad_y.size(3);
  const int64_t* where = channels_last<int64_t>(indices, grad_y.sizes, "indices");
  constexpr int64_t kChannels = 16;  // of a task
  const int64_t tasks = (pool.channels + kChannels - 1) / kChannels;
  std::atomic<bool> right{true};
  with_dtype(grad_y.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = channels_last<T>(grad_y, grad_y.sizes, "grad_y");
    T* to = channels_last<T>(grad_x, grad_x.sizes, "grad_x");
    run_tasks(threads_for(grad_x.numel()), grad_y.size(0) * tasks, [&](int64_t i, int64_t) {
      const int64_t n = i / tasks, first = i % tasks * kChannels;
      if (!scatter_max(pool, first, std::min(first + kChannels, pool.channels),
                       from + n * pool.out_size(), where + n * pool.out_size(),
                       to + n * pool.in_size())) {
        right = false;
      }
    });
  });
  expect(right, "indices: expected those of the forward, and some are outside the image");
}

void mean_forward(const Tensor& x, const Tensor& y, Pair kernel, Pair stride, Pair padding,
                  bool count_include_pad, std::optional<int64_t> divisor_override) {
  const Pool pool = mean_of(x, y, kernel, stride, padding, count_include_pad, divisor_override);
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = channels_last<T>(x, x.sizes, "x");
    T* to = channels_last<T>(y, y.sizes, "y");
    run_tasks(threads_for(x.numel()), y.size(0) * pool.h.out, [&](int64_t i, int64_t) {
      mean_row(pool, i % pool.h.out, from + i / pool.h.out * pool.in_size(),
               to + i * pool.w.out * pool.channels);
    });
  });
}

void mean_backward(const Tensor& grad_y, const Tensor& grad_x, Pair kernel, Pair stride,
                   Pair padding, bool count_include_pad, std::optional<int64_t> divisor_override) {
  const Pool pool =
      mean_of(grad_x, grad_y, kernel, stride, padding, count_include_pad, divisor_override);
  with_dtype(grad_y.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = channels_last<T>(grad_y, grad_y.sizes, "grad_y");
    T* to = channels_last<T>(grad_x, grad_x.sizes, "grad_x");
    run_tasks(threads_for(grad_x.numel()), grad_x.size(0) * pool.h.in, [&](int64_t i, int64_t) {
      mean_row_backward(pool, i % pool.h.in, from + i / pool.h.in * pool.out_size(),
                        to + i * pool.w.in * pool.channels);
    });
  });
}

}  // namespace
}  // namespace scratchnet

// As torch.nn.functional has them; ceil_mode is in the size of y.
SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  def(m, "max_pool2d_forward", &max_forward, py::arg("x"), py::arg("y"), py::arg("indices"),
      py::arg("kernel_size"), py::arg("stride"), py::arg("padding"), py::arg("dilation"));
  def(m, "max_pool2d_backward", &max_backward, py::arg("grad_y"), py::arg("indices"),
      py::arg("grad_x"));
  def(m, "avg_pool2d_forward", &mean_forward, py::arg("x"), py::arg("y"), py::arg("kernel_size"),
      py::arg("stride"), py::arg("padding"), py::arg("count_include_pad"),
      py::arg("divisor_override"));
  def(m, "avg_pool2d_backward", &mean_backward, py::arg("grad_y"), py::arg("grad_x"),
      py::arg("kernel_size"), py::arg("stride"), py::arg("padding"), py::arg("count_include_pad"),
      py::arg("divisor_override"));
}

#endif
