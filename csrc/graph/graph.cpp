#include "graph.h"

#include <algorithm>
#include <utility>

#include "core/threads.h"
#include "conv/correlation.h"
#include "images.h"
#include "ops/elementwise.h"
#include "stage.h"

namespace scratchnet {
namespace {

// A stage and the element-wise function after it, if nothing else reads what the stage made.
template <class T>
struct Node {
  std::unique_ptr<Stage<T>> stage;
  std::vector<int64_t> reads;
  int64_t value;
  Function function;
  // Where its own begin: parameters, and parts of the packed weights and of the sums.
  int64_t parameter, packed_at, packed_backward_at, sums_at;
};

template <class T>
class TypedGraph : public Graph {
 public:
  TypedGraph(const std::vector<StageSpec>& specs, Size input);

  Size output() const override { return sizes_.back(); }
  std::shared_ptr<Kept> forward(const Tensor& x, const Tensors& parameters, const Tensor& y,
                                bool keep) const override;
  void backward(const Tensor& x, const Tensor& y, const Tensor& grad_y,
                const std::shared_ptr<Kept>& kept, const Tensors& parameters, const Tensors& grads,
                const std::optional<Tensor>& grad_x) const override;

 private:
  static constexpr int64_t kNowhere = -1;

  void keep_what_backward_reads();
  static bool is_made_again(const Node<T>& node) {
    return node.stage->is_cheap && node.function == Function::none;
  }
  static bool reads_output(const Node<T>& node) {  // in backward
    return node.stage->reads_output_backward || node.function != Function::none;
  }
  Plan<T> plan_forward(bool keep) const;
  Plan<T> plan_backward(bool wants_grad_x) const;
  void add_gather(Plan<T>& plan, Size size, Images<const T> Frame<T>::* from, Place to) const;
  void pack(bool backward, const T* const* parameters, T* packed) const;
  template <class MakeFrame, class BeginChunk>
  void run(const Plan<T>& plan, int64_t batch, int64_t chunks, Order order, MakeFrame&& make_frame,
           BeginChunk&& begin_chunk) const;
  Sizes batch_of(int64_t batch, Size size) const {
    return {batch, size.channels, size.height, size.width};
  }
  std::vector<T*> pointers(const Tensors& tensors, const char* name) const;
  int64_t kept_bytes(int64_t batch) const {
    return batch * kept_size_ * static_cast<int64_t>(sizeof(T));
  }

