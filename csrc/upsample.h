// Nearest-neighbour upsampling on channels-last images (batch, height, width, channels).
#pragma once

#include <cstdint>

#include "parallel.h"

namespace scratchnet {

struct Upsample {
  int64_t batch, channels, height, width;  // of the small image
  int64_t scale_h, scale_w;
};

// Repeat every pixel into a block.
template <class T>
void upsample_forward(const Pool& pool, const Upsample& shape, const T* small, T* big);

// Sum every block into one pixel.
template <class T>
void upsample_backward(const Pool& pool, const Upsample& shape, const T* big, T* small);

}  // namespace scratchnet
