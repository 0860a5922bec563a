// The stages without parameters: sum, concatenation, pooling.

#include <algorithm>

#include "ops/elementwise.h"
#include "ops/pool.h"
#include "stage.h"

namespace scratchnet {
namespace {

// The sum of all inputs; of a single one, a copy.
template <class T>
class Sum : public Stage<T> {
 public:
  using Stage<T>::Stage;

  void forward(Plan<T>& plan, const Wires& wires) const override {
    copy(plan, wires.in[0], wires.out);
    for (size_t i = 1; i < wires.in.size(); ++i) {
      plan.add_stretches(
          this->output.elements(),
          [in = wires.in[i], out = wires.out](const Frame<T>& frame, int64_t begin, int64_t end) {
            add_to(frame.at(out) + begin, frame.at(in) + begin, end - begin);
          });
    }
  }
  void backward(Plan<T>& plan, const Wires& wires) const override {
    for (const Target& target : wires.grad_in) {
      if (target.wanted) copy(plan, wires.grad_out, target.place);
    }
  }

 private:
  void copy(Plan<T>& plan, Place from, Place to) const {
    plan.add_stretches(this->output.elements(),
                       [=](const Frame<T>& frame, int64_t begin, int64_t end) {
                         const T* in = frame.at(from);
                         std::copy(in + begin, in + end, frame.at(to) + begin);
                       });
  }
};

template <class T>
std::unique_ptr<Stage<T>> make_add(const std::vector<Size>& inputs, const Options&) {
  for (const Size& input : inputs) {
    expect(input == inputs[0], "add: expected inputs of one size");
  }
  return std::make_unique<Sum<T>>(inputs.at(0));
}

// The channels of all inputs, one after the other.
template <class T>
class Concat : public Stage<T> {
 public:
  Concat(const std::vector<Size>& inputs, Size output) : Stage<T>(output), inputs_(inputs) {
    this->is_cheap = true;
  }

  void forward(Plan<T>& plan, const Wires& wires) const override {
    int64_t first = 0;
    for (size_t i = 0; i < inputs_.size(); first += inputs_[i++].channels) {
      copy(plan, wires.in[i], inputs_[i].channels, 0, wires.out, this->output.channels, first,
           inputs_[i].channels);
    }
  }
  void backward(Plan<T>& plan, const Wires& wires) const override {
    int64_t first = 0;
    for (size_t i = 0; i < inputs_.size(); first += inputs_[i++].channels) {
      const Target& target = wires.grad_in[i];
      if (!target.wanted) continue;
      copy(plan, wires.grad_out, this->output.channels, first, target.place, inputs_[i].channels, 0,
           inputs_[i].channels);
    }
  }

 private:
  // `channels` of each pixel.
  void copy(Plan<T>& plan, Place from, int64_t from_pixel, int64_t from_first, Place to,
            int64_t to_pixel, int64_t to_first, int64_t channels) const {
    const int64_t width = this->output.width;
    plan.add(this->output.height, [=](const Frame<T>& frame, int64_t row) {
      const T* in = frame.at(from) + row * width * from_pixel + from_first;
      T* out = frame.at(to) + row * width * to_pixel + to_first;
      for (int64_t i = 0; i < width; ++i, in += from_pixel, out += to_pixel) {
        std::copy(in, in + channels, out);
      }
    });
  }

  std::vector<Size> inputs_;
};

template <class T>
std::unique_ptr<Stage<T>> make_concat(const std::vector<Size>& inputs, const Options&) {
  Size output = inputs.at(0);
  output.channels = 0;
  for (const Size& input : inputs) {
    expect(input.height == output.height && input.width == output.width,
           "concat: expected inputs of one height and width");
    output.channels += input.channels;
  }
  return std::make_unique<Concat<T>>(inputs, output);
}

Pool pool_of(Size input, const Options& options, Pair dilation) {
  const Pair kernel = options.pair("kernel_size"), stride = options.pair("stride");
  const Pair padding = options.pair("padding");
  const bool ceil_mode = options.number("ceil_mode", 0);
  return make_pool(input, pooled_size(input, kernel, stride, padding, dilation, ceil_mode), kernel,
                   stride, padding, dilation);
}

template <class T>
class MaxPool : public Stage<T> {
 public:
  explicit MaxPool(const Pool& pool) : Stage<T>(pool.output()), pool_(pool) {
    this->reads_inputs_backward = true;
  }

  void forward(Plan<T>& plan, const Wires& wires) const override {
    plan.add(pool_.h.out, [=, pool = pool_](const Frame<T>& frame, int64_t row) {
      max_row<T>(pool, row, frame.at(wires.in[0]),
                 frame.at(wires.out) + row * pool.w.out * pool.channels, nullptr);
    });
  }
  // Where the maxima were is found again, which is cheaper than to keep it.
  void backward(Plan<T>& plan, const Wires& wires) const override {
    const Target target = wires.grad_in[0];
    if (!target.wanted) return;
    const int64_t size = pool_.out_size(), row_size = pool_.w.out * pool_.channels;
    const Place maxima = plan.scratch(size), places = plan.scratch(size);
    plan.add(pool_.h.out, [=, pool = pool_](const Frame<T>& frame, int64_t row) {
      max_row(pool, row, frame.at(wires.in[0]), frame.at(maxima) + row * row_size,
              reinterpret_cast<Index<T>*>(frame.at(places)) + row * row_size);
    });
    plan.add(pool_.h.in, [=, pool = pool_](const Frame<T>& frame, int64_t row) {
      max_row_backward(pool, row, frame.at(wires.grad_out),
                       reinterpret_cast<const Index<T>*>(frame.at(places)),
                       frame.at(target.place) + row * pool.w.in * pool.channels);
    });
  }

 private:
  Pool pool_;
};

template <class T>
class AvgPool : public Stage<T> {
 public:
  explicit AvgPool(const Pool& pool) : Stage<T>(pool.output()), pool_(pool) {}

  void forward(Plan<T>& plan, const Wires& wires) const override {
    plan.add(pool_.h.out, [=, pool = pool_](const Frame<T>& frame, int64_t row) {
      mean_row<T>(pool, row, frame.at(wires.in[0]),
                  frame.at(wires.out) + row * pool.w.out * pool.channels);
    });
  }
  void backward(Plan<T>& plan, const Wires& wires) const override {
    const Target target = wires.grad_in[0];
    if (!target.wanted) return;
    plan.add(pool_.h.in, [=, pool = pool_](const Frame<T>& frame, int64_t row) {
      mean_row_backward<T>(pool, row, frame.at(wires.grad_out),
                           frame.at(target.place) + row * pool.w.in * pool.channels);
    });
  }

 private:
  Pool pool_;
};

template <class T>
std::unique_ptr<Stage<T>> make_max_pool(const std::vector<Size>& inputs, const Options& options) {
  return std::make_unique<MaxPool<T>>(pool_of(inputs.at(0), options, options.pair("dilation")));
}

template <class T>
std::unique_ptr<Stage<T>> make_avg_pool(const std::vector<Size>& inputs, const Options& options) {
  Pool pool = pool_of(inputs.at(0), options, {1, 1});
  pool.counts_padding = options.number("count_include_pad", 1);
  pool.divides_by = options.number("divisor_override", 0);
  return std::make_unique<AvgPool<T>>(pool);
}

SCRATCHNET_STAGE("add", make_add);
SCRATCHNET_STAGE("concat", make_concat);
SCRATCHNET_STAGE("max_pool2d", make_max_pool);
SCRATCHNET_STAGE("avg_pool2d", make_avg_pool);

}  // namespace
}  // namespace scratchnet