  std::vector<Node<T>> nodes_;
  std::vector<Size> sizes_;         // of all values
  std::vector<int64_t> readers_;    // their number, of every value
  std::vector<int64_t> producers_;  // the node that makes it
  std::vector<int64_t> kept_at_;    // where in an image's kept memory, or kNowhere
  std::vector<Sizes> parameters_;
  int64_t kept_size_ = 0, packed_size_ = 0, packed_backward_size_ = 0, sums_size_ = 0;
  Plan<T> forward_, forward_keeping_, backward_, backward_to_x_;
};

int64_t reserve(int64_t& total, int64_t elements) {
  const int64_t at = total;
  total += aligned_size(elements);
  return at;
}

template <class T>
TypedGraph<T>::TypedGraph(const std::vector<StageSpec>& specs, Size input)
    : sizes_{input}, readers_(specs.size() + 1), producers_(specs.size() + 1, kNowhere) {
  expect(!specs.empty(), "expected at least one stage");
  for (const StageSpec& spec : specs) {
    expect(!spec.reads.empty(), spec.op, ": expected at least one value to read");
    for (const int64_t value : spec.reads) {
      expect(value >= 0 && value <= &spec - specs.data(), spec.op, " reads value ", value,
             ", which no stage before it makes");
      ++readers_[value];
    }
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    const StageSpec& spec = specs[i];
    const auto value = static_cast<int64_t>(i) + 1;
    expect(readers_[value] > 0 || i + 1 == specs.size(), spec.op, ": nothing reads value ", value);
    std::vector<Size> inputs;
    for (const int64_t read : spec.reads) inputs.push_back(sizes_[read]);
    if (is_function(spec.op)) {
      expect(inputs.size() == 1, spec.op, ": expected one value to read");
      const int64_t producer = producers_[spec.reads[0]];
      if (producer != kNowhere && readers_[spec.reads[0]] == 1 &&
          !reads_output(nodes_[producer])) {  // it would find what the function made of it
        nodes_[producer].function = function_named(spec.op), nodes_[producer].value = value;
        producers_[value] = producer;
        sizes_.push_back(inputs[0]);
        continue;
      }
    }
    const auto& kinds = stage_kinds<T>();
    expect(kinds.count(spec.op) > 0, "there is no kind of stage ", spec.op);
    Node<T> node{kinds.at(spec.op)(inputs, {spec.op, spec.options}), spec.reads, value,
                 Function::none, static_cast<int64_t>(parameters_.size()), 0, 0, 0};
    node.packed_at = reserve(packed_size_, node.stage->packed_size(false));
    node.packed_backward_at = reserve(packed_backward_size_, node.stage->packed_size(true));
    node.sums_at = reserve(sums_size_, node.stage->sums_size());
    const auto& parameters = node.stage->parameters;
    parameters_.insert(parameters_.end(), parameters.begin(), parameters.end());
    producers_[value] = static_cast<int64_t>(nodes_.size());
    sizes_.push_back(node.stage->output);
    nodes_.push_back(std::move(node));
  }
  keep_what_backward_reads();
  forward_ = plan_forward(false), forward_keeping_ = plan_forward(true);
  backward_ = plan_backward(false), backward_to_x_ = plan_backward(true);
}

// The input and the output are the caller's anyway.
template <class T>
void TypedGraph<T>::keep_what_backward_reads() {
  std::vector<bool> read(sizes_.size());
  for (const Node<T>& node : nodes_) {
    if (reads_output(node)) read[node.value] = true;
    if (!node.stage->reads_inputs_backward) continue;
    for (const int64_t value : node.reads) read[value] = true;
  }
  read.back() = false;
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) {
    if (!read[node->value] || !is_made_again(*node)) continue;
    read[node->value] = false;
    for (const int64_t value : node->reads) read[value] = true;
  }
  read.front() = false;
  for (size_t value = 0; value < sizes_.size(); ++value) {
    kept_at_.push_back(read[value] ? reserve(kept_size_, sizes_[value].elements()) : kNowhere);
  }
}

template <class T>
void TypedGraph<T>::add_gather(Plan<T>& plan, Size size, Images<const T> Frame<T>::* from,
                               Place to) const {
  plan.add(1, [=](const Frame<T>& frame, int64_t) {
    const Images<const T>& images = frame.*from;
    if (images.data != frame.at(to)) gather_image(images, size, frame.at(to));
  });
}

template <class T>
Plan<T> TypedGraph<T>::plan_forward(bool keep) const {
  Plan<T> plan;
  const auto last = static_cast<int64_t>(sizes_.size()) - 1;
  std::vector<Place> places(sizes_.size(), Place{kInput, 0});
  std::vector<int64_t> left = readers_;
  plan.input = plan.take(sizes_[0].elements());
  plan.output = plan.take(sizes_[last].elements());
  add_gather(plan, sizes_[0], &Frame<T>::x, places[0]);
  for (const Node<T>& node : nodes_) {
    Place& out = places[node.value];
    const int64_t kept_at = kept_at_[node.value], size = sizes_[node.value].elements();
    out = node.value == last            ? Place{kOutput, 0}
          : keep && kept_at != kNowhere ? Place{kKept, kept_at}
                                        : plan.take(size);
    Wires wires{{}, out, node.function, {}, {}, node.packed_at, node.sums_at, node.parameter};
    for (const int64_t value : node.reads) wires.in.push_back(places[value]);
    node.stage->forward(plan, wires);
    if (!node.stage->fuses && node.function != Function::none) {
      plan.add_stretches(
          size, [=, function = node.function](const Frame<T>& frame, int64_t begin, int64_t end) {
            apply(frame.at(out) + begin, end - begin, function);
          });
    }
    plan.end_stage();
    for (const int64_t value : node.reads) {
      if (--left[value] == 0 && places[value].memory == kArena) plan.give(places[value]);
    }
  }
  plan.add(1, [size = sizes_[last]](const Frame<T>& frame, int64_t) {
    const T* from = frame.memory[kOutput];
    if (from != frame.out.data) scatter_image(from, size, frame.out);
  });
  return plan;
}

template <class T>
Plan<T> TypedGraph<T>::plan_backward(bool wants_grad_x) const {
  Plan<T> plan;
  const auto last = static_cast<int64_t>(sizes_.size()) - 1;
  // What has a gradient: what depends on a parameter, or on x if its gradient is wanted.
  std::vector<bool> wanted(sizes_.size()), begun(sizes_.size()), multiplied(sizes_.size());
  wanted[0] = wants_grad_x;
  for (const Node<T>& node : nodes_) {
    wanted[node.value] = !node.stage->parameters.empty();
    for (const int64_t value : node.reads) {
      if (wanted[value]) wanted[node.value] = true;
    }
  }
  // Where a value is that the forward made, or is made again while a stage is planned.
  const std::function<Place(int64_t)> place_of = [&](int64_t value) {
    if (value == 0) return Place{kInput, 0};
    if (value == last) return Place{kOutput, 0};
    const Node<T>& node = nodes_[producers_[value]];
    if (!is_made_again(node)) return Place{kKept, kept_at_[value]};
    Wires wires{};
    for (const int64_t read : node.reads) wires.in.push_back(place_of(read));
    wires.out = plan.scratch(sizes_[value].elements());
    node.stage->forward(plan, wires);
    return wires.out;
  };
  plan.input = plan.take(sizes_[0].elements());
  plan.output = plan.take(sizes_[last].elements());
  plan.grad_input = plan.take(wants_grad_x ? sizes_[0].elements() : 0);
  std::vector<Place> grads(sizes_.size(), Place{kGradInput, 0});
  grads[last] = plan.take(sizes_[last].elements());
  add_gather(plan, sizes_[0], &Frame<T>::x, place_of(0));
  add_gather(plan, sizes_[last], &Frame<T>::grad_y, grads[last]);
  if (reads_output(nodes_.back())) {
    add_gather(plan, sizes_[last], &Frame<T>::y, place_of(last));
  }
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) {
    const int64_t value = node->value;
    if (!wanted[value]) continue;
    const Place grad = grads[value];
    if (node->function != Function::none && !multiplied[value]) {
      plan.add_stretches(
          sizes_[value].elements(), [=, y = place_of(value), function = node->function](
                                        const Frame<T>& frame, int64_t begin, int64_t end) {
            apply_derivative(frame.at(grad) + begin, frame.at(y) + begin, end - begin, function);
          });
    }
    Wires wires{
        {}, {}, Function::none, grad, {}, node->packed_backward_at, node->sums_at, node->parameter};
    if (node->stage->reads_output_backward) wires.out = place_of(value);
    std::vector<std::pair<int64_t, Place>> more;  // gradients to be added to others
    for (const int64_t read : node->reads) {
      wires.in.push_back(node->stage->reads_inputs_backward ? place_of(read) : Place{});
      Target target{wanted[read], {}, wires.in.back(), Function::none};
      if (wanted[read]) {
        if (!begun[read]) {
          if (read != 0) grads[read] = plan.take(sizes_[read].elements());
          target.place = grads[read];
          begun[read] = true;
        } else {
          target.place = plan.scratch(sizes_[read].elements());
          more.emplace_back(read, target.place);
        }
        if (read != 0 && readers_[read] == 1 && node->stage->fuses) {
          target.derivative_of = nodes_[producers_[read]].function;
          multiplied[read] = true;
        }
      }
      wires.grad_in.push_back(target);
    }
    node->stage->backward(plan, wires);
    for (const auto& [read, from] : more) {
      plan.add_stretches(
          sizes_[read].elements(),
          [from = from, to = grads[read]](const Frame<T>& frame, int64_t begin, int64_t end) {
            add_to(frame.at(to) + begin, frame.at(from) + begin, end - begin);
          });
    }
    plan.end_stage();
    plan.give(grad);
  }
  if (wants_grad_x) {
    plan.add(1, [size = sizes_[0]](const Frame<T>& frame, int64_t) {
      const T* from = frame.memory[kGradInput];
      if (from != frame.grad_x.data) scatter_image(from, size, frame.grad_x);
    });
  }
  return plan;
}

