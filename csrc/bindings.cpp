// Between Python and the kernels: the only file that sees torch. It turns tensors into
// channels-last pointers, releases the GIL, and lends torch's own threads. Arguments are checked in
// Python, before.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/headeronly/version.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "buffer.h"
#include "network.h"
#include "ops.h"

namespace {

using scratchnet::Axis;
using scratchnet::Conv;
using scratchnet::Layer;
using scratchnet::Network;
using scratchnet::Pair;
using scratchnet::Pictures;
using scratchnet::Pool;
using scratchnet::Upsample;
using Optional = std::optional<at::Tensor>;
using Tensors = std::vector<at::Tensor>;
using Optionals = std::vector<Optional>;

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

// A tensor in memory that is used again once nobody holds the tensor any more; see buffer.h.
template <class T>
at::Tensor empty_reused(at::IntArrayRef sizes, const at::Tensor& like) {
  const auto buffer = std::make_shared<scratchnet::Buffer<T>>(c10::multiply_integers(sizes));
  return at::from_blob(
      buffer->data(), sizes, [buffer](void*) {}, like.options());
}

template <class T>
const T* data_or_null(const Optional& tensor) {
  return tensor ? tensor->const_data_ptr<T>() : nullptr;
}

Conv make_conv(at::IntArrayRef x, at::IntArrayRef weight, Pair stride, Pair padding, Pair dilation,
               int64_t groups) {
  const auto axis = [&](int i) {
    const int64_t small =
        (x[2 + i] + 2 * padding[i] - dilation[i] * (weight[2 + i] - 1) - 1) / stride[i] + 1;
    return Axis{x[2 + i], small, weight[2 + i], stride[i], padding[i], dilation[i]};
  };
  return {groups, x[1], weight[0], axis(0), axis(1)};
}

at::Tensor conv2d_forward(const at::Tensor& x, const at::Tensor& weight, const Optional& bias,
                          Pair stride, Pair padding, Pair dilation, int64_t groups) {
  const Conv conv = make_conv(x.sizes(), weight.sizes(), stride, padding, dilation, groups);
  const at::Tensor image = channels_last(x), w = weight.contiguous();
  const Optional b = bias ? std::optional(bias->contiguous()) : std::nullopt;
  at::Tensor y =
      empty_channels_last({x.size(0), conv.small_channels, conv.h.small, conv.w.small}, x);
  dispatch_dtype(x.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    scratchnet::conv_down<T>(torch_pool(), conv, x.size(0), image.const_data_ptr<T>(),
                             w.const_data_ptr<T>(), data_or_null<T>(b), y.mutable_data_ptr<T>());
  });
  return y;
}

using Grads = std::tuple<Optional, Optional, Optional>;

Grads conv2d_backward(const at::Tensor& grad_y, const at::Tensor& x, const at::Tensor& weight,
                      Pair stride, Pair padding, Pair dilation, int64_t groups,
                      std::array<bool, 3> needs) {
  const Conv conv = make_conv(x.sizes(), weight.sizes(), stride, padding, dilation, groups);
  const Pool pool = torch_pool();
  const int64_t batch = x.size(0);
  const at::Tensor grad = channels_last(grad_y);
  Grads result;
  auto& [grad_x, grad_weight, grad_bias] = result;
  dispatch_dtype(grad_y.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const T* small = grad.const_data_ptr<T>();
    if (needs[0]) {
      const at::Tensor w = weight.contiguous();
      grad_x = empty_channels_last(x.sizes(), grad_y);
      scratchnet::conv_up<T>(pool, conv, batch, small, w.const_data_ptr<T>(),
                             grad_x->mutable_data_ptr<T>());
    }
    if (!needs[1] && !needs[2]) return;
    at::Tensor image;
    if (needs[1]) {
      image = channels_last(x);
      grad_weight = at::zeros(weight.sizes(), grad_y.options());
    }
    if (needs[2]) grad_bias = at::zeros({conv.small_channels}, grad_y.options());
    scratchnet::conv_gradients<T>(pool, conv, batch, needs[1] ? image.const_data_ptr<T>() : nullptr,
                                  small, needs[1] ? grad_weight->mutable_data_ptr<T>() : nullptr,
                                  needs[2] ? grad_bias->mutable_data_ptr<T>() : nullptr);
  });
  return result;
}

