// A layer of a network, as data and prepared for a size of image.
#pragma once

#include <array>
#include <cstdint>

#include "conv/correlation.h"
#include "core/tensor.h"

namespace scratchnet {

// A convolution and an function. If `upsamples`, the images are enlarged by `scale` first,
// nearest pixel, and the convolution has stride 1.
struct Layer {
  int64_t in_channels, out_channels, groups;
  Pair taps, stride, padding, dilation, scale;
  bool upsamples;
  Function function;
};

struct Size {
  int64_t channels, height, width;
  int64_t elements() const { return channels * height * width; }
};

// A layer prepared for a size of image.
template <class T>
struct Stage {
  Stage(const Layer& layer, Size input);

  Layer layer;
  Size input, output;
  // An ordinary convolution goes down from the input to the output. An upsampling one goes up from
  // the input to a image slightly larger than the output, whose box sums are the output: see
  // docs/adr/0007-upsampling-algebra.md.
  Conv conv;
  Size unboxed;
  Correlation<T> to_output, to_input;
  WeightGradient<T> gradient;
};

}  // namespace scratchnet