template <class T>
void TypedGraph<T>::pack(bool backward, const T* const* parameters, T* packed) const {
  run_tasks(threads_for(backward ? packed_backward_size_ : packed_size_),
            static_cast<int64_t>(nodes_.size()), [&](int64_t i, int64_t) {
              const Node<T>& node = nodes_[i];
              node.stage->pack(backward, parameters + node.parameter,
                               packed + (backward ? node.packed_backward_at : node.packed_at));
            });
}

template <class T>
template <class MakeFrame, class BeginChunk>
void TypedGraph<T>::run(const Plan<T>& plan, int64_t batch, int64_t chunks, Order order,
                        MakeFrame&& make_frame, BeginChunk&& begin_chunk) const {
  const auto first = [&](int64_t chunk) { return batch * chunk / chunks; };
  // Image by image, if the chunks keep all threads busy: then an image stays in one core's cache.
  // Otherwise step by step, the threads sharing each.
  const int64_t workers = std::min(threads(), chunks);
  const bool by_image = chunks >= 4 * threads() || chunks % threads() == 0;
  const Buffer<T> arenas((by_image ? workers : batch) * plan.arena_size);
  if (by_image) {
    run_tasks(
        threads(), chunks,
        [&](int64_t chunk, int64_t thread) {
          begin_chunk(chunk);
          for (int64_t n = first(chunk); n < first(chunk + 1); ++n) {
            const Frame<T> frame = make_frame(n, chunk, arenas.data() + thread * plan.arena_size);
            for (const Step<T>& step : plan.steps) {
              for (int64_t task = 0; task < step.tasks; ++task) step.run(frame, task);
            }
          }
        },
        order);
    return;
  }
  std::vector<Frame<T>> frames;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    begin_chunk(chunk);
    for (int64_t n = first(chunk); n < first(chunk + 1); ++n) {
      frames.push_back(make_frame(n, chunk, arenas.data() + n * plan.arena_size));
    }
  }
  for (const Step<T>& step : plan.steps) {
    const int64_t parts = step.adds_up ? chunks : batch;
    run_tasks(threads(), parts * step.tasks, [&](int64_t i, int64_t) {
      const int64_t part = i / step.tasks;
      const int64_t begin = step.adds_up ? first(part) : part;
      const int64_t end = step.adds_up ? first(part + 1) : part + 1;
      for (int64_t n = begin; n < end; ++n) step.run(frames[n], i % step.tasks);
    });
  }
}

