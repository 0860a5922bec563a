// The 2-D convolution and its gradients, on whole batches of channels-last images.

#include <algorithm>
#include <array>
#include <optional>

#include "conv/correlation.h"
#include "core/binding.h"
#include "core/buffer.h"

namespace scratchnet {
namespace {

// Small images, of these `batch`, share a task, and thereby fill the tiles at their borders.
int64_t images_together(const Conv& conv, int64_t batch) {
  constexpr int64_t kPixels = 512;
  const int64_t pixels = std::max<int64_t>(conv.h.small * conv.w.small, 1);
  return std::clamp<int64_t>(kPixels / pixels, 1, std::max<int64_t>(batch, 1));
}

template <class T>
void correlate_batch(const Correlation<T>& correlation, const Conv& conv, int64_t batch,
                     const T* in, int64_t in_size, const T* weight, const T* bias, T* out,
                     int64_t out_size) {
  if (batch == 0) return;
  const Buffer<T> packed(correlation.packed_size());
  run_tasks(threads_for(correlation.packed_size()), correlation.pack_tasks(),
            [&](int64_t i, int64_t) { correlation.pack(i, weight, packed.data()); });
  const Buffer<T> products(batch * correlation.products_size());
  const int64_t together = images_together(conv, (batch + threads() - 1) / threads());
  const int64_t groups = (batch + together - 1) / together;
  Epilogue<T> epilogue;
  epilogue.bias = bias;
  for (int64_t stage = 0; stage < correlation.stages(); ++stage) {
    const int64_t tasks = correlation.tasks(stage);
    run_tasks(threads(), groups * tasks, [&](int64_t i, int64_t) {
      const int64_t first = i / tasks * together;
      correlation.run(stage, i % tasks, std::min(together, batch - first), in + first * in_size,
                      packed.data(), products.data() + first * correlation.products_size(),
                      epilogue, out + first * out_size);
    });
  }
}

// Without grad_weight `big` is not read, and without grad_bias that one is left out.
template <class T>
void correlation_gradients(const Conv& conv, int64_t batch, const T* big, const T* small,
                           T* grad_weight, T* grad_bias) {
  const WeightGradient<T> gradient(conv, plain_weight(conv));
  const int64_t size = gradient.sums_size(), channels = conv.small_channels;
  const int64_t chunks = chunks_of(batch, size * static_cast<int64_t>(sizeof(T)));
  const int64_t together = images_together(conv, batch);
  const Buffer<T> sums(grad_weight ? chunks * size : 0), bias_sums(chunks * channels);
  // A chunk's last task is its bias.
  const int64_t tasks = (grad_weight ? gradient.tasks() : 0) + (grad_bias ? 1 : 0);
  std::fill_n(sums.data(), grad_weight ? chunks * size : 0, T(0));
  std::fill_n(bias_sums.data(), chunks * channels, T(0));
  run_tasks(threads(), chunks * tasks, [&](int64_t i, int64_t) {
    const int64_t chunk = i / tasks, task = i % tasks;
    const int64_t begin = batch * chunk / chunks, end = batch * (chunk + 1) / chunks;
    if (grad_bias && task == tasks - 1) {
      for (int64_t n = begin; n < end; ++n) {
        sum_pixels(small + n * conv.small_size(), conv.h.small * conv.w.small, channels, channels,
                   bias_sums.data() + chunk * channels, true);
      }
      return;
    }
    for (int64_t n = begin; n < end; n += together) {
      gradient.run(task, std::min(together, end - n), big + n * conv.big_size(),
                   small + n * conv.small_size(), sums.data() + chunk * size);
    }
  });
  if (grad_weight) {
    std::fill_n(grad_weight, conv.weight_size(), T(0));
    run_tasks(threads_for(chunks * size), gradient.write_tasks(), [&](int64_t i, int64_t) {
      gradient.write(i, sums.data(), chunks, size, grad_weight);
    });
  }
  if (grad_bias) sum_pixels(bias_sums.data(), chunks, channels, channels, grad_bias, false);
}

// The convolution whose input has the sizes `x`, its output `y`, and its weight `weight`.
Conv make_conv(const Sizes& x, const Sizes& weight, const Sizes& y, Pair stride, Pair padding,
               Pair dilation, int64_t groups, bool winograd) {
  expect(x.size() == 4 && weight.size() == 4 && y.size() == 4,
         "expected 4-D x, weight and y, got shapes ", x, ", ", weight, " and ", y);
  expect(groups > 0 && x[1] == weight[1] * groups && weight[0] % groups == 0, "weight: ", groups,
         " groups of shape ", weight, " do not fit ", x[1], " channels");
  expect(x[0] == y[0] && y[1] == weight[0], "y: expected ", x[0], " images of ", weight[0],
         " channels, got shape ", y);
  const auto axis = [&](int i) {
    const Axis result = conv_axis(x[2 + i], weight[2 + i], stride[i], padding[i], dilation[i]);
    expect(y[2 + i] == result.small, "y: expected size ", result.small, " on axis ", 2 + i,
           ", got shape ", y);
    return result;
  };
  const Conv conv{groups, x[1], weight[0], axis(0), axis(1), winograd};
  expect_computable(conv);
  return conv;
}

void forward(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
             const Tensor& y, Pair stride, Pair padding, Pair dilation, int64_t groups,
             bool winograd) {
  const Conv conv =
      make_conv(x.sizes, weight.sizes, y.sizes, stride, padding, dilation, groups, winograd);
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    correlate_batch<T>(Correlation<T>::down(conv, plain_weight(conv)), conv, x.size(0),
                       channels_last<T>(x, x.sizes, "x"), conv.big_size(),
                       contiguous<T>(weight, weight.sizes, "weight"),
                       bias ? contiguous<T>(*bias, {weight.size(0)}, "bias") : nullptr,
                       channels_last<T>(y, y.sizes, "y"), conv.small_size());
  });
}

