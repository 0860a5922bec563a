// The inner loops of convolutions; each runs with the instruction set in use.
//
// All images are channels-last: the channels of a pixel lie side by side. Steps and offsets count
// elements.
#pragma once

#include <cstdint>

#include "core/function.h"

namespace scratchnet {

// A contiguous stretch of the reduction axis: input elements in .. in + len - 1 relative to a
// pixel's first one meet rows w .. w + len - 1 of the packed weights.
struct Run {
  int64_t in, w, len;
};

// Weights as the correlation wants them: row k (tap and in-channel) holds the out-channels side by
// side, filled up with zeros to whole vectors, in blocks of at most kMaxVectors vectors: block, k,
// lane.
template <class T>
struct Pack {
  int64_t block;    // which one to pack
  const T* weight;  // the first in-channel and out-channel of the tap that comes first
  T* packed;        // where the first block begins
  int64_t taps_h, taps_w, in_channels, out_channels;
  int64_t step_h, step_w, step_in, step_out;  // may be negative: packing can flip the taps
};

// What happens to a result before it is written; see Correlate.
template <class T>
struct Epilogue {
  const T* bias = nullptr;
  Function function = Function::none;
  const T* returned = nullptr;
  Function derivative_of = Function::none;
};

// out[r, c, o] = function(bias[o] + sum over runs and their elements of
// in[r, c, run] * packed[run, o]), over a rectangle of pixels that all see the same taps (in
// several images), for one block of out-channels. With `returned`, an image laid out like `out`
// that the function `derivative_of` returned, the result is multiplied by the derivative there.
template <class T>
struct Correlate {
  const T* in;
  const T* packed;
  const T* bias;  // or null
  T* out;
  int64_t images, rows, cols;
  int64_t in_image, in_row, in_col, out_image, out_row, out_col;
  const Run* runs;
  int64_t num_runs;
  int64_t vectors, channels;  // the block's vectors, and how many of their lanes are real channels
  Function function;
  const T* returned;  // or null
  Function derivative_of;
};

// sums[a, b] += sum over a rectangle of pixels (in several images) of
// a_image[pixel, a] * b_image[pixel, b]; `sums` has a row of whole vectors, one row every sums_row
// elements. This is the weight gradient of one tap, for one block of b_channels.
template <class T>
struct Outer {
  const T* a;
  const T* b;
  T* sums;
  int64_t images, rows, cols;
  int64_t a_image, a_row, a_col, b_image, b_row, b_col;
  int64_t a_channels, b_channels, sums_row;
};

constexpr int64_t kMaxVectors = 4;         // of a block of out-channels
constexpr int64_t kMostGatheredTaps = 64;  // of a correlation done by gather_taps

template <class T>
void pack(const Pack<T>& job);
template <class T>
void correlate(const Correlate<T>& job);
// out[r, c, o] = bias[o] + sum over runs of in[r, c, run.in + run.w * channels + o]: the second
// half of a correlation with few out-channels, whose first half is one matrix product for all taps.
// May read (and ignore) up to 3 elements past the last channel.
template <class T>
void gather_taps(const Correlate<T>& job);
// The correlation of each channel with its own weights, for any number of channels; `vectors`
// counts those of all of them, and a run is a tap.
template <class T>
void depthwise(const Correlate<T>& job);
template <class T>
void outer(const Outer<T>& job);
// sums[c] += sum over pixels of a[pixel, c] * b[pixel, c].
template <class T>
void depthwise_gradient(const Outer<T>& job);
// sums[c] (+)= sum over pixels of image[pixel, c].
template <class T>
void sum_pixels(const T* image, int64_t pixels, int64_t step, int64_t channels, T* sums,
                bool accumulate);

}  // namespace scratchnet
