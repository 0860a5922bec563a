// A 3x3 correlation without stride by Winograd's F(2x2, 3x3): docs/walk/6-winograd.md.
//
// A tile of 2x2 results is read from 4x4 pixels. Both are linear combinations of values at 16
// points, where the correlation is one product each: 16 multiplications where the sums over 9 taps
// take 36. Over all channels a point's products are a matrix product, tiles x in-channels times
// in-channels x out-channels. Tiles are done in blocks whose values at the points stay in the
// cache.
//
// Sources: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016); Jia,
// Zlateski, Durand and Li, "Optimizing N-dimensional, Winograd-based convolution for manycore CPUs"
// (2018).
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "kernels.h"
#include "winograd_tiles.h"

namespace scratchnet {

constexpr int64_t kPoints = 16;

// Which pixels a 3x3 correlation reads: out[r, c] sees in[r - pad_h .. r - pad_h + 2, ...].
struct Windows {
  Size in, out;
  Pair pad;  // may be negative
};

// The correlation; `pack` says where its weights are and which tap comes first.
template <class T>
class Winograd {
 public:
  Winograd(const Windows& windows, const Pack<T>& pack);

  // The transformed weights, made block by block of out-channels.
  int64_t packed_size() const;
  int64_t pack_tasks() const { return blocks_; }
  void pack(int64_t task, const T* weight, T* packed) const;

  int64_t tasks() const { return tasks_; }
  // For `images` images that follow each other in memory.
  void run(int64_t task, int64_t images, const T* in, const T* packed, const Epilogue<T>& epilogue,
           T* out) const;

 private:
  Windows windows_;
  Pack<T> pack_;
  int64_t vectors_, blocks_;  // of out-channels
  int64_t rows_, cols_;       // tiles of an image
  int64_t block_tiles_, tasks_;
  std::vector<Run> runs_;  // of the matrix products
};

// The gradient of some of its weights, in channels a and b: those of the pixels and of the results,
// or the other way round.
template <class T>
class WinogradGradient {
 public:
  struct Channels {
    int64_t begin, end;
  };
  WinogradGradient(const Windows& windows, bool lanes_out)
      : windows_(windows), lanes_out_(lanes_out) {}

  // Adds what `images` images contribute to sums[tap * tap_step + a * row_step + b], where a and b
  // count from the first of theirs; `b` has at most kMaxVectors vectors.
  void run(Channels a, Channels b, int64_t images, const T* in, const T* grad_out, T* sums,
           int64_t tap_step, int64_t row_step) const;

 private:
  Windows windows_;
  bool lanes_out_;  // b are the channels of the results
};

}  // namespace scratchnet
