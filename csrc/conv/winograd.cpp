#include "winograd.h"

#include <algorithm>

#include "core/buffer.h"
#include "core/isa.h"

namespace scratchnet {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// What a block of tiles has at its points stays in the L2 cache, beside the weights of a point. But
// every block reads all weights, so it is never of few tiles.
constexpr int64_t kBlockBytes = 512 << 10, kFewestTiles = 48, kMostTiles = 128;
// A smaller image is not worth being shared by several threads.
constexpr int64_t kTaskTiles = 32;

template <class T>
int64_t tiles_of_block(int64_t channels) {
  const int64_t tile_bytes = kPoints * channels * static_cast<int64_t>(sizeof(T));
  return std::clamp(kBlockBytes / tile_bytes, kFewestTiles, kMostTiles);
}

// Steps between points that are multiples of a large power of two would meet in a few sets of the
// cache.
int64_t point_step(int64_t elements) { return aligned_size(elements) + 16; }

// The tiles of images, beginning at their first pixel.
template <class T>
Tiles<T> tiles_of(T* images, Size size, Pair pad, int64_t rows, int64_t cols) {
  Tiles<T> tiles{};
  tiles.pixels = images;
  tiles.height = size.height, tiles.width = size.width, tiles.channels = size.channels;
  tiles.top = -pad[0], tiles.left = -pad[1];
  tiles.rows = rows, tiles.cols = cols;
  return tiles;
}

template <class T>
void put(Tiles<T>& tiles, T* points, int64_t point_step, int64_t tile_step) {
  tiles.points = points, tiles.point_step = point_step, tiles.tile_step = tile_step;
}

}  // namespace

template <class T>
Winograd<T>::Winograd(const Windows& windows, const Pack<T>& pack)
    : windows_(windows),
      pack_(pack),
      vectors_(ceil_div(pack.out_channels, lanes<T>())),
      blocks_(ceil_div(vectors_, kMaxVectors)),
      rows_(ceil_div(windows.out.height, 2)),
      cols_(ceil_div(windows.out.width, 2)) {
  const int64_t columns = std::min(vectors_, kMaxVectors) * lanes<T>();
  block_tiles_ = tiles_of_block<T>(round_up(pack.in_channels, lanes<T>()) + columns);
  const int64_t parts = std::max<int64_t>(rows_ * cols_ / kTaskTiles, 1);
  tasks_ = std::min({rows_, parts, std::max<int64_t>(4, ceil_div(rows_ * cols_, block_tiles_))});
  constexpr int64_t kLongestRun = 128;  // see kChunk in correlate.cpp
  for (int64_t c = 0; c < pack.in_channels; c += kLongestRun) {
    runs_.push_back({c, c, std::min(kLongestRun, pack.in_channels - c)});
  }
}

template <class T>
int64_t Winograd<T>::packed_size() const {
  return kPoints * pack_.in_channels * vectors_ * lanes<T>();
}

template <class T>
void Winograd<T>::pack(int64_t task, const T* weight, T* packed) const {
  const int64_t begin = vectors_ * task / blocks_ * lanes<T>();
  const int64_t end = vectors_ * (task + 1) / blocks_ * lanes<T>();
  const int64_t size = pack_.in_channels * (end - begin);
  Pack<T> job = pack_;  // of this block alone
  job.block = 0;
  job.weight = weight + begin * job.step_out;
  job.out_channels = std::min(end, job.out_channels) - begin;
  job.packed = thread_scratch<T>(9 * size);
  scratchnet::pack(job);
  weights_to_points(job.packed, packed + kPoints * pack_.in_channels * begin, size);
}

