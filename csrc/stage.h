// A layer of a network, as data and prepared for a size of picture.
#pragma once

#include <array>
#include <cstdint>

#include "conv.h"

namespace scratchnet {

using Pair = std::array<int64_t, 2>;

// A convolution and an activation. If `upsamples`, the pictures are enlarged by `scale` first,
// nearest pixel, and the convolution has stride 1.
struct Layer {
  int64_t in_channels, out_channels, groups;
  Pair taps, stride, padding, dilation, scale;
  bool upsamples;
  Activation activation;
};

struct Size {
  int64_t channels, height, width;
  int64_t elements() const { return channels * height * width; }
};

// A layer prepared for a size of picture.
template <class T>
struct Stage {
  Stage(const Layer& layer, Size input);

  Layer layer;
  Size input, output;
  // An ordinary convolution goes down from the input to the output. An upsampling one goes up from
  // the input to a picture slightly larger than the output, whose box sums are the output: see
  // docs/adr/0007-upsampling-algebra.md.
  Conv conv;
  Size unboxed;
  Correlation<T> to_output, to_input;
  WeightGradient<T> gradient;
};

}  // namespace scratchnet
