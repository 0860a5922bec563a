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
void max_row(const Pool& pool, int64_t row, const T* x, T* y, Index<T>* indices) {
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
      if (indices) {  // as wide as T: the same lanes
        T* to = reinterpret_cast<T*>(indices) + col * pool.channels + c;
        store_first(to, reinterpret_cast<Vec<T>>(at), n);
      }
    }
  }
}

// One row of the gradient of x: of each window that sees a pixel, grad_y if the maximum was there.
template <class T>
void max_row_backward(const Pool& pool, int64_t row, const T* grad_y, const Index<T>* indices,
                      T* grad_x) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t i = 0; i < pool.w.in * pool.channels; ++i) grad_x[i] = 0;
  for (int64_t out = 0; out < pool.h.out; ++out) {
    const Window h = pool.h.window(out);
    if (row < h.begin || row >= h.end || (row - h.begin) % pool.h.dilation) continue;
    for (int64_t col = 0; col < pool.w.out; ++col) {
      const Window w = pool.w.window(col);
      const int64_t at = (out * pool.w.out + col) * pool.channels;
      for (int64_t c = 0; c < pool.channels; c += L) {
        const int64_t n = smaller(L, pool.channels - c);
        const Vec<T> grad = load_first(grad_y + at + c, n), none = {};
        const T* places = reinterpret_cast<const T*>(indices) + at + c;
        const Bits<T> place = reinterpret_cast<Bits<T>>(load_first(places, n));
        for (int64_t j = w.begin; j < w.end; j += pool.w.dilation) {
          T* to = grad_x + j * pool.channels + c;
          const Vec<T> share = place == whole<T>(row * pool.w.in + j) ? grad : none;
          store_first(to, load_first(to, n) + share, n);
        }
      }
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
#include <limits>

#include "core/binding.h"
#include "core/each_isa.h"

namespace scratchnet {

template <class T>
void max_row(const Pool& pool, int64_t row, const T* x, T* y, Index<T>* indices) {
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
void max_row_backward(const Pool& pool, int64_t row, const T* grad_y, const Index<T>* indices,
                      T* grad_x) {
  SCRATCHNET_BEST(max_row_backward<T>)(pool, row, grad_y, indices, grad_x);
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

#define SCRATCHNET_INSTANTIATE(T)                                                           \
  template void max_row(const Pool&, int64_t, const T*, T*, Index<T>*);                     \
  template void max_row_backward(const Pool&, int64_t, const T*, const Index<T>*, T*);      \
  template void mean_row(const Pool&, int64_t, const T*, T*);                               \
  template void mean_row_backward(const Pool&, int64_t, const T*, T*);
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

Pool adaptive_pool(const Tensor& x, const Tensor& y) {
  const Size in = image_size(x, "x"), out = image_size(y, "y");
  expect(in.channels == out.channels, "pooling leaves the channels: expected ", in.channels,
         ", got ", out.channels);
  expect(in.elements() > 0 && out.elements() > 0, "expected images with pixels, got ", x.sizes,
         " and ", y.sizes);
  return {in.channels, {in.height, out.height, 0, 1, 0, 1}, {in.width, out.width, 0, 1, 0, 1},
          false, 0};
}

void max_forward(const Pool& pool, const Tensor& x, const Tensor& y, const Tensor& indices) {
  const int64_t row_size = pool.w.out * pool.channels;
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = channels_last<T>(x, x.sizes, "x");
    T* to = channels_last<T>(y, y.sizes, "y");
    Index<T>* where = channels_last<Index<T>>(indices, y.sizes, "indices");
    run_tasks(threads_for(x.numel()), y.size(0) * pool.h.out, [&](int64_t i, int64_t) {
      max_row(pool, i % pool.h.out, from + i / pool.h.out * pool.in_size(), to + i * row_size,
              where + i * row_size);
    });
  });
}

void max_backward(const Pool& pool, const Tensor& grad_y, const Tensor& indices,
                  const Tensor& grad_x) {
  with_dtype(grad_y.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = channels_last<T>(grad_y, grad_y.sizes, "grad_y");
    const Index<T>* where = channels_last<Index<T>>(indices, grad_y.sizes, "indices");
    T* to = channels_last<T>(grad_x, grad_x.sizes, "grad_x");
    run_tasks(threads_for(grad_x.numel()), grad_x.size(0) * pool.h.in, [&](int64_t i, int64_t) {
      const int64_t of_image = i / pool.h.in * pool.out_size();
      max_row_backward(pool, i % pool.h.in, from + of_image, where + of_image,
                       to + i * pool.w.in * pool.channels);
    });
  });
}

void mean_forward(const Pool& pool, const Tensor& x, const Tensor& y) {
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

void mean_backward(const Pool& pool, const Tensor& grad_y, const Tensor& grad_x) {
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

// As torch.nn.functional has them; ceil_mode and output_size are in the size of y. The indices of
// maxima are as wide as the numbers: int32 for float32.
SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  using Override = std::optional<int64_t>;
  def(
      m, "max_pool2d_forward",
      [](const Tensor& x, const Tensor& y, const Tensor& indices, Pair kernel, Pair stride,
         Pair padding, Pair dilation) {
        max_forward(pool_of(x, y, kernel, stride, padding, dilation), x, y, indices);
      },
      py::arg("x"), py::arg("y"), py::arg("indices"), py::arg("kernel_size"), py::arg("stride"),
      py::arg("padding"), py::arg("dilation"));
  def(
      m, "max_pool2d_backward",
      [](const Tensor& grad_y, const Tensor& indices, const Tensor& grad_x, Pair kernel,
         Pair stride, Pair padding, Pair dilation) {
        const Pool pool = pool_of(grad_x, grad_y, kernel, stride, padding, dilation);
        max_backward(pool, grad_y, indices, grad_x);
      },
      py::arg("grad_y"), py::arg("indices"), py::arg("grad_x"), py::arg("kernel_size"),
      py::arg("stride"), py::arg("padding"), py::arg("dilation"));
  def(
      m, "avg_pool2d_forward",
      [](const Tensor& x, const Tensor& y, Pair kernel, Pair stride, Pair padding, bool counts,
         Override divisor) {
        mean_forward(mean_of(x, y, kernel, stride, padding, counts, divisor), x, y);
      },
      py::arg("x"), py::arg("y"), py::arg("kernel_size"), py::arg("stride"), py::arg("padding"),
      py::arg("count_include_pad"), py::arg("divisor_override"));
  def(
      m, "avg_pool2d_backward",
      [](const Tensor& grad_y, const Tensor& grad_x, Pair kernel, Pair stride, Pair padding,
         bool counts, Override divisor) {
        const Pool pool = mean_of(grad_x, grad_y, kernel, stride, padding, counts, divisor);
        mean_backward(pool, grad_y, grad_x);
      },
      py::arg("grad_y"), py::arg("grad_x"), py::arg("kernel_size"), py::arg("stride"),
      py::arg("padding"), py::arg("count_include_pad"), py::arg("divisor_override"));
  def(
      m, "adaptive_max_pool2d_forward",
      [](const Tensor& x, const Tensor& y, const Tensor& indices) {
        max_forward(adaptive_pool(x, y), x, y, indices);
      },
      py::arg("x"), py::arg("y"), py::arg("indices"));
  def(
      m, "adaptive_max_pool2d_backward",
      [](const Tensor& grad_y, const Tensor& indices, const Tensor& grad_x) {
        max_backward(adaptive_pool(grad_x, grad_y), grad_y, indices, grad_x);
      },
      py::arg("grad_y"), py::arg("indices"), py::arg("grad_x"));
  def(
      m, "adaptive_avg_pool2d_forward",
      [](const Tensor& x, const Tensor& y) { mean_forward(adaptive_pool(x, y), x, y); },
      py::arg("x"), py::arg("y"));
  def(
      m, "adaptive_avg_pool2d_backward",
      [](const Tensor& grad_y, const Tensor& grad_x) {
        mean_backward(adaptive_pool(grad_x, grad_y), grad_y, grad_x);
      },
      py::arg("grad_y"), py::arg("grad_x"));
}

#endif
