// A correlation's pixels, cut into rectangles that see the same taps.
#pragma once

#include <vector>

#include "geometry.h"
#include "kernels.h"

namespace scratchnet {

struct Rectangle {
  int64_t rows, cols;
  int64_t in, out;  // offsets of the first pixel's first read and written element
  int64_t in_row, in_col, out_row, out_col;
  int64_t first_run, num_runs;
};

struct Sweep {
  std::vector<Rectangle> rectangles;
  std::vector<Run> runs;
};

// How an image lies in memory, in elements.
struct Layout {
  int64_t row, col;
};

// `channels` of each read pixel take part. `flipped` says that the weights are packed in the
// reverse order of taps, as spans_up wants them: then neighbouring taps are neighbours in memory on
// both sides.
Sweep make_sweep(const std::vector<Span>& h, const std::vector<Span>& w, int64_t taps_h,
                 int64_t taps_w, bool flipped, int64_t channels, Layout in, Layout out);

}  // namespace scratchnet
