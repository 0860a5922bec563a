// Pooling of one channels-last image, row by row.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/tensor.h"

namespace scratchnet {

struct Window {
  int64_t begin, end;  // positions that are inside the image; with dilation the first one is seen
  int64_t size;        // with those in the padding
};

struct PoolAxis {
  int64_t in, out, taps, stride, padding, dilation;  // taps = 0: the windows divide the axis

  Window window(int64_t i) const {
    if (taps == 0) {
      const int64_t begin = i * in / out, end = ((i + 1) * in + out - 1) / out;
      return {begin, end, end - begin};
    }
    const int64_t first = i * stride - padding, past = first + dilation * (taps - 1) + 1;
    const int64_t outside = first < 0 ? (-first + dilation - 1) / dilation : 0;
    return {first + outside * dilation, past < in ? past : in,
            (past < in + padding ? past : in + padding) - first};
  }
};

struct Pool {
  int64_t channels;
  PoolAxis h, w;
  bool counts_padding;  // the divisor of a mean does
  int64_t divides_by;   // instead, unless 0

  Size output() const { return {channels, h.out, w.out}; }
  int64_t in_pixels() const { return h.in * w.in; }
  int64_t out_pixels() const { return h.out * w.out; }
  int64_t in_size() const { return in_pixels() * channels; }
  int64_t out_size() const { return out_pixels() * channels; }
  int64_t divisor(const Window& rows, const Window& cols) const {
    if (divides_by) return divides_by;
    return counts_padding ? rows.size * cols.size
                          : (rows.end - rows.begin) * (cols.end - cols.begin);
  }
};

// Throws std::invalid_argument if a window sees no pixel, or an argument is out of range.
Pool make_pool(Size in, Size out, Pair kernel, Pair stride, Pair padding, Pair dilation);
// What torch's pooling makes of an image of the size `in`.
Size pooled_size(Size in, Pair kernel, Pair stride, Pair padding, Pair dilation, bool ceil_mode);

// The number of a pixel, as wide as T.
template <class T>
using Index = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

// y and the places of the maxima in the image's planes: rows of y, and of `indices` (or null).
template <class T>
void max_row(const Pool& pool, int64_t row, const T* x, T* y, Index<T>* indices);
// A row of the gradient of x, with the gradient and the places of all of y.
template <class T>
void max_row_backward(const Pool& pool, int64_t row, const T* grad_y, const Index<T>* indices,
                      T* grad_x);
template <class T>
void mean_row(const Pool& pool, int64_t row, const T* x, T* y);
template <class T>
void mean_row_backward(const Pool& pool, int64_t row, const T* grad_y, T* grad_x);

}  // namespace scratchnet
