#include <algorithm>

#include "core/isa.h"
#include "correlation.h"

namespace scratchnet {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// A band's pixels on both sides stay in the L2 cache while all blocks of channels sweep it.
constexpr int64_t kBandBytes = 512 << 10;

// The sums of all 16 points, for this many channels times a block of the others, stay in the L2
// cache, too.
constexpr int64_t kWinogradChannels = 64;

// Values of a row of taps: with more, each tap by itself has enough.
constexpr int64_t kMostJoined = 24;

}  // namespace

template <class T>
WeightGradient<T>::WeightGradient(const Conv& conv, const WeightLayout& weight)
    : conv_(conv),
      weight_(weight),
      big_channels_(conv.big_channels / conv.groups),
      small_channels_(conv.small_channels / conv.groups) {
  depthwise_ = conv.groups > 1 && big_channels_ == 1 && small_channels_ == 1;
  // Lanes go along the side that fills them better; the other side is broadcast.
  const int64_t vector = lanes<T>();
  lanes_small_ = round_up(small_channels_, vector) * big_channels_ <=
                 round_up(big_channels_, vector) * small_channels_;
  groups_ = depthwise_ ? 1 : conv.groups;
  a_channels_ = lanes_small_ ? big_channels_ : small_channels_;
  b_channels_ = depthwise_ ? conv.groups : lanes_small_ ? small_channels_ : big_channels_;
  b_padded_ = round_up(b_channels_, vector);
  blocks_ = depthwise_ ? 1 : round_up(b_padded_, vector * kMaxVectors) / (vector * kMaxVectors);
  // A row's taps, if they are neighbours, read stretches of the big image that overlap: with few
  // channels they are one job, or there would be too few sums to keep the processor busy.
  joined_ = lanes_small_ && conv.groups == 1 && conv.w.dilation == 1 && conv.w.taps > 1 &&
            conv.w.taps * big_channels_ <= kMostJoined;
  const int64_t row_channels = small_channels_ + big_channels_ * conv.w.stride;
  const int64_t row_bytes = conv.w.small * row_channels * static_cast<int64_t>(sizeof(T));
  band_ = std::max<int64_t>(kBandBytes / std::max<int64_t>(row_bytes, 1), 1);
}

template <class T>
int64_t WeightGradient<T>::tasks() const {
  if (conv_.winograd) return ceil_div(a_channels_, kWinogradChannels) * blocks_;
  return groups_ * (joined_ ? conv_.h.taps : conv_.taps()) * blocks_;
}

template <class T>
int64_t WeightGradient<T>::sums_size() const {
  return groups_ * conv_.taps() * a_channels_ * b_padded_;
}

template <class T>
typename WeightGradient<T>::Part WeightGradient<T>::part(int64_t task, int64_t taps) const {
  const int64_t block = task % blocks_, vectors = b_padded_ / lanes<T>();
  return {task / blocks_ / taps, task / blocks_ % taps, vectors * block / blocks_ * lanes<T>(),
          std::min(vectors * (block + 1) / blocks_ * lanes<T>(), b_channels_)};
}

template <class T>
void WeightGradient<T>::run(int64_t task, int64_t images, const T* big, const T* small,
                            T* sums) const {
  if (conv_.winograd) return run_winograd(task, images, big, small, sums);
  if (!joined_) {
    const Part one = part(task, conv_.taps());
    add(one, tap_range(conv_.w, one.tap % conv_.w.taps), 1, images, big, small, sums);
    return;
  }
  // The columns in which all taps of the row read inside the image, and what is left of each tap.
  Part row = part(task, conv_.h.taps);
  row.tap *= conv_.w.taps;
  int64_t begin = 0, end = conv_.w.small;
  for (int64_t w = 0; w < conv_.w.taps; ++w) {
    const TapRange tap = tap_range(conv_.w, w);
    begin = std::max(begin, tap.first), end = std::min(end, tap.first + tap.count);
  }
  if (begin >= end) begin = end = conv_.w.small;
  const auto add_columns = [&](int64_t w, int64_t from, int64_t to, int64_t taps) {
    const TapRange tap = tap_range(conv_.w, w);
    from = std::max(from, tap.first), to = std::min(to, tap.first + tap.count);
    if (from >= to) return;
    Part one = row;
    one.tap += w;
    add(one, {to - from, from, tap.in + conv_.w.stride * (from - tap.first)}, taps, images, big,
        small, sums);
  };
  add_columns(0, begin, end, conv_.w.taps);
  for (int64_t w = 0; w < conv_.w.taps; ++w) {
    add_columns(w, 0, begin, 1);
    add_columns(w, end, conv_.w.small, 1);
  }
}

