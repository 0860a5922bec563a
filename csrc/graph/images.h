// Images wherever their elements lie, and their way to channels-last and back.
#pragma once

#include <array>
#include <cstdint>

#include "stage.h"

namespace scratchnet {

// The images of a tensor, which must have these sizes.
template <class T>
Images<T> images_of(const Tensor& x, const Sizes& sizes, const char* name) {
  expect_sizes(x, sizes, name);
  return {x.data<std::remove_const_t<T>>(name), x.strides[0], x.strides[1], x.strides[2],
          x.strides[3]};
}

template <class T>
Images<T> at_image(Images<T> images, int64_t n) {
  if (images.data) images.data += n * images.n;
  return images;
}

template <class T>
bool is_channels_last(const Images<T>& at, Size size) {
  return (size.channels == 1 || at.c == 1) && (size.width == 1 || at.w == size.channels) &&
         (size.height == 1 || at.h == size.width * size.channels);
}

// to[i * channels + c] = from[c * plane + i * step], for `pixels` values of i; and back.
template <class T>
void interleave(const T* from, int64_t plane, int64_t step, int64_t pixels, int64_t channels,
                T* to);
template <class T>
void deinterleave(const T* from, int64_t plane, int64_t step, int64_t pixels, int64_t channels,
                  T* to);

// Rows of pixels that can be treated as one, and how many of them: the whole image if its rows
// follow each other.
template <class T>
std::array<int64_t, 2> rows_of(const Images<T>& at, Size size) {
  if (at.h == size.width * at.w) return {1, size.height * size.width};
  return {size.height, size.width};
}

// One image from wherever it lies to channels-last, or back.
template <class T>
void gather_image(const Images<const T>& from, Size size, T* to) {
  const auto [rows, pixels] = rows_of(from, size);
  for (int64_t r = 0; r < rows; ++r) {
    interleave(from.data + r * from.h, from.c, from.w, pixels, size.channels,
               to + r * pixels * size.channels);
  }
}

template <class T>
void scatter_image(const T* from, Size size, const Images<T>& to) {
  const auto [rows, pixels] = rows_of(to, size);
  for (int64_t r = 0; r < rows; ++r) {
    deinterleave(from + r * pixels * size.channels, to.c, to.w, pixels, size.channels,
                 to.data + r * to.h);
  }
}

}  // namespace scratchnet
