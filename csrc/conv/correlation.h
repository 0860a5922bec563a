// One convolution of channels-last images, prepared for a size of image: what can be computed of
// it, image by image and task by task. Which thread runs a task changes no result.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "geometry.h"
#include "kernels.h"
#include "sweep.h"
#include "winograd.h"

namespace scratchnet {

// A correlation between a big and a small image (see Axis), which serves the convolution and its
// gradients alike. Element (s, b, h, w) of the weight connects channel s of the small image and
// channel b of the big one, both counted within their group.
struct Conv {
  int64_t groups, big_channels, small_channels;
  Axis h, w;
  bool winograd = false;  // by Winograd's algorithm: see winograd.h

  int64_t big_size() const { return h.big * w.big * big_channels; }
  int64_t small_size() const { return h.small * w.small * small_channels; }
  int64_t taps() const { return h.taps * w.taps; }
  int64_t weight_size() const { return small_channels * big_channels / groups * taps(); }
};

// Throws std::invalid_argument if it is to be done by Winograd's algorithm and cannot be.
void expect_computable(const Conv& conv);

// Where the elements of a weight lie: `origin` is that of (0, 0, 0, 0), and a step may be negative.
struct WeightLayout {
  int64_t origin, small, big, h, w, group;
};

// An ordinary convolution's weight (small_channels, big_channels / groups, taps_h, taps_w).
WeightLayout plain_weight(const Conv& conv);

// The correlation in one direction: big -> small ("down") or small -> big ("up").
template <class T>
class Correlation {
 public:
  static Correlation down(const Conv& conv, const WeightLayout& weight);
  static Correlation up(const Conv& conv, const WeightLayout& weight);

  int64_t packed_size() const;
  int64_t pack_tasks() const;
  void pack(int64_t task, const T* weight, T* packed) const;

  // The work on a image: one stage after the other, each of so many tasks. With few out-channels
  // the first stage multiplies every read pixel with the weights of all taps, into `products`
  // (products_size() elements), and the second adds up what each written pixel receives.
  int64_t stages() const { return by_products_ ? 2 : 1; }
  int64_t tasks(int64_t stage) const;
  int64_t products_size() const;
  // For `images` images that follow each other in memory, as do their products.
  void run(int64_t stage, int64_t task, int64_t images, const T* in, const T* packed, T* products,
           const Epilogue<T>& epilogue, T* out) const;

 private:
  struct Piece {  // some rows of a rectangle
    int64_t rectangle, first_row, rows;
  };
  Correlation(const Conv& conv, const WeightLayout& weight, bool is_up);
  void cut(int64_t rectangle, int64_t rows, int64_t cols);
  void pack_depthwise(const T* weight, T* packed) const;
  void multiply(const Piece& piece, int64_t images, const T* in, const T* packed, T* out,
                const Epilogue<T>& epilogue, int64_t out_image) const;

  int64_t groups_, in_channels_, out_channels_;  // channels of one group
  int64_t in_image_, out_image_, in_pixels_;
  int64_t taps_;
  bool by_products_;
  bool depthwise_;                    // a group is a channel: the groups lie along the vectors
  int64_t columns_;                   // out-channels of the matrix product: all taps' with products
  int64_t vectors_, blocks_, depth_;  // of the packed weights of a group
  int64_t packed_group_, weight_origin_, weight_group_;
  Pack<T> pack_;
  Sweep sweep_;   // what the last stage visits
  Sweep pixels_;  // what the first of two visits: every pixel of the image
  std::vector<Piece> pieces_, pixel_pieces_;
  std::optional<Winograd<T>> winograd_;  // if there, it does all of it
};

// The gradient of a correlation's weight, summed over images.
template <class T>
class WeightGradient {
 public:
  WeightGradient(const Conv& conv, const WeightLayout& weight);

  int64_t sums_size() const;
  int64_t tasks() const;
  // Adds the gradient from `images` images that follow each other in memory to `sums`.
  void run(int64_t task, int64_t images, const T* big, const T* small, T* sums) const;
  // Adds the sums of all chunks, which lie `step` elements apart, to the gradient, which lies as
  // the weight does.
  int64_t write_tasks() const { return groups_ * conv_.taps() * blocks_; }
  void write(int64_t task, T* sums, int64_t chunks, int64_t step, T* grad_weight) const;

 private:
  struct Part {  // of the gradient, a task's
    int64_t group, tap, b_begin, b_end;
  };
  Part part(int64_t task, int64_t taps) const;
  void run_winograd(int64_t task, int64_t images, const T* big, const T* small, T* sums) const;
  // Adds what the tap, and the taps - 1 after it in its row, contribute in some columns.
  void add(const Part& part, const TapRange& cols, int64_t taps, int64_t images, const T* big,
           const T* small, T* sums) const;

  Conv conv_;
  WeightLayout weight_;
  int64_t big_channels_, small_channels_;  // of one group
  bool depthwise_;                         // a group is a channel: then all groups are one
  int64_t groups_;
  bool lanes_small_;  // whose channels lie along the vectors
  int64_t a_channels_, b_channels_, b_padded_;
  bool joined_;     // whether a row of taps is one task
  int64_t blocks_;  // of b_channels_, each of at most kMaxVectors vectors
  int64_t band_;    // rows swept by all taps before the next ones
};

// How many chunks of images keep gradient sums of their own, to be added up in order at the end.
// It depends on the shapes alone, so that the result does not depend on the number of threads.
int64_t chunks_of(int64_t batch, int64_t sums_bytes);

}  // namespace scratchnet
