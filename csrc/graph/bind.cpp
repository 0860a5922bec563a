#include <memory>
#include <optional>

#include "core/binding.h"
#include "core/buffer.h"
#include "network.h"

namespace scratchnet {
namespace {

using Tensors = std::vector<Tensor>;
using Optionals = std::vector<std::optional<Tensor>>;
using Kept = std::shared_ptr<Block>;

template <class T>
Images<T> images_of(const Tensor& x, const Sizes& sizes, const char* name) {
  expect_sizes(x, sizes, name);
  return {x.data<std::remove_const_t<T>>(name), x.strides[0], x.strides[1], x.strides[2],
          x.strides[3]};
}

// A chain of layers for one size of image and one dtype.
class Chain {
 public:
  Chain(const std::vector<Layer>& layers, std::array<int64_t, 3> input, bool is_double)
      : layers_(layers) {
    const Size size{input[0], input[1], input[2]};
    if (is_double) {
      f64_ = std::make_unique<Network<double>>(layers, size);
    } else {
      f32_ = std::make_unique<Network<float>>(layers, size);
    }
    input_ = {input[0], input[1], input[2]};
  }

  std::array<int64_t, 3> output() const {
    const Size size = f32_ ? f32_->output() : f64_->output();
    return {size.channels, size.height, size.width};
  }

  Kept forward(const Tensor& x, const Tensors& weights, const Optionals& biases, const Tensor& y,
               bool keep) const {
    expect_images(x, "x");
    Kept kept;
    with_dtype(x.dtype, [&](auto zero) {
      using T = decltype(zero);
      const Network<T>& net = network(zero);
      const Size out = net.output();
      const int64_t batch = x.size(0);
      if (keep) kept = std::make_shared<Block>(batch * net.saved_size() * sizeof(T));
      net.forward(batch, images_of<const T>(x, sizes(batch), "x"),
                  pointers<const T>(weights).data(), pointers<const T>(biases).data(),
                  images_of<T>(y, {batch, out.channels, out.height, out.width}, "y"),
                  keep ? static_cast<T*>(kept->data()) : nullptr);
    });
    return kept;
  }

  void backward(const Tensor& x, const Tensor& y, const Tensor& grad_y, const Kept& kept,
                const Tensors& weights, const Tensors& grad_weights, const Optionals& grad_biases,
                const std::optional<Tensor>& grad_x) const {
    expect_images(x, "x");
    with_dtype(x.dtype, [&](auto zero) {
      using T = decltype(zero);
      const Network<T>& net = network(zero);
      const int64_t batch = x.size(0);
      const Size out = net.output();
      const Sizes outs{batch, out.channels, out.height, out.width};
      net.backward(batch, images_of<const T>(x, sizes(batch), "x"),
                   images_of<const T>(y, outs, "y"), images_of<const T>(grad_y, outs, "grad_y"),
                   kept ? static_cast<const T*>(kept->data()) : nullptr,
                   pointers<const T>(weights).data(), pointers<T>(grad_weights).data(),
                   pointers<T>(grad_biases).data(),
                   grad_x ? images_of<T>(*grad_x, sizes(batch), "grad_x") : Images<T>{});
    });
  }

 private:
  const Network<float>& network(float) const {
    expect(f32_ != nullptr, "expected float64 tensors, got float32");
    return *f32_;
  }
  const Network<double>& network(double) const {
    expect(f64_ != nullptr, "expected float32 tensors, got float64");
    return *f64_;
  }
  Sizes sizes(int64_t batch) const { return {batch, input_[0], input_[1], input_[2]}; }

  template <class T>
  std::vector<T*> pointers(const Tensors& weights) const {
    std::vector<T*> result;
    expect(weights.size() == layers_.size(), "expected one weight for each layer");
    for (size_t l = 0; l < weights.size(); ++l) {
      const Layer& layer = layers_[l];
      const Sizes sizes{layer.out_channels, layer.in_channels / layer.groups, layer.taps[0],
                        layer.taps[1]};
      result.push_back(contiguous<std::remove_const_t<T>>(weights[l], sizes, "weight"));
    }
    return result;
  }
  template <class T>
  std::vector<T*> pointers(const Optionals& biases) const {
    std::vector<T*> result;
    expect(biases.size() == layers_.size(), "expected one bias or None for each layer");
    for (size_t l = 0; l < biases.size(); ++l) {
      result.push_back(biases[l] ? contiguous<std::remove_const_t<T>>(
                                       *biases[l], {layers_[l].out_channels}, "bias")
                                 : nullptr);
    }
    return result;
  }

  std::vector<Layer> layers_;
  Sizes input_;
  std::unique_ptr<Network<float>> f32_;  // one of the two
  std::unique_ptr<Network<double>> f64_;
};

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  const auto no_gil = py::call_guard<WithoutGil>();
  py::class_<Block, Kept>(m, "Kept", "What a forward keeps for its backward.");
  py::class_<Layer>(m, "Layer", "A convolution of a Chain, with what comes before and after it.")
      .def(py::init([](int64_t in_channels, int64_t out_channels, Pair kernel_size, Pair stride,
                       Pair padding, Pair dilation, int64_t groups, std::optional<Pair> scale,
                       const std::string& activation) {
             return Layer{in_channels,
                          out_channels,
                          groups,
                          kernel_size,
                          stride,
                          padding,
                          dilation,
                          scale.value_or(Pair{1, 1}),
                          scale.has_value(),
                          function_named(activation)};
           }),
           py::kw_only(), py::arg("in_channels"), py::arg("out_channels"), py::arg("kernel_size"),
           py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"),
           py::arg("scale"), py::arg("activation"));
  py::class_<Chain>(m, "Chain", "Layers run image by image, forward and backward.")
      .def(py::init<const std::vector<Layer>&, std::array<int64_t, 3>, bool>(), py::arg("layers"),
           py::arg("input"), py::arg("is_double"))
      .def_property_readonly("output", &Chain::output)
      .def("forward", &Chain::forward, no_gil, py::arg("x"), py::arg("weights"), py::arg("biases"),
           py::arg("y"), py::arg("keep"))
      .def("backward", &Chain::backward, no_gil, py::arg("x"), py::arg("y"), py::arg("grad_y"),
           py::arg("kept"), py::arg("weights"), py::arg("grad_weights"), py::arg("grad_biases"),
           py::arg("grad_x"));
}
