// Nearest upsampling: every pixel becomes a block, and a block's gradients are summed.

#include <algorithm>
#include <array>

#include "core/binding.h"

namespace scratchnet {
namespace {

struct Upsample {
  int64_t batch, channels, height, width;  // of the small image
  int64_t scale_h, scale_w;
};

Upsample make_upsample(const Tensor& small, const Tensor& big, Pair scale) {
  expect_images(small, "the smaller tensor");
  expect(scale[0] > 0 && scale[1] > 0, "scale: expected at least 1, got ", scale[0], " and ",
         scale[1]);
  const Upsample shape{small.size(0), small.size(1), small.size(2),
                       small.size(3), scale[0],      scale[1]};
  expect_sizes(big, {shape.batch, shape.channels, shape.height * scale[0], shape.width * scale[1]},
               "the larger tensor");
  return shape;
}

template <class T>
void repeat(const Upsample& shape, const T* small, T* big) {
  const int64_t in_row = shape.width * shape.channels, out_row = in_row * shape.scale_w;
  run_tasks(threads(), shape.batch * shape.height, [&](int64_t row, int64_t) {
    const T* in = small + row * in_row;
    T* first = big + row * shape.scale_h * out_row;
    T* out = first;
    for (int64_t w = 0; w < shape.width; ++w, in += shape.channels) {
      for (int64_t j = 0; j < shape.scale_w; ++j) out = std::copy(in, in + shape.channels, out);
    }
    for (int64_t i = 1; i < shape.scale_h; ++i) out = std::copy(first, first + out_row, out);
  });
}

template <class T>
void sum_blocks(const Upsample& shape, const T* big, T* small) {
  const int64_t out_row = shape.width * shape.channels, in_row = out_row * shape.scale_w;
  run_tasks(threads(), shape.batch * shape.height, [&](int64_t row, int64_t) {
    T* out = small + row * out_row;
    std::fill(out, out + out_row, T(0));
    for (int64_t i = 0; i < shape.scale_h; ++i) {
      const T* in = big + (row * shape.scale_h + i) * in_row;
      for (int64_t w = 0; w < shape.width; ++w) {
        T* sum = out + w * shape.channels;
        for (int64_t j = 0; j < shape.scale_w; ++j, in += shape.channels) {
          for (int64_t c = 0; c < shape.channels; ++c) sum[c] += in[c];
        }
      }
    }
  });
}

void forward(const Tensor& x, const Tensor& y, Pair scale) {
  const Upsample shape = make_upsample(x, y, scale);
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    repeat<T>(shape, channels_last<T>(x, x.sizes, "x"), channels_last<T>(y, y.sizes, "y"));
  });
}

void backward(const Tensor& grad_y, const Tensor& grad_x, Pair scale) {
  const Upsample shape = make_upsample(grad_x, grad_y, scale);
  with_dtype(grad_y.dtype, [&](auto zero) {
    using T = decltype(zero);
    sum_blocks<T>(shape, channels_last<T>(grad_y, grad_y.sizes, "grad_y"),
                  channels_last<T>(grad_x, grad_x.sizes, "grad_x"));
  });
}

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  def(m, "upsample_nearest_forward", &forward, py::arg("x"), py::arg("y"), py::arg("scale"));
  def(m, "upsample_nearest_backward", &backward, py::arg("grad_y"), py::arg("grad_x"),
      py::arg("scale"));
}
