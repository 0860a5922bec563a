// What a set of kernels offers. The same source (csrc/kernels/) is compiled once per instruction
// set; this table of function pointers is all that the rest of the code sees of it.
//
// All images are channels-last: the channels of a pixel lie side by side. Steps and offsets count
// elements.
#pragma once

#include <cstdint>

namespace scratchnet {

enum class Activation : int { none, relu, sigmoid };

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

// out[r, c, o] = activation(bias[o] + sum over runs and their elements of
// in[r, c, run] * packed[run, o]), over a rectangle of pixels that all see the same taps (in
// several pictures), for one block of out-channels. With a gate, an image laid out like `out` that
// an activation returned, the result is multiplied by that activation's derivative.
template <class T>
struct Correlate {
  const T* in;
  const T* packed;
  const T* bias;  // or null
  T* out;
  int64_t pictures, rows, cols;
  int64_t in_picture, in_row, in_col, out_picture, out_row, out_col;
  const Run* runs;
  int64_t num_runs;
  int64_t vectors, channels;  // the block's vectors, and how many of their lanes are real channels
  Activation activation;
  const T* gate;  // or null
  Activation gate_of;
};

// sums[a, b] += sum over a rectangle of pixels (in several pictures) of
// a_image[pixel, a] * b_image[pixel, b]; `sums` has a row of whole vectors, one row every sums_row
// elements. This is the weight gradient of one tap, for one block of b_channels.
template <class T>
struct Outer {
  const T* a;
  const T* b;
  T* sums;
  int64_t pictures, rows, cols;
  int64_t a_picture, a_row, a_col, b_picture, b_row, b_col;
  int64_t a_channels, b_channels, sums_row;
};

// out[r, c] = activation(bias + sum of in over the window whose first pixel is r - pad_h, c -
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
  Activation activation;
};

constexpr int64_t kMaxVectors = 4;         // of a block of out-channels
constexpr int64_t kMostGatheredTaps = 64;  // of a correlation done by gather_taps

template <class T>
struct Kernels {
  int64_t lanes;  // elements of a vector
  void (*pack)(const Pack<T>&);
  void (*correlate)(const Correlate<T>&);
  // out[r, c, o] = bias[o] + sum over runs of in[r, c, run.in + run.w * channels + o]: the second
  // half of a correlation with few out-channels, whose first half is one matrix product for all
  // taps. May read (and ignore) up to 3 elements past the last channel.
  void (*gather_taps)(const Correlate<T>&);
  // The correlation of each channel with its own weights, for any number of channels; `vectors`
  // counts those of all of them, and a run is a tap.
  void (*depthwise)(const Correlate<T>&);
  void (*outer)(const Outer<T>&);
  // sums[c] += sum over pixels of a[pixel, c] * b[pixel, c].
  void (*depthwise_gradient)(const Outer<T>&);
  void (*box)(const Box<T>&);
  // sums[c] (+)= sum over pixels of image[pixel, c].
  void (*sum_pixels)(const T* image, int64_t pixels, int64_t step, int64_t channels, T* sums,
                     bool accumulate);
  void (*activate)(T* image, int64_t size, Activation activation);
  // to[i * channels + c] = from[c * plane + i * step], for `pixels` values of i; and back.
  void (*interleave)(const T* from, int64_t plane, int64_t step, int64_t pixels, int64_t channels,
                     T* to);
  void (*deinterleave)(const T* from, int64_t plane, int64_t step, int64_t pixels, int64_t channels,
                       T* to);
  // grad *= the activation's derivative where it returned y.
  void (*apply_gate)(T* grad, const T* y, int64_t size, Activation activation);
};

struct Isa {
  const char* name;
  Kernels<float> f32;
  Kernels<double> f64;
};

template <class T>
const Kernels<T>& kernels_of(const Isa& isa);
template <>
inline const Kernels<float>& kernels_of<float>(const Isa& isa) {
  return isa.f32;
}
template <>
inline const Kernels<double>& kernels_of<double>(const Isa& isa) {
  return isa.f64;
}

// The best instruction set this processor has, or the one that SCRATCHNET_ISA names. Throws
// std::runtime_error if that one is unknown or not there.
const Isa& current_isa();

// The name of the i-th best one that this processor has; null if there are not so many.
const char* usable_isa(int i);

}  // namespace scratchnet
