// A chain of convolutions with their functions, forward and backward, as lists of steps that a
// thread takes image by image: what one step writes is still in the cache when the next one
// reads it.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "images.h"
#include "stage.h"

namespace scratchnet {

// Everything that concerns one image while the steps work on it.
template <class T>
struct Frame {
  Images<const T> x, y, grad_y;  // at this image
  Images<T> out, grad_x;         // `out` is what y will be
  // Channels-last: the tensors themselves where they lie so, else copies in the arena.
  const T* input;
  T* output;
  T* grad_input;
  T* arena;         // scratch
  T* saved;         // hidden functions
  T* sums;          // of the gradients of this image's chunk
  const T* packed;  // weights
  const T* const* biases;
};

template <class T>
struct Step {
  int64_t tasks;
  bool adds_up;  // adds to `sums`: the images of a chunk must take turns
  std::function<void(const Frame<T>&, int64_t task)> run;
};

template <class T>
class Network {
 public:
  Network(const std::vector<Layer>& layers, Size input);
  Network(const Network&) = delete;  // the steps refer to the stages

  Size output() const { return stages_.back().output; }
  // Elements that a forward keeps of each image for the backward: the hidden functions.
  int64_t saved_size() const { return saved_size_; }

  // weights[l] and biases[l] (or null) belong to layer l. `saved` has batch * saved_size()
  // elements, or is null if there will be no backward.
  void forward(int64_t batch, Images<const T> x, const T* const* weights, const T* const* biases,
               Images<T> y, T* saved) const;

  // Adds to grad_weights[l] and grad_biases[l] (or null), and writes grad_x.
  void backward(int64_t batch, Images<const T> x, Images<const T> y, Images<const T> grad_y,
                const T* saved, const T* const* weights, T* const* grad_weights,
                T* const* grad_biases, Images<T> grad_x) const;

 private:
  using In = std::function<const T*(const Frame<T>&)>;
  using Out = std::function<T*(const Frame<T>&)>;
  using MakeEpilogue = std::function<Epilogue<T>(const Frame<T>&)>;
  struct Plan {
    std::vector<Step<T>> steps;
    int64_t arena_size = 0, output_at = 0;  // offset 0 is the input's
  };

  void plan_forward();
  void plan_backward();
  void add_correlation(Plan& plan, const Correlation<T>& correlation, int64_t packed, In in,
                       MakeEpilogue epilogue, Out out) const;
  void add_gradients(Plan& plan, int64_t l, In big, In small, In grad_output) const;
  In input_of(int64_t l) const;
  template <class MakeFrame, class BeginChunk>
  void run(const Plan& plan, int64_t batch, int64_t chunks, MakeFrame&& make_frame,
           BeginChunk&& begin_chunk) const;

  std::vector<Stage<T>> stages_;
  Plan forward_, backward_;
  // Offsets of what belongs to layer l: its input in `saved`, its weights in `packed`, its sums.
  std::vector<int64_t> saved_at_, packed_at_, bias_row_at_, packed_input_at_, sums_at_,
      bias_sums_at_;
  int64_t saved_size_ = 0, packed_size_ = 0, packed_input_size_ = 0, sums_size_ = 0;
};

}  // namespace scratchnet
