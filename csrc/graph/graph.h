// A directed acyclic graph of stages, run as one call: a thread takes image by image through all of
// them, so that what one stage writes is still in the cache when the next one reads it.
//
// Value 0 is the input, value i + 1 what stage i made, and the last value is the output.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/tensor.h"

namespace scratchnet {

struct StageSpec {
  std::string op;  // a kind of stage (see SCRATCHNET_STAGE) or an element-wise function
  std::vector<int64_t> reads;
  std::map<std::string, std::vector<double>> options;
};

// What a forward keeps for its backward: the values of all images that it will read.
struct Kept {
  Block memory;
  int64_t bytes;
};

using Tensors = std::vector<std::optional<Tensor>>;

// For one size of image and one dtype. Tensors may have any strides, parameters and their gradients
// are contiguous.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual Size output() const = 0;

  // Writes y. Without `keep` there can be no backward.
  virtual std::shared_ptr<Kept> forward(const Tensor& x, const Tensors& parameters, const Tensor& y,
                                        bool keep) const = 0;
  // Adds to those `grads` that are there, and writes grad_x if it is.
  virtual void backward(const Tensor& x, const Tensor& y, const Tensor& grad_y,
                        const std::shared_ptr<Kept>& kept, const Tensors& parameters,
                        const Tensors& grads, const std::optional<Tensor>& grad_x) const = 0;
};

std::unique_ptr<Graph> make_graph(const std::vector<StageSpec>& specs, Size input, bool is_double);

}  // namespace scratchnet