template <class T>
void Winograd<T>::run(int64_t task, int64_t images, const T* in, const T* packed,
                      const Epilogue<T>& epilogue, T* out) const {
  const int64_t first_row = rows_ * task / tasks_, rows = rows_ * (task + 1) / tasks_ - first_row;
  const int64_t count = images * rows * cols_, blocks = ceil_div(count, block_tiles_);
  const int64_t most = ceil_div(count, blocks);
  const int64_t in_row = round_up(pack_.in_channels, lanes<T>());
  const int64_t out_row = std::min(vectors_, kMaxVectors) * lanes<T>();
  const int64_t in_step = point_step(most * in_row), out_step = point_step(most * out_row);
  T* const in_points = thread_scratch<T>(kPoints * (in_step + out_step));
  T* const out_points = in_points + kPoints * in_step;

  Tiles<T> from = tiles_of(const_cast<T*>(in), windows_.in, windows_.pad, rows, cols_);
  from.top += 2 * first_row, from.channels_used = pack_.in_channels;
  put(from, in_points, in_step, in_row);
  for (int64_t i = 0; i < blocks; ++i) {
    from.begin = count * i / blocks, from.end = count * (i + 1) / blocks;
    pixels_to_points(from);
    for (int64_t block = 0; block < blocks_; ++block) {
      const int64_t begin = vectors_ * block / blocks_, end = vectors_ * (block + 1) / blocks_;
      const int64_t columns = (end - begin) * lanes<T>(), channel = begin * lanes<T>();
      Correlate<T> job{};
      job.images = job.rows = 1, job.cols = from.end - from.begin;
      job.in_col = in_row, job.out_col = columns;
      job.runs = runs_.data(), job.num_runs = static_cast<int64_t>(runs_.size());
      job.vectors = end - begin, job.channels = columns;
      for (int64_t point = 0; point < kPoints; ++point) {
        job.in = in_points + point * in_step;
        job.packed = packed + pack_.in_channels * (kPoints * channel + point * columns);
        job.out = out_points + point * out_step;
        correlate(job);
      }
      Tiles<T> to = tiles_of(out + channel, windows_.out, {0, 0}, rows, cols_);
      to.top += 2 * first_row;
      to.channels_used = std::min(columns, pack_.out_channels - channel);
      to.begin = from.begin, to.end = from.end;
      put(to, out_points, out_step, columns);
      Epilogue<T> own = epilogue;
      if (own.bias) own.bias += channel;
      if (own.returned) own.returned += channel;
      points_to_results(to, own);
    }
  }
}

template <class T>
void WinogradGradient<T>::run(Channels a, Channels b, int64_t images, const T* in,
                              const T* grad_out, T* sums, int64_t tap_step,
                              int64_t row_step) const {
  const int64_t rows = ceil_div(windows_.out.height, 2), cols = ceil_div(windows_.out.width, 2);
  const int64_t a_row = round_up(a.end - a.begin, lanes<T>());
  const int64_t b_row = round_up(b.end - b.begin, lanes<T>());
  const int64_t count = images * rows * cols;
  const int64_t blocks = ceil_div(count, tiles_of_block<T>(a_row + b_row));
  const int64_t most = ceil_div(count, blocks);
  const int64_t a_step = point_step(most * a_row), b_step = point_step(most * b_row);
  const int64_t sum_step = point_step((a.end - a.begin) * b_row);
  T* const a_points = thread_scratch<T>(kPoints * (a_step + b_step + sum_step));
  T* const b_points = a_points + kPoints * a_step;
  T* const point_sums = b_points + kPoints * b_step;

  Tiles<T> pixels = tiles_of(const_cast<T*>(in), windows_.in, windows_.pad, rows, cols);
  Tiles<T> results = tiles_of(const_cast<T*>(grad_out), windows_.out, {0, 0}, rows, cols);
  Tiles<T>&a_tiles = lanes_out_ ? pixels : results, &b_tiles = lanes_out_ ? results : pixels;
  a_tiles.pixels += a.begin, a_tiles.channels_used = a.end - a.begin;
  b_tiles.pixels += b.begin, b_tiles.channels_used = b.end - b.begin;
  put(a_tiles, a_points, a_step, a_row);
  put(b_tiles, b_points, b_step, b_row);
  std::fill_n(point_sums, kPoints * sum_step, T(0));
  for (int64_t i = 0; i < blocks; ++i) {
    pixels.begin = results.begin = count * i / blocks;
    pixels.end = results.end = count * (i + 1) / blocks;
    pixels_to_points(pixels);
    results_to_points(results);
    Outer<T> job{};
    job.images = job.rows = 1, job.cols = pixels.end - pixels.begin;
    job.a_col = a_row, job.b_col = job.sums_row = b_row;
    job.a_channels = a.end - a.begin, job.b_channels = b_row;
    for (int64_t point = 0; point < kPoints; ++point) {
      job.a = a_points + point * a_step, job.b = b_points + point * b_step;
      job.sums = point_sums + point * sum_step;
      outer(job);
    }
  }
  for (int64_t i = 0; i < a.end - a.begin; ++i) {
    points_to_weights(point_sums + i * b_row, sum_step, b_row, sums + i * row_step, tap_step);
  }
}

template class Winograd<float>;
template class Winograd<double>;
template class WinogradGradient<float>;
template class WinogradGradient<double>;

}  // namespace scratchnet
