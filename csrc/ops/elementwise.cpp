// Element-wise functions and their derivatives, on any number of elements.
#ifdef SCRATCHNET_KERNELS

#include "ops/functions_vec.h"

#else

#include "elementwise.h"

#include "core/binding.h"
#include "core/each_isa.h"

namespace scratchnet {

template <class T>
void apply(T* data, int64_t size, Function function) {
  SCRATCHNET_BEST(apply<T>)(data, size, function);
}
template void apply(float*, int64_t, Function);
template void apply(double*, int64_t, Function);

template <class T>
void apply_derivative(T* grad, const T* y, int64_t size, Function function) {
  SCRATCHNET_BEST(apply_derivative<T>)(grad, y, size, function);
}
template void apply_derivative(float*, const float*, int64_t, Function);
template void apply_derivative(double*, const double*, int64_t, Function);

template <class T>
void add_to(T* sum, const T* term, int64_t size) {
  SCRATCHNET_BEST(add_to<T>)(sum, term, size);
}
template void add_to(float*, const float*, int64_t);
template void add_to(double*, const double*, int64_t);

ElementWise element_wise(const std::string& name, const OptionOf& option) {
  for (size_t row = 0; row < std::size(kFunctions); ++row) {
    if (name != kFunctions[row].name) continue;
    ElementWise found{static_cast<int>(row), {}};
    for (size_t i = 0; i < found.options.size(); ++i) {
      const char* const wanted = kFunctions[row].options[i];
      if (wanted) found.options[i] = option(wanted);
    }
    return found;
  }
  throw std::invalid_argument("there is no element-wise function " + name);
}

namespace {

template <class T>
std::array<T, 2> options_in(const ElementWise& function) {
  return {static_cast<T>(function.options[0]), static_cast<T>(function.options[1])};
}

}  // namespace

template <class T>
void evaluate(const ElementWise& function, const T* x, T* y, int64_t size) {
  SCRATCHNET_BEST(evaluate<T>)(function.row, options_in<T>(function).data(), x, y, size);
}
template void evaluate(const ElementWise&, const float*, float*, int64_t);
template void evaluate(const ElementWise&, const double*, double*, int64_t);

template <class T>
void differentiate(const ElementWise& function, const T* grad, const T* v, T* result,
                   int64_t size) {
  SCRATCHNET_BEST(differentiate<T>)(function.row, options_in<T>(function).data(), grad, v, result,
                                    size);
}
template void differentiate(const ElementWise&, const float*, const float*, float*, int64_t);
template void differentiate(const ElementWise&, const double*, const double*, double*, int64_t);

namespace {

constexpr int64_t kGrain = 1 << 14;  // elements: two such stretches fit the L2 cache

// The elements of a tensor that lie as those of x do, gaps nowhere.
template <class T>
T* like(const Tensor& x, const Tensor& tensor, const char* name) {
  expect_sizes(tensor, x.sizes, name);
  expect(tensor.strides == x.strides || (x.is_contiguous() && tensor.is_contiguous()), name,
         ": expected strides ", x.strides, " like the first tensor's, got ", tensor.strides);
  expect(x.fills_memory(), name, ": expected tensors without gaps, got strides ", x.strides);
  return tensor.data<T>(name);
}

using Given = std::map<std::string, double>;

ElementWise find(const std::string& name, const Given& given) {
  return element_wise(name, [&](const char* option) {
    const auto found = given.find(option);
    expect(found != given.end(), name, ": expected an option ", option);
    return found->second;
  });
}

void forward(const std::string& name, const Tensor& x, const Tensor& y, const Given& options) {
  const ElementWise function = find(name, options);
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = like<T>(x, x, "x");
    T* to = like<T>(x, y, "y");
    run_stretches(x.numel(), kGrain, [=](int64_t begin, int64_t end) {
      evaluate(function, from + begin, to + begin, end - begin);
    });
  });
}

void backward(const std::string& name, const Tensor& grad_y, const Tensor& v, const Tensor& grad_x,
              const Given& options) {
  const ElementWise function = find(name, options);
  with_dtype(grad_y.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = like<T>(grad_y, grad_y, "grad_y");
    const T* at = like<T>(grad_y, v, "v");
    T* to = like<T>(grad_y, grad_x, "grad_x");
    run_stretches(v.numel(), kGrain, [=](int64_t begin, int64_t end) {
      differentiate(function, from + begin, at + begin, to + begin, end - begin);
    });
  });
}

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  def(m, "elementwise_forward", forward, py::arg("name"), py::arg("x"), py::arg("y"),
      py::arg("options") = Given());
  // `v` is y for a function whose derivative is taken from what it returned, else x.
  def(m, "elementwise_backward", backward, py::arg("name"), py::arg("grad_y"), py::arg("v"),
      py::arg("grad_x"), py::arg("options") = Given());
}

#endif
