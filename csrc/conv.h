// Convolution and its gradients on whole batches of channels-last images.
#pragma once

#include <cstdint>

#include "geometry.h"
#include "kernels.h"
#include "parallel.h"

namespace scratchnet {

// A correlation between a big and a small image (see Axis), which serves the convolution and its
// gradients alike: images are (batch, height, width, channels), the weight is (small_channels,
// big_channels / groups, taps_h, taps_w).
struct Conv {
  int64_t batch, groups, big_channels, small_channels;
  Axis h, w;
};

// small = big correlated with weight, plus bias (or null): the forward of a convolution.
template <class T>
void conv_down(const Pool& pool, const Conv& conv, const T* big, const T* weight, const T* bias,
               T* small);

// big = the transpose of conv_down applied to small: the input gradient of a convolution.
template <class T>
void conv_up(const Pool& pool, const Conv& conv, const T* small, const T* weight, const T* bias,
             T* big);

// The gradient of conv_down's weight, given its input and the gradient of its output.
template <class T>
void conv_grad_weight(const Pool& pool, const Conv& conv, const T* big, const T* small,
                      T* grad_weight);

// The gradient of conv_down's bias: the sum over all pixels of `small`.
template <class T>
void conv_grad_bias(const Pool& pool, const Conv& conv, const T* small, T* grad_bias);

}  // namespace scratchnet