void input_grad(const Tensor& grad_y, const Tensor& weight, const Tensor& grad_x, Pair stride,
                Pair padding, Pair dilation, int64_t groups, bool winograd) {
  const Conv conv = make_conv(grad_x.sizes, weight.sizes, grad_y.sizes, stride, padding, dilation,
                              groups, winograd);
  with_dtype(grad_y.dtype, [&](auto zero) {
    using T = decltype(zero);
    correlate_batch<T>(Correlation<T>::up(conv, plain_weight(conv)), conv, grad_y.size(0),
                       channels_last<T>(grad_y, grad_y.sizes, "grad_y"), conv.small_size(),
                       contiguous<T>(weight, weight.sizes, "weight"), nullptr,
                       channels_last<T>(grad_x, grad_x.sizes, "grad_x"), conv.big_size());
  });
}

void weight_grad(const Tensor& grad_y, const std::optional<Tensor>& x,
                 const std::optional<Tensor>& grad_weight, const std::optional<Tensor>& grad_bias,
                 Pair stride, Pair padding, Pair dilation, int64_t groups, bool winograd) {
  expect_images(grad_y, "grad_y");
  expect(x.has_value() == grad_weight.has_value(), "expected x and grad_weight, or neither");
  // The bias gradient alone is that of a convolution by 1x1.
  const int64_t channels = grad_y.size(1);
  const Conv conv =
      x ? make_conv(x->sizes, grad_weight->sizes, grad_y.sizes, stride, padding, dilation, groups,
                    winograd)
        : make_conv(grad_y.sizes, {channels, channels, 1, 1}, grad_y.sizes, {1, 1}, {0, 0}, {1, 1},
                    1, false);
  with_dtype(grad_y.dtype, [&](auto zero) {
    using T = decltype(zero);
    correlation_gradients<T>(
        conv, grad_y.size(0), x ? channels_last<T>(*x, x->sizes, "x") : nullptr,
        channels_last<T>(grad_y, grad_y.sizes, "grad_y"),
        x ? contiguous<T>(*grad_weight, grad_weight->sizes, "grad_weight") : nullptr,
        grad_bias ? contiguous<T>(*grad_bias, {channels}, "grad_bias") : nullptr);
  });
}

}  // namespace
}  // namespace scratchnet

// Outputs are the caller's, and written over. Images are channels_last, all else is contiguous.
SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  def(m, "conv2d_forward", &forward, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("y"),
      py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"),
      py::arg("winograd") = false);
  def(m, "conv2d_input_grad", &input_grad, py::arg("grad_y"), py::arg("weight"), py::arg("grad_x"),
      py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"),
      py::arg("winograd") = false);
  def(m, "conv2d_weight_grad", &weight_grad, py::arg("grad_y"), py::arg("x"),
      py::arg("grad_weight"), py::arg("grad_bias"), py::arg("stride"), py::arg("padding"),
      py::arg("dilation"), py::arg("groups"), py::arg("winograd") = false);
}
