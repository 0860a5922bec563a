// A stage of a graph: what it computes of one image, forward and backward, as steps of a plan.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/function.h"
#include "core/tensor.h"

namespace scratchnet {

// Where something of an image lies: channels-last, `at` elements from where that kind of memory
// begins for this image.
enum Memory : int { kInput, kOutput, kGradInput, kArena, kKept, kMemories };
struct Place {
  Memory memory;
  int64_t at;
};

// A batch of images wherever its elements lie: the first one, and the steps of the four axes.
template <class T>
struct Images {
  T* data;
  int64_t n, c, h, w;
};

// Everything that concerns one image while the steps work on it.
template <class T>
struct Frame {
  Images<const T> x, y, grad_y;  // at this image
  Images<T> out, grad_x;         // `out` is what y will be
  T* memory[kMemories];
  T* sums;                     // of the gradients of this image's chunk
  const T* packed;             // weights
  const T* const* parameters;  // null where there is none
  T* const* grads;             // null where not wanted

  T* at(Place place) const { return memory[place.memory] + place.at; }
};

template <class T>
struct Step {
  int64_t tasks;
  bool adds_up;  // adds to `sums`: the images of a chunk must take turns
  std::function<void(const Frame<T>&, int64_t task)> run;
};

// Steps, and the scratch memory that they need for an image.
template <class T>
class Plan {
 public:
  using Run = std::function<void(const Frame<T>&, int64_t task)>;

  void add(int64_t tasks, Run run) { steps.push_back({tasks, false, std::move(run)}); }
  void add_summing(int64_t tasks, Run run) { steps.push_back({tasks, true, std::move(run)}); }
  // run(frame, begin, end) for stretches of 0 .. size - 1.
  void add_stretches(int64_t size,
                     std::function<void(const Frame<T>&, int64_t begin, int64_t end)> run) {
    constexpr int64_t kGrain = 1 << 13;
    add((size + kGrain - 1) / kGrain, [=, run = std::move(run)](const Frame<T>& f, int64_t task) {
      run(f, task * kGrain, std::min((task + 1) * kGrain, size));
    });
  }

  // Memory that later steps may use again once it is given back.
  Place take(int64_t elements);
  void give(Place place);
  // The same until the stage that is being planned has added its steps.
  Place scratch(int64_t elements) { return scratch_.emplace_back(take(elements)); }
  void end_stage() {
    for (const Place& place : scratch_) give(place);
    scratch_.clear();
  }

  std::vector<Step<T>> steps;
  int64_t arena_size = 0;
  Place input{}, output{},
      grad_input{};  // room for copies of the tensors that are not channels-last

 private:
  std::map<int64_t, int64_t> free_, taken_;  // sizes by where they begin
  std::vector<Place> scratch_;
};

template <class T>
Place Plan<T>::take(int64_t elements) {
  const int64_t size = aligned_size(std::max<int64_t>(elements, 1));
  auto best = free_.end();
  for (auto block = free_.begin(); block != free_.end(); ++block) {
    if (block->second >= size && (best == free_.end() || block->second < best->second))
      best = block;
  }
  int64_t at = arena_size;
  if (best == free_.end()) {
    arena_size += size;
  } else {
    at = best->first;
    if (best->second > size) free_[at + size] = best->second - size;
    free_.erase(at);
  }
  taken_[at] = size;
  return {kArena, at};
}

template <class T>
void Plan<T>::give(Place place) {
  auto block = free_.emplace(place.at, taken_.at(place.at)).first;
  taken_.erase(place.at);
  const auto next = std::next(block);
  if (next != free_.end() && block->first + block->second == next->first) {
    block->second += next->second;
    free_.erase(next);
  }
  if (block == free_.begin()) return;
  const auto before = std::prev(block);
  if (before->first + before->second == block->first) {
    before->second += block->second;
    free_.erase(block);
  }
}

// Where the gradient of something that a stage read is to be written. A stage that `fuses`
// multiplies it by the derivative of the function that returned what lies at `returned`.
struct Target {
  bool wanted;
  Place place;
  Place returned;
  Function derivative_of;
};

// What a stage is connected to.
struct Wires {
  std::vector<Place> in;
  Place out;                        // forward; backward, for a stage that reads its output there
  Function function;                // forward, for a stage that fuses: of its result
  Place grad_out;                   // backward
  std::vector<Target> grad_in;      // backward
  int64_t packed, sums, parameter;  // where its own begin
};

template <class T>
class Stage {
 public:
  explicit Stage(Size output) : output(output) {}
  virtual ~Stage() = default;

  const Size output;
  std::vector<Sizes> parameters;  // their shapes
  bool fuses = false;             // see Target and Wires
  bool reads_inputs_backward = false, reads_output_backward = false;
  bool is_cheap = false;  // so that its result is made again rather than kept

  virtual void forward(Plan<T>& plan, const Wires& wires) const = 0;
  virtual void backward(Plan<T>& plan, const Wires& wires) const = 0;

  // What is made of the parameters once for all images, and its size.
  virtual int64_t packed_size(bool /*backward*/) const { return 0; }
  virtual void pack(bool /*backward*/, const T* const* /*parameters*/, T* /*packed*/) const {}
  // The gradients' sums over some images, which backward's steps add to, and the tasks that add
  // those of all chunks, `step` elements apart, to the gradients.
  virtual int64_t sums_size() const { return 0; }
  virtual int64_t write_tasks() const { return 0; }
  virtual void write(int64_t /*task*/, T* /*sums*/, int64_t /*chunks*/, int64_t /*step*/,
                     T* const* /*grads*/) const {}
};

// The options of a stage: numbers by name, two for (vertical, horizontal).
struct Options {
  std::string op;  // which kind of stage
  std::map<std::string, std::vector<double>> values;

  bool has(const char* name) const { return values.count(name) > 0; }
  double real(const char* name) const {
    expect(has(name) && values.at(name).size() == 1, "expected an option ", name, ", a number");
    return values.at(name)[0];
  }
  int64_t number(const char* name) const { return static_cast<int64_t>(real(name)); }
  int64_t number(const char* name, int64_t otherwise) const {
    return has(name) ? number(name) : otherwise;
  }
  Pair pair(const char* name) const {
    expect(has(name) && values.at(name).size() == 2, "expected an option ", name, ", two numbers");
    const std::vector<double>& two = values.at(name);
    return {static_cast<int64_t>(two[0]), static_cast<int64_t>(two[1])};
  }
};

// The kinds of stages by name. A file adds its own by SCRATCHNET_STAGE("name", make), where
// make<T>(inputs, options) returns a new stage for inputs of these sizes.
template <class T>
using MakeStage = std::unique_ptr<Stage<T>> (*)(const std::vector<Size>&, const Options&);
template <class T>
std::map<std::string, MakeStage<T>>& stage_kinds() {
  static std::map<std::string, MakeStage<T>> kinds;
  return kinds;
}
struct RegisterStage {
  RegisterStage(const char* name, MakeStage<float> f32, MakeStage<double> f64) {
    stage_kinds<float>()[name] = f32;
    stage_kinds<double>()[name] = f64;
  }
};
#define SCRATCHNET_STAGE(name, make) \
  static const ::scratchnet::RegisterStage register_##make(name, &make<float>, &make<double>)

}  // namespace scratchnet