// torch's own convolution, for the shapes it is better at; scratchnet/backends/cpp.py decides.
at::Tensor torch_conv2d_forward(const at::Tensor& x, const at::Tensor& weight, const Optional& bias,
                                Pair stride, Pair padding, Pair dilation, int64_t groups) {
  return channels_last(
      at::convolution(x, weight, bias, stride, padding, dilation, false, {0, 0}, groups));
}

Grads torch_conv2d_backward(const at::Tensor& grad_y, const at::Tensor& x, const at::Tensor& weight,
                            Pair stride, Pair padding, Pair dilation, int64_t groups,
                            std::array<bool, 3> needs) {
  const auto [grad_x, grad_weight, grad_bias] =
      at::convolution_backward(grad_y, x, weight, at::IntArrayRef{weight.size(0)}, stride, padding,
                               dilation, false, {0, 0}, groups, needs);
  const auto if_needed = [&](int i, const at::Tensor& grad) {
    return needs[i] ? Optional(grad) : std::nullopt;
  };
  return {if_needed(0, needs[0] ? channels_last(grad_x) : grad_x), if_needed(1, grad_weight),
          if_needed(2, grad_bias)};
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

template <class T>
Pictures<const T> pictures_of(const at::Tensor& x) {
  return {x.const_data_ptr<T>(), x.stride(0), x.stride(1), x.stride(2), x.stride(3)};
}

template <class T>
Pictures<T> mutable_pictures_of(const at::Tensor& x) {
  return {x.mutable_data_ptr<T>(), x.stride(0), x.stride(1), x.stride(2), x.stride(3)};
}

// A chain of layers for one size of picture and one dtype. The results of `forward` and `backward`
// are in the memory format of their argument.
class Chain {
 public:
  Chain(const std::vector<Layer>& layers, std::array<int64_t, 3> input, bool is_double) {
    const scratchnet::Size size{input[0], input[1], input[2]};
    if (is_double) {
      f64_ = std::make_unique<Network<double>>(layers, size);
    } else {
      f32_ = std::make_unique<Network<float>>(layers, size);
    }
  }

  std::tuple<at::Tensor, Optional> forward(const at::Tensor& x, const Tensors& weights,
                                           const Optionals& biases, bool keep) const {
    at::Tensor y;
    Optional saved;
    dispatch_dtype(x.scalar_type(), [&](auto zero) {
      using T = decltype(zero);
      const Network<T>& net = network(zero);
      const scratchnet::Size out = net.output();
      y = at::empty({x.size(0), out.channels, out.height, out.width}, x.options(),
                    x.suggest_memory_format());
      if (keep) saved = empty_reused<T>({x.size(0), net.saved_size()}, x);
      net.forward(torch_pool(), x.size(0), pictures_of<T>(x), pointers<T>(weights).data(),
                  pointers<T>(biases).data(), mutable_pictures_of<T>(y),
                  keep ? saved->mutable_data_ptr<T>() : nullptr);
    });
    return {y, saved};
  }

  Optional backward(const at::Tensor& x, const at::Tensor& y, const at::Tensor& grad_y,
                    const at::Tensor& saved, const Tensors& weights, const Tensors& grad_weights,
                    const Optionals& grad_biases, bool needs_grad_x) const {
    Optional grad_x;
    if (needs_grad_x) grad_x = at::empty(x.sizes(), x.options(), x.suggest_memory_format());
    dispatch_dtype(x.scalar_type(), [&](auto zero) {
      using T = decltype(zero);
      std::vector<T*> to_weights, to_biases;
      for (const at::Tensor& grad : grad_weights) to_weights.push_back(grad.mutable_data_ptr<T>());
      for (const Optional& grad : grad_biases) {
        to_biases.push_back(grad ? grad->mutable_data_ptr<T>() : nullptr);
      }
      network(zero).backward(torch_pool(), x.size(0), pictures_of<T>(x), pictures_of<T>(y),
                             pictures_of<T>(grad_y), saved.const_data_ptr<T>(),
                             pointers<T>(weights).data(), to_weights.data(), to_biases.data(),
                             grad_x ? mutable_pictures_of<T>(*grad_x) : Pictures<T>{});
    });
    return grad_x;
  }

 private:
  const Network<float>& network(float) const { return *f32_; }
  const Network<double>& network(double) const { return *f64_; }

  template <class T>
  static std::vector<const T*> pointers(const Tensors& tensors) {
    std::vector<const T*> result;
    for (const at::Tensor& tensor : tensors) result.push_back(tensor.const_data_ptr<T>());
    return result;
  }
  template <class T>
  static std::vector<const T*> pointers(const Optionals& tensors) {
    std::vector<const T*> result;
    for (const Optional& tensor : tensors) result.push_back(data_or_null<T>(tensor));
    return result;
  }

  std::unique_ptr<Network<float>> f32_;  // one of the two
  std::unique_ptr<Network<double>> f64_;
};

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  namespace py = pybind11;
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  m.doc() = "scratchnet's C++ kernels; use them through scratchnet.backends.cpp.";
  m.attr("torch_version") = TORCH_VERSION;
  m.def(
      "isa", [] { return scratchnet::current_isa().name; }, "The instruction set in use.");
  m.def(
      "instruction_sets",
      [] {
        std::vector<std::string> names;
        while (const char* name = scratchnet::usable_isa(static_cast<int>(names.size()))) {
          names.emplace_back(name);
        }
        return names;
      },
      "Those that this processor has, the best first.");
  m.def("conv2d_forward", &conv2d_forward, no_gil, py::arg("x"), py::arg("weight"), py::arg("bias"),
        py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"));
  m.def("conv2d_backward", &conv2d_backward, no_gil, py::arg("grad_y"), py::arg("x"),
        py::arg("weight"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
        py::arg("groups"), py::arg("needs"));
  m.def("torch_conv2d_forward", &torch_conv2d_forward, no_gil, py::arg("x"), py::arg("weight"),
        py::arg("bias"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
        py::arg("groups"));
  m.def("torch_conv2d_backward", &torch_conv2d_backward, no_gil, py::arg("grad_y"), py::arg("x"),
        py::arg("weight"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
        py::arg("groups"), py::arg("needs"));
  m.def("upsample_nearest_forward", &upsample_nearest_forward, no_gil, py::arg("x"),
        py::arg("scale"));
  m.def("upsample_nearest_backward", &upsample_nearest_backward, no_gil, py::arg("grad_y"),
        py::arg("scale"));
  py::class_<Layer>(m, "Layer", "A convolution of a Chain, with what comes before and after it.")
      .def(py::init([](int64_t in_channels, int64_t out_channels, Pair kernel_size, Pair stride,
                       Pair padding, Pair dilation, int64_t groups, std::optional<Pair> scale,
                       const std::string& activation) {
             using scratchnet::Activation;
             const Activation which = activation == "relu"      ? Activation::relu
                                      : activation == "sigmoid" ? Activation::sigmoid
                                                                : Activation::none;
             return Layer{in_channels,
                          out_channels,
                          groups,
                          kernel_size,
                          stride,
                          padding,
                          dilation,
                          scale.value_or(Pair{1, 1}),
                          scale.has_value(),
                          which};
           }),
           py::kw_only(), py::arg("in_channels"), py::arg("out_channels"), py::arg("kernel_size"),
           py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"),
           py::arg("scale"), py::arg("activation"));
  py::class_<Chain>(m, "Chain", "Layers run picture by picture, forward and backward.")
      .def(py::init<const std::vector<Layer>&, std::array<int64_t, 3>, bool>(), py::arg("layers"),
           py::arg("input"), py::arg("is_double"))
      .def("forward", &Chain::forward, no_gil, py::arg("x"), py::arg("weights"), py::arg("biases"),
           py::arg("keep"))
      .def("backward", &Chain::backward, no_gil, py::arg("x"), py::arg("y"), py::arg("grad_y"),
           py::arg("saved"), py::arg("weights"), py::arg("grad_weights"), py::arg("grad_biases"),
           py::arg("needs_grad_x"));
}
