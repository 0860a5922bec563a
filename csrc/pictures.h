// Pictures wherever their elements lie, and their way to channels-last and back.
#pragma once

#include <array>
#include <cstdint>

#include "kernels.h"
#include "stage.h"

namespace scratchnet {

// A batch of pictures wherever its elements lie: the first one, and the steps of the four axes.
template <class T>
struct Pictures {
  T* data;
  int64_t n, c, h, w;
};

template <class T>
Pictures<T> at_picture(Pictures<T> pictures, int64_t n) {
  if (pictures.data) pictures.data += n * pictures.n;
  return pictures;
}

template <class T>
bool is_channels_last(const Pictures<T>& at, Size size) {
  return (size.channels == 1 || at.c == 1) && (size.width == 1 || at.w == size.channels) &&
         (size.height == 1 || at.h == size.width * size.channels);
}

// Rows of pixels that can be treated as one, and how many of them: the whole picture if its rows
// follow each other.
template <class T>
std::array<int64_t, 2> rows_of(const Pictures<T>& at, Size size) {
  if (at.h == size.width * at.w) return {1, size.height * size.width};
  return {size.height, size.width};
}

// One picture from wherever it lies to channels-last, or back.
template <class T>
void gather_picture(const Kernels<T>& kernels, const Pictures<const T>& from, Size size, T* to) {
  const auto [rows, pixels] = rows_of(from, size);
  for (int64_t r = 0; r < rows; ++r) {
    kernels.interleave(from.data + r * from.h, from.c, from.w, pixels, size.channels,
                       to + r * pixels * size.channels);
  }
}

template <class T>
void scatter_picture(const Kernels<T>& kernels, const T* from, Size size, const Pictures<T>& to) {
  const auto [rows, pixels] = rows_of(to, size);
  for (int64_t r = 0; r < rows; ++r) {
    kernels.deinterleave(from + r * pixels * size.channels, to.c, to.w, pixels, size.channels,
                         to.data + r * to.h);
  }
}

}  // namespace scratchnet