template <class T>
std::vector<T*> TypedGraph<T>::pointers(const Tensors& tensors, const char* name) const {
  expect(tensors.size() == parameters_.size(), name, ": expected ", parameters_.size(),
         ", None where there is none, got ", tensors.size());
  std::vector<T*> result(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i]) result[i] = contiguous<T>(*tensors[i], parameters_[i], name);
  }
  return result;
}

template <class T>
std::shared_ptr<Kept> TypedGraph<T>::forward(const Tensor& x, const Tensors& parameters,
                                             const Tensor& y, bool keep) const {
  expect_images(x, "x");
  const int64_t batch = x.size(0);
  const auto from = images_of<const T>(x, batch_of(batch, sizes_.front()), "x");
  const auto to = images_of<T>(y, batch_of(batch, sizes_.back()), "y");
  const std::vector<T*> given = pointers(parameters, "parameters");
  for (size_t i = 0; i < given.size(); ++i) {
    expect(given[i] || parameters_[i].size() == 1, "parameters: only a bias may be missing");
  }
  std::shared_ptr<Kept> kept;
  if (keep) kept.reset(new Kept{Block(kept_bytes(batch)), kept_bytes(batch)});
  if (batch == 0) return kept;
  const Buffer<T> packed(packed_size_);
  pack(false, given.data(), packed.data());
  const bool direct_in = is_channels_last(from, sizes_.front());
  const bool direct_out = is_channels_last(to, sizes_.back());
  const Plan<T>& plan = keep ? forward_keeping_ : forward_;
  run(
      plan, batch, batch, Order::rising,
      [&](int64_t n, int64_t, T* arena) {
        Frame<T> frame{};
        frame.x = at_image(from, n), frame.out = at_image(to, n);
        frame.memory[kArena] = arena;
        frame.memory[kInput] = direct_in ? const_cast<T*>(frame.x.data) : frame.at(plan.input);
        frame.memory[kOutput] = direct_out ? frame.out.data : frame.at(plan.output);
        if (keep) frame.memory[kKept] = static_cast<T*>(kept->memory.data()) + n * kept_size_;
        frame.packed = packed.data(), frame.parameters = given.data();
        return frame;
      },
      [](int64_t) {});
  return kept;
}

