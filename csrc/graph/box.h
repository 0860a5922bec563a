// Sums over a moving window, of one channels-last image.
#pragma once

#include <cstdint>

#include "core/function.h"

namespace scratchnet {

// out[r, c] = function(bias + sum of in over the window whose first pixel is r - pad_h, c -
// pad_w); outside the image `in` is zero. Rows first_row .. end_row - 1 of the output are written.
template <class T>
struct Box {
  const T* in;
  T* out;
  T* scratch;     // (in_cols + 2 * pad_w) * channels elements
  const T* bias;  // a whole row of it, out_cols * channels elements, or null
  int64_t in_rows, in_cols, out_cols, channels;
  int64_t window_h, window_w, pad_h, pad_w;
  int64_t first_row, end_row;
  Function function;
};
template <class T>
void box(const Box<T>& job);

}  // namespace scratchnet
