// Element-wise functions and their derivatives, on any number of elements.
#ifdef SCRATCHNET_KERNELS

#include "core/function_vec.h"

#else

#include "elementwise.h"

#include <algorithm>

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

void forward(const Tensor& x, const Tensor& y, Function function) {
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = like<T>(x, x, "x");
    T* to = like<T>(x, y, "y");
    run_stretches(x.numel(), kGrain, [=](int64_t begin, int64_t end) {
      std::copy(from + begin, from + end, to + begin);
      apply(to + begin, end - begin, function);
    });
  });
}

void backward(const Tensor& grad_y, const Tensor& y, const Tensor& grad_x, Function function) {
  with_dtype(grad_y.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = like<T>(grad_y, grad_y, "grad_y");
    const T* returned = like<T>(grad_y, y, "y");
    T* to = like<T>(grad_y, grad_x, "grad_x");
    run_stretches(y.numel(), kGrain, [=](int64_t begin, int64_t end) {
      std::copy(from + begin, from + end, to + begin);
      apply_derivative(to + begin, returned + begin, end - begin, function);
    });
  });
}

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  for (const Function function : {Function::relu, Function::sigmoid}) {
    const std::string name = name_of(function);
    def(
        m, (name + "_forward").c_str(),
        [function](const Tensor& x, const Tensor& y) { forward(x, y, function); }, py::arg("x"),
        py::arg("y"));
    def(
        m, (name + "_backward").c_str(),
        [function](const Tensor& grad_y, const Tensor& y, const Tensor& grad_x) {
          backward(grad_y, y, grad_x, function);
        },
        py::arg("grad_y"), py::arg("y"), py::arg("grad_x"));
  }
}

#endif
