// The plain operations, on whole batches of channels-last pictures.
#pragma once

#include <cstdint>

#include "conv.h"
#include "parallel.h"

namespace scratchnet {

// small = big correlated with weight, plus bias (or null): the forward of a convolution.
template <class T>
void conv_down(const Pool& pool, const Conv& conv, int64_t batch, const T* big, const T* weight,
               const T* bias, T* small);

// big = the transpose of conv_down applied to small: the input gradient of a convolution.
template <class T>
void conv_up(const Pool& pool, const Conv& conv, int64_t batch, const T* small, const T* weight,
             T* big);

// Adds the gradients of conv_down's weight and bias to the two buffers, given its input and the
// gradient of its output. Without grad_weight `big` is not read, and without grad_bias that one is
// left out.
template <class T>
void conv_gradients(const Pool& pool, const Conv& conv, int64_t batch, const T* big, const T* small,
                    T* grad_weight, T* grad_bias);

struct Upsample {
  int64_t batch, channels, height, width;  // of the small picture
  int64_t scale_h, scale_w;
};

// Repeat every pixel into a block.
template <class T>
void upsample_forward(const Pool& pool, const Upsample& shape, const T* small, T* big);

// Sum every block into one pixel.
template <class T>
void upsample_backward(const Pool& pool, const Upsample& shape, const T* big, T* small);

}  // namespace scratchnet