template <class T>
void TypedGraph<T>::backward(const Tensor& x, const Tensor& y, const Tensor& grad_y,
                             const std::shared_ptr<Kept>& kept, const Tensors& parameters,
                             const Tensors& grads, const std::optional<Tensor>& grad_x) const {
  expect_images(x, "x");
  const int64_t batch = x.size(0);
  const Sizes ins = batch_of(batch, sizes_.front()), outs = batch_of(batch, sizes_.back());
  const auto in = images_of<const T>(x, ins, "x"), out = images_of<const T>(y, outs, "y");
  const auto from = images_of<const T>(grad_y, outs, "grad_y");
  const auto to = grad_x ? images_of<T>(*grad_x, ins, "grad_x") : Images<T>{};
  const std::vector<T*> given = pointers(parameters, "parameters"),
                        sought = pointers(grads, "grads");
  expect(kept_size_ == 0 || (kept && kept->bytes == kept_bytes(batch)),
         "kept: expected what the forward of these images returned, with keep=True");
  if (batch == 0) return;
  const Buffer<T> packed(packed_backward_size_);
  pack(true, given.data(), packed.data());
  const int64_t chunks = chunks_of(batch, sums_size_ * static_cast<int64_t>(sizeof(T)));
  const Buffer<T> sums(chunks * sums_size_);
  const bool direct_in = is_channels_last(in, sizes_.front());
  const bool direct_out = is_channels_last(out, sizes_.back());
  const bool direct_grad = is_channels_last(to, sizes_.front());
  const Plan<T>& plan = grad_x ? backward_to_x_ : backward_;
  run(
      // A forward leaves its last images in the cache: the backward takes them first.
      plan, batch, chunks, Order::falling,
      [&](int64_t n, int64_t chunk, T* arena) {
        Frame<T> frame{};
        frame.x = at_image(in, n), frame.y = at_image(out, n);
        frame.grad_y = at_image(from, n), frame.grad_x = at_image(to, n);
        frame.memory[kArena] = arena;
        frame.memory[kInput] = direct_in ? const_cast<T*>(frame.x.data) : frame.at(plan.input);
        frame.memory[kOutput] = direct_out ? const_cast<T*>(frame.y.data) : frame.at(plan.output);
        frame.memory[kGradInput] = direct_grad ? frame.grad_x.data : frame.at(plan.grad_input);
        if (kept) frame.memory[kKept] = static_cast<T*>(kept->memory.data()) + n * kept_size_;
        frame.sums = sums.data() + chunk * sums_size_;
        frame.packed = packed.data(), frame.grads = sought.data();
        return frame;
      },
      [&](int64_t chunk) { std::fill_n(sums.data() + chunk * sums_size_, sums_size_, T(0)); });
  std::vector<std::pair<const Node<T>*, int64_t>> writes;  // nodes and their tasks
  for (const Node<T>& node : nodes_) {
    for (int64_t task = 0; task < node.stage->write_tasks(); ++task)
      writes.emplace_back(&node, task);
  }
  run_tasks(threads_for(chunks * sums_size_), static_cast<int64_t>(writes.size()),
            [&](int64_t i, int64_t) {
              const auto [node, task] = writes[i];
              node->stage->write(task, sums.data() + node->sums_at, chunks, sums_size_,
                                 sought.data() + node->parameter);
            });
}

}  // namespace

std::unique_ptr<Graph> make_graph(const std::vector<StageSpec>& specs, Size input, bool is_double) {
  if (is_double) return std::make_unique<TypedGraph<double>>(specs, input);
  return std::make_unique<TypedGraph<float>>(specs, input);
}

}  // namespace scratchnet
