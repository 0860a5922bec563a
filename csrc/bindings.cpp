// Between Python and the kernels: the only file that sees torch. It turns tensors into
// channels-last pointers, releases the GIL, and lends torch's own threads. Arguments are checked in
// Python, before.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/headeronly/version.h>

#include <array>
#include <optional>
#include <tuple>

#include "conv.h"
#include "upsample.h"

namespace {

using scratchnet::Axis;
using scratchnet::Conv;
using scratchnet::Pool;
using scratchnet::Upsample;
using Pair = std::array<int64_t, 2>;

// torch's threads, however many it was told to use.
Pool torch_pool() {
  return {at::get_num_threads(), [](int64_t threads, void (*body)(void*, int64_t), void* context) {
            at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
              for (int64_t t = begin; t < end; ++t) body(context, t);
            });
          }};
}

template <class Function>
void dispatch_dtype(at::ScalarType dtype, Function&& function) {
  if (dtype == at::kFloat) {
    function(float{});
  } else {
    TORCH_CHECK(dtype == at::kDouble, "expected float32 or float64, got ", dtype);
    function(double{});
  }
}

at::Tensor channels_last(const at::Tensor& tensor) {
  return tensor.contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor empty_channels_last(at::IntArrayRef sizes, const at::Tensor& like) {
  return at::empty(sizes, like.options(), at::MemoryFormat::ChannelsLast);
}

template <class T>
const T* data_or_null(const std::optional<at::Tensor>& tensor) {
  return tensor ? tensor->const_data_ptr<T>() : nullptr;
}

Conv make_conv(at::IntArrayRef x, at::IntArrayRef weight, Pair stride, Pair padding, Pair dilation,
               int64_t groups) {
  const auto axis = [&](int i) {
    const int64_t small =
        (x[2 + i] + 2 * padding[i] - dilation[i] * (weight[2 + i] - 1) - 1) / stride[i] + 1;
    return Axis{x[2 + i], small, weight[2 + i], stride[i], padding[i], dilation[i]};
  };
  return {x[0], groups, x[1], weight[0], axis(0), axis(1)};
}

at::Tensor conv2d_forward(const at::Tensor& x, const at::Tensor& weight,
                          const std::optional<at::Tensor>& bias, Pair stride, Pair padding,
                          Pair dilation, int64_t groups) {
  const Conv conv = make_conv(x.sizes(), weight.sizes(), stride, padding, dilation, groups);
  const at::Tensor image = channels_last(x), w = weight.contiguous();
  const std::optional<at::Tensor> b = bias ? std::optional(bias->contiguous()) : std::nullopt;
  at::Tensor y =
      empty_channels_last({conv.batch, conv.small_channels, conv.h.small, conv.w.small}, x);
  dispatch_dtype(x.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    scratchnet::conv_down<T>(torch_pool(), conv, image.const_data_ptr<T>(), w.const_data_ptr<T>(),
                             data_or_null<T>(b), y.mutable_data_ptr<T>());
  });
  return y;
}

using Grads =
    std::tuple<std::optional<at::Tensor>, std::optional<at::Tensor>, std::optional<at::Tensor>>;

Grads conv2d_backward(const at::Tensor& grad_y, const at::Tensor& x, const at::Tensor& weight,
                      Pair stride, Pair padding, Pair dilation, int64_t groups,
                      std::array<bool, 3> needs) {
  const Conv conv = make_conv(x.sizes(), weight.sizes(), stride, padding, dilation, groups);
  const Pool pool = torch_pool();
  const at::Tensor grad = channels_last(grad_y);
  Grads result;
  auto& [grad_x, grad_weight, grad_bias] = result;
  dispatch_dtype(grad_y.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const T* small = grad.const_data_ptr<T>();
    if (needs[0]) {
      const at::Tensor w = weight.contiguous();
      grad_x = empty_channels_last(x.sizes(), grad_y);
      scratchnet::conv_up<T>(pool, conv, small, w.const_data_ptr<T>(), nullptr,
                             grad_x->mutable_data_ptr<T>());
    }
    if (needs[1]) {
      const at::Tensor image = channels_last(x);
      grad_weight = at::empty(weight.sizes(), grad_y.options());
      scratchnet::conv_grad_weight<T>(pool, conv, image.const_data_ptr<T>(), small,
                                      grad_weight->mutable_data_ptr<T>());
    }
    if (needs[2]) {
      grad_bias = at::empty({conv.small_channels}, grad_y.options());
      scratchnet::conv_grad_bias<T>(pool, conv, small, grad_bias->mutable_data_ptr<T>());
    }
  });
  return result;
}

at::Tensor upsample_nearest_forward(const at::Tensor& x, Pair scale) {
  const Upsample shape{x.size(0), x.size(1), x.size(2), x.size(3), scale[0], scale[1]};
  const at::Tensor image = channels_last(x);
  at::Tensor y =
      empty_channels_last({x.size(0), x.size(1), x.size(2) * scale[0], x.size(3) * scale[1]}, x);
  dispatch_dtype(x.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    scratchnet::upsample_forward<T>(torch_pool(), shape, image.const_data_ptr<T>(),
                                    y.mutable_data_ptr<T>());
  });
  return y;
}

at::Tensor upsample_nearest_backward(const at::Tensor& grad_y, Pair scale) {
  const Upsample shape{
      grad_y.size(0), grad_y.size(1), grad_y.size(2) / scale[0], grad_y.size(3) / scale[1],
      scale[0],       scale[1]};
  const at::Tensor grad = channels_last(grad_y);
  at::Tensor grad_x =
      empty_channels_last({shape.batch, shape.channels, shape.height, shape.width}, grad_y);
  dispatch_dtype(grad_y.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    scratchnet::upsample_backward<T>(torch_pool(), shape, grad.const_data_ptr<T>(),
                                     grad_x.mutable_data_ptr<T>());
  });
  return grad_x;
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  namespace py = pybind11;
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  m.doc() = "scratchnet's C++ kernels; use them through scratchnet.backends.cpp.";
  m.attr("torch_version") = TORCH_VERSION;
  m.def("isa", [] { return scratchnet::current_isa().name; }, "The instruction set in use.");
  m.def("conv2d_forward", &conv2d_forward, no_gil, py::arg("x"), py::arg("weight"), py::arg("bias"),
        py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"));
  m.def("conv2d_backward", &conv2d_backward, no_gil, py::arg("grad_y"), py::arg("x"),
        py::arg("weight"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
        py::arg("groups"), py::arg("needs"));
  m.def("upsample_nearest_forward", &upsample_nearest_forward, no_gil, py::arg("x"),
        py::arg("scale"));
  m.def("upsample_nearest_backward", &upsample_nearest_backward, no_gil, py::arg("grad_y"),
        py::arg("scale"));
}
