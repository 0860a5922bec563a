// A tensor as the kernels see it. binding.h makes one of a torch.Tensor, without torch's headers.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace scratchnet {

enum class Dtype { float32, float64, int32, int64 };

template <class T>
struct DtypeOf;
template <>
struct DtypeOf<float> {
  static constexpr Dtype value = Dtype::float32;
  static constexpr const char* name = "float32";
};
template <>
struct DtypeOf<double> {
  static constexpr Dtype value = Dtype::float64;
  static constexpr const char* name = "float64";
};
template <>
struct DtypeOf<int32_t> {
  static constexpr Dtype value = Dtype::int32;
  static constexpr const char* name = "int32";
};
template <>
struct DtypeOf<int64_t> {
  static constexpr Dtype value = Dtype::int64;
  static constexpr const char* name = "int64";
};

using Sizes = std::vector<int64_t>;
using Pair = std::array<int64_t, 2>;  // (vertical, horizontal)

inline std::ostream& operator<<(std::ostream& stream, const Sizes& sizes) {
  stream << '(';
  for (size_t i = 0; i < sizes.size(); ++i) stream << (i ? ", " : "") << sizes[i];
  return stream << ')';
}

// Raises a ValueError in Python, whose text is the parts one after the other, unless `right`.
template <class... Parts>
void expect(bool right, const Parts&... parts) {
  if (right) return;
  std::ostringstream text;
  (text << ... << parts);
  throw std::invalid_argument(text.str());
}

struct Size {  // of an image
  int64_t channels, height, width;
  int64_t elements() const { return channels * height * width; }
  bool operator==(const Size& other) const {
    return channels == other.channels && height == other.height && width == other.width;
  }
};

struct Tensor {
  void* pointer;
  Dtype dtype;
  Sizes sizes, strides;  // strides count elements

  int64_t dim() const { return static_cast<int64_t>(sizes.size()); }
  int64_t size(int64_t i) const { return sizes[i]; }
  int64_t numel() const {
    int64_t product = 1;
    for (const int64_t size : sizes) product *= size;
    return product;
  }

  // Whether the elements fill one stretch of memory, with these axes from the slowest to the
  // fastest. Strides of axes of one element do not count.
  template <class Axes>
  bool is_dense(const Axes& axes) const {
    int64_t step = 1;
    for (auto axis = std::rbegin(axes); axis != std::rend(axes); ++axis) {
      if (sizes[*axis] != 1 && strides[*axis] != step) return numel() == 0;
      step *= sizes[*axis];
    }
    return true;
  }
  bool is_contiguous() const {
    int64_t step = 1;
    for (int64_t axis = dim() - 1; axis >= 0; --axis) {
      if (sizes[axis] != 1 && strides[axis] != step) return numel() == 0;
      step *= sizes[axis];
    }
    return true;
  }
  bool fills_memory() const {  // in whatever order
    std::vector<int64_t> order(sizes.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [this](int64_t a, int64_t b) {
      return std::pair(strides[a], sizes[a]) > std::pair(strides[b], sizes[b]);
    });
    return is_dense(order);
  }
  bool is_channels_last() const { return dim() == 4 && is_dense(std::array{0, 2, 3, 1}); }

  template <class T>
  T* data(const char* name) const {
    expect(dtype == DtypeOf<T>::value, name, ": expected ", DtypeOf<T>::name,
           ", as the other tensors are; convert it with .to()");
    return static_cast<T*>(pointer);
  }
};

inline void expect_sizes(const Tensor& tensor, const Sizes& sizes, const char* name) {
  expect(tensor.sizes == sizes, name, ": expected shape ", sizes, ", got ", tensor.sizes);
}

// The tensor's elements, row by row without gaps.
template <class T>
T* contiguous(const Tensor& tensor, const Sizes& sizes, const char* name) {
  expect_sizes(tensor, sizes, name);
  expect(tensor.is_contiguous(), name, ": expected a contiguous tensor, got strides ",
         tensor.strides, "; call .contiguous()");
  return tensor.data<T>(name);
}

// The elements of images (N, C, H, W), the channels of a pixel side by side, without gaps.
template <class T>
T* channels_last(const Tensor& tensor, const Sizes& sizes, const char* name) {
  expect_sizes(tensor, sizes, name);
  expect(tensor.is_channels_last(), name, ": expected (N, C, H, W) in channels_last, got strides ",
         tensor.strides, "; call .contiguous(memory_format=torch.channels_last)");
  return tensor.data<T>(name);
}

inline void expect_images(const Tensor& tensor, const char* name) {
  expect(tensor.dim() == 4, name, ": expected images (N, C, H, W), got shape ", tensor.sizes);
}

inline Size image_size(const Tensor& tensor, const char* name) {
  expect_images(tensor, name);
  return {tensor.size(1), tensor.size(2), tensor.size(3)};
}

// Calls function(float{}) or function(double{}).
template <class Function>
void with_dtype(Dtype dtype, Function&& function) {
  expect(dtype == Dtype::float32 || dtype == Dtype::float64,
         "expected float32 or float64, got whole numbers");
  dtype == Dtype::float32 ? function(float{}) : function(double{});
}

}  // namespace scratchnet