template <class T>
void WeightGradient<T>::run_winograd(int64_t task, int64_t images, const T* big, const T* small,
                                     T* sums) const {
  const int64_t block = task % blocks_, a_blocks = tasks() / blocks_, a_block = task / blocks_;
  const Part b = part(block, 1);
  const int64_t a_begin = a_channels_ * a_block / a_blocks;
  const int64_t a_end = a_channels_ * (a_block + 1) / a_blocks;
  const Windows windows{{big_channels_, conv_.h.big, conv_.w.big},
                        {small_channels_, conv_.h.small, conv_.w.small},
                        {conv_.h.pad, conv_.w.pad}};
  WinogradGradient<T>(windows, lanes_small_)
      .run({a_begin, a_end}, {b.b_begin, b.b_end}, images, big, small,
           sums + a_begin * b_padded_ + b.b_begin, a_channels_ * b_padded_, b_padded_);
}

template <class T>
void WeightGradient<T>::add(const Part& part, const TapRange& cols, int64_t taps, int64_t images,
                            const T* big, const T* small, T* sums) const {
  const TapRange rows = tap_range(conv_.h, part.tap / conv_.w.taps);
  const int64_t big_row = conv_.w.big * conv_.big_channels;
  const int64_t small_row = conv_.w.small * conv_.small_channels;
  big += rows.in * big_row + cols.in * conv_.big_channels + part.group * big_channels_;
  small +=
      rows.first * small_row + cols.first * conv_.small_channels + part.group * small_channels_;
  Outer<T> job{};
  job.sums = sums + (part.group * conv_.taps() + part.tap) * a_channels_ * b_padded_ + part.b_begin;
  job.sums_row = b_padded_;
  job.images = images, job.cols = cols.count;
  job.a_channels = taps * a_channels_, job.b_channels = part.b_end - part.b_begin;
  (lanes_small_ ? job.a_image : job.b_image) = conv_.big_size();
  (lanes_small_ ? job.a_row : job.b_row) = conv_.h.stride * big_row;
  (lanes_small_ ? job.a_col : job.b_col) = conv_.w.stride * conv_.big_channels;
  (lanes_small_ ? job.b_image : job.a_image) = conv_.small_size();
  (lanes_small_ ? job.b_row : job.a_row) = small_row;
  (lanes_small_ ? job.b_col : job.a_col) = conv_.small_channels;
  (lanes_small_ ? small : big) += part.b_begin;
  for (int64_t row = 0; row < rows.count; row += band_) {
    job.rows = std::min(band_, rows.count - row);
    (lanes_small_ ? job.a : job.b) = big + row * conv_.h.stride * big_row;
    (lanes_small_ ? job.b : job.a) = small + row * small_row;
    depthwise_ ? depthwise_gradient(job) : outer(job);
  }
}

template <class T>
void WeightGradient<T>::write(int64_t task, T* sums, int64_t chunks, int64_t step,
                              T* grad_weight) const {
  const auto [group, tap, b_begin, b_end] = part(task, conv_.taps());
  T* from = sums + (group * conv_.taps() + tap) * a_channels_ * b_padded_;
  if (chunks > 1) {
    for (int64_t a = 0; a < a_channels_; ++a) {
      T* row = from + a * b_padded_ + b_begin;
      sum_pixels(row, chunks, step, b_end - b_begin, row, false);
    }
  }
  T* to = grad_weight + weight_.origin + group * weight_.group + tap / conv_.w.taps * weight_.h +
          tap % conv_.w.taps * weight_.w;
  const int64_t step_a = lanes_small_ ? weight_.big : weight_.small;
  const int64_t step_b = depthwise_ ? weight_.group : lanes_small_ ? weight_.small : weight_.big;
  // In squares, so that neither side's lines are fetched again for every element.
  constexpr int64_t kSide = 16;
  for (int64_t b0 = b_begin; b0 < b_end; b0 += kSide) {
    for (int64_t a0 = 0; a0 < a_channels_; a0 += kSide) {
      for (int64_t b = b0; b < std::min(b0 + kSide, b_end); ++b) {
        for (int64_t a = a0; a < std::min(a0 + kSide, a_channels_); ++a) {
          to[a * step_a + b * step_b] += from[a * b_padded_ + b];
        }
      }
    }
  }
}

int64_t chunks_of(int64_t batch, int64_t sums_bytes) {
  constexpr int64_t kMostChunks = 16, kMostBytes = 8 << 20;
  const int64_t wanted = std::clamp<int64_t>(batch, 1, kMostChunks);
  int64_t chunks = 1;  // a power of two, which most numbers of threads divide
  while (2 * chunks <= wanted && 2 * chunks * sums_bytes <= kMostBytes) chunks *= 2;
  return wanted * sums_bytes <= kMostBytes ? wanted : chunks;
}

template class WeightGradient<float>;
template class WeightGradient<double>;

}  // namespace scratchnet
