#include "network.h"

#include <algorithm>
#include <utility>

#include "box.h"
#include "core/buffer.h"
#include "core/threads.h"
#include "ops/elementwise.h"

namespace scratchnet {
namespace {

int64_t reserve(int64_t& total, int64_t elements) {
  const int64_t at = total;
  total += aligned_size(elements);
  return at;
}

constexpr int64_t kTaskRows = 16;  // of a box sum

template <class T>
Step<T> box_step(const Stage<T>& stage, bool forward, int64_t scratch, int64_t bias_row,
                 std::function<const T*(const Frame<T>&)> in,
                 std::function<T*(const Frame<T>&)> out) {
  const Size from = forward ? stage.unboxed : stage.output;
  const Size to = forward ? stage.output : stage.unboxed;
  const Pair window = stage.layer.scale;
  const int64_t pad_h = forward ? 0 : window[0] - 1, pad_w = forward ? 0 : window[1] - 1;
  const int64_t task_scratch = aligned_size((from.width + 2 * pad_w) * from.channels);
  const Function function = forward ? stage.layer.function : Function::none;
  return {(to.height + kTaskRows - 1) / kTaskRows, false, [=](const Frame<T>& frame, int64_t task) {
            box<T>({in(frame), out(frame), frame.arena + scratch + task * task_scratch,
                    forward ? frame.packed + bias_row : nullptr, from.height, from.width, to.width,
                    to.channels, window[0], window[1], pad_h, pad_w, task * kTaskRows,
                    std::min((task + 1) * kTaskRows, to.height), function});
          }};
}

template <class T>
int64_t box_scratch(const Stage<T>& stage, bool forward) {
  const Size from = forward ? stage.unboxed : stage.output;
  const Size to = forward ? stage.output : stage.unboxed;
  const int64_t pad_w = forward ? 0 : stage.layer.scale[1] - 1;
  return (to.height + kTaskRows - 1) / kTaskRows *
         aligned_size((from.width + 2 * pad_w) * from.channels);
}

}  // namespace

template <class T>
Network<T>::Network(const std::vector<Layer>& layers, Size input) {
  for (const Layer& layer : layers) {
    const bool first = stages_.empty();
    stages_.emplace_back(layer, first ? input : stages_.back().output);
    const Stage<T>& stage = stages_.back();
    saved_at_.push_back(first ? 0 : reserve(saved_size_, stage.input.elements()));
    packed_at_.push_back(reserve(packed_size_, stage.to_output.packed_size()));
    bias_row_at_.push_back(reserve(packed_size_, stage.output.width * stage.output.channels));
    packed_input_at_.push_back(reserve(packed_input_size_, stage.to_input.packed_size()));
    sums_at_.push_back(reserve(sums_size_, stage.gradient.sums_size()));
    bias_sums_at_.push_back(reserve(sums_size_, layer.out_channels));
  }
  plan_forward();
  plan_backward();
}

template <class T>
typename Network<T>::In Network<T>::input_of(int64_t l) const {
  if (l == 0) return [](const Frame<T>& frame) { return frame.input; };
  return [at = saved_at_[l]](const Frame<T>& frame) { return frame.saved + at; };
}

template <class T>
void Network<T>::add_correlation(Plan& plan, const Correlation<T>& correlation, int64_t packed,
                                 In in, MakeEpilogue epilogue, Out out) const {
  const int64_t products = reserve(plan.arena_size, correlation.products_size());
  for (int64_t part = 0; part < correlation.stages(); ++part) {
    plan.steps.push_back(
        {correlation.tasks(part), false, [=, &correlation](const Frame<T>& frame, int64_t task) {
           T* to = out(frame);
           if (!to) return;  // nobody wants this gradient
           correlation.run(part, task, 1, in(frame), frame.packed + packed, frame.arena + products,
                           epilogue(frame), to);
         }});
  }
}

template <class T>
void Network<T>::plan_forward() {
  Plan& plan = forward_;
  const Size input = stages_.front().input, output = stages_.back().output;
  reserve(plan.arena_size, input.elements());
  plan.output_at = reserve(plan.arena_size, output.elements());
  plan.steps.push_back({1, false, [=](const Frame<T>& frame, int64_t) {
                          if (frame.input == frame.arena) {
                            gather_image(frame.x, input, frame.arena);
                          }
                        }});
  for (size_t l = 0; l < stages_.size(); ++l) {
    const Stage<T>& stage = stages_[l];
    const Out out = [=, last = l + 1 == stages_.size(),
                     at = l + 1 < stages_.size() ? saved_at_[l + 1] : 0](const Frame<T>& frame) {
      return last ? frame.output : frame.saved + at;
    };
    if (!stage.layer.upsamples) {
      const MakeEpilogue epilogue = [l, &stage](const Frame<T>& frame) {
        return Epilogue<T>{frame.biases[l], stage.layer.function, nullptr, Function::none};
      };
      add_correlation(plan, stage.to_output, packed_at_[l], input_of(l), epilogue, out);
      continue;
    }
    const int64_t unboxed = reserve(plan.arena_size, stage.unboxed.elements());
    const int64_t scratch = reserve(plan.arena_size, box_scratch(stage, true));
    const Out boxes = [=](const Frame<T>& frame) { return frame.arena + unboxed; };
    add_correlation(
        plan, stage.to_output, packed_at_[l], input_of(l),
        [](const Frame<T>&) { return Epilogue<T>{}; }, boxes);
    plan.steps.push_back(box_step<T>(stage, true, scratch, bias_row_at_[l], boxes, out));
  }
  plan.steps.push_back({1, false, [=](const Frame<T>& frame, int64_t) {
                          if (frame.output != frame.out.data) {
                            scatter_image(frame.output, output, frame.out);
                          }
                        }});
}

template <class T>
void Network<T>::add_gradients(Plan& plan, int64_t l, In big, In small, In grad_output) const {
  const Stage<T>& stage = stages_[l];
  plan.steps.push_back({stage.gradient.tasks(), true,
                        [=, &stage, at = sums_at_[l]](const Frame<T>& frame, int64_t task) {
                          stage.gradient.run(task, 1, big(frame), small(frame), frame.sums + at);
                        }});
  plan.steps.push_back(
      {1, true, [=, &stage, at = bias_sums_at_[l]](const Frame<T>& frame, int64_t) {
         const Size size = stage.output;
         sum_pixels(grad_output(frame), size.height * size.width, size.channels, size.channels,
                    frame.sums + at, true);
       }});
}

template <class T>
void Network<T>::plan_backward() {
  Plan& plan = backward_;
  const Size input = stages_.front().input, output = stages_.back().output;
  reserve(plan.arena_size, input.elements());
  // The gradient before the last layer's function.
  int64_t grad_at = reserve(plan.arena_size, output.elements());
  const int64_t y_at = reserve(plan.arena_size, output.elements());
  plan.steps.push_back({1, false, [=](const Frame<T>& frame, int64_t) {
                          if (frame.input == frame.arena) {
                            gather_image(frame.x, input, frame.arena);
                          }
                        }});
  const Function last = stages_.back().layer.function;
  plan.steps.push_back({1, false, [=](const Frame<T>& frame, int64_t) {
                          T* grad = frame.arena + grad_at;
                          gather_image(frame.grad_y, output, grad);
                          if (last == Function::none) return;
                          const T* y = frame.y.data;
                          if (!is_channels_last(frame.y, output)) {
                            gather_image(frame.y, output, frame.arena + y_at);
                            y = frame.arena + y_at;
                          }
                          apply_derivative(grad, y, output.elements(), last);
                        }});
  for (auto l = static_cast<int64_t>(stages_.size()) - 1; l >= 0; --l) {
    const Stage<T>& stage = stages_[l];
    const In grad = [=](const Frame<T>& frame) { return frame.arena + grad_at; };
    In read = grad;  // by the correlation back to the input
    if (stage.layer.upsamples) {
      const int64_t boxes_at = reserve(plan.arena_size, stage.unboxed.elements());
      const int64_t scratch = reserve(plan.arena_size, box_scratch(stage, false));
      const Out boxes = [=](const Frame<T>& frame) { return frame.arena + boxes_at; };
      plan.steps.push_back(box_step<T>(stage, false, scratch, 0, grad, boxes));
      read = boxes;
      add_gradients(plan, l, read, input_of(l), grad);
    } else {
      add_gradients(plan, l, input_of(l), read, grad);
    }
    const int64_t next_at = l > 0 ? reserve(plan.arena_size, stage.input.elements()) : 0;
    const Out out = [=](const Frame<T>& frame) {
      return l > 0 ? frame.arena + next_at : frame.grad_input;
    };
    const Function before = l > 0 ? stages_[l - 1].layer.function : Function::none;
    const MakeEpilogue epilogue = [=, at = saved_at_[l]](const Frame<T>& frame) {
      if (before == Function::none) return Epilogue<T>{};
      return Epilogue<T>{nullptr, Function::none, frame.saved + at, before};
    };
    add_correlation(plan, stage.to_input, packed_input_at_[l], read, epilogue, out);
    grad_at = next_at;
  }
  plan.output_at = reserve(plan.arena_size, input.elements());
  plan.steps.push_back({1, false, [=](const Frame<T>& frame, int64_t) {
                          if (frame.grad_input != frame.grad_x.data) {
                            scatter_image(frame.grad_input, input, frame.grad_x);
                          }
                        }});
}

template <class T>
template <class MakeFrame, class BeginChunk>
void Network<T>::run(const Plan& plan, int64_t batch, int64_t chunks, MakeFrame&& make_frame,
                     BeginChunk&& begin_chunk) const {
  const auto first = [&](int64_t chunk) { return batch * chunk / chunks; };
  // Picture by image, if the chunks keep all threads busy: then a image stays in one core's
  // cache. Otherwise step by step, the threads sharing each.
  const int64_t workers = std::min(threads(), chunks);
  const bool by_image = chunks >= 4 * threads() || chunks % threads() == 0;
  // Behind the arena there is room for the hidden functions of a forward that keeps none.
  const int64_t arena_size = plan.arena_size + saved_size_;
  const Buffer<T> arenas((by_image ? workers : batch) * arena_size);
  if (by_image) {
    // A forward leaves its last images in the cache: the backward takes them first.
    const Order order = &plan == &backward_ ? Order::falling : Order::rising;
    run_tasks(
        threads(), chunks,
        [&](int64_t chunk, int64_t thread) {
          begin_chunk(chunk);
          for (int64_t n = first(chunk); n < first(chunk + 1); ++n) {
            const Frame<T> frame = make_frame(n, chunk, arenas.data() + thread * arena_size);
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
      frames.push_back(make_frame(n, chunk, arenas.data() + n * arena_size));
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
void Network<T>::forward(int64_t batch, Images<const T> x, const T* const* weights,
                         const T* const* biases, Images<T> y, T* saved) const {
  if (batch == 0) return;
  const Buffer<T> packed(packed_size_);
  run_tasks(threads_for(packed_size_), static_cast<int64_t>(stages_.size()),
            [&](int64_t l, int64_t) {
              const Stage<T>& stage = stages_[l];
              for (int64_t task = 0; task < stage.to_output.pack_tasks(); ++task) {
                stage.to_output.pack(task, weights[l], packed.data() + packed_at_[l]);
              }
              T* row = packed.data() + bias_row_at_[l];
              for (int64_t i = 0; i < stage.output.width * stage.output.channels; ++i) {
                row[i] = biases[l] ? biases[l][i % stage.output.channels] : T(0);
              }
            });
  const Size in = stages_.front().input, out = output();
  const bool direct_in = is_channels_last(x, in), direct_out = is_channels_last(y, out);
  run(
      forward_, batch, batch,
      [&](int64_t n, int64_t, T* arena) {
        Frame<T> frame{};
        frame.x = at_image(x, n), frame.out = at_image(y, n);
        frame.input = direct_in ? frame.x.data : arena;
        frame.output = direct_out ? frame.out.data : arena + forward_.output_at;
        frame.arena = arena;
        frame.saved = saved ? saved + n * saved_size_ : arena + forward_.arena_size;
        frame.packed = packed.data(), frame.biases = biases;
        return frame;
      },
      [](int64_t) {});
}

template <class T>
void Network<T>::backward(int64_t batch, Images<const T> x, Images<const T> y,
                          Images<const T> grad_y, const T* saved, const T* const* weights,
                          T* const* grad_weights, T* const* grad_biases, Images<T> grad_x) const {
  if (batch == 0) return;
  const auto layers = static_cast<int64_t>(stages_.size());
  const Buffer<T> packed(packed_input_size_);
  run_tasks(threads_for(packed_input_size_), layers, [&](int64_t l, int64_t) {
    if (l == 0 && !grad_x.data) return;
    const Correlation<T>& to_input = stages_[l].to_input;
    for (int64_t task = 0; task < to_input.pack_tasks(); ++task) {
      to_input.pack(task, weights[l], packed.data() + packed_input_at_[l]);
    }
  });
  const int64_t chunks = chunks_of(batch, sums_size_ * static_cast<int64_t>(sizeof(T)));
  const Buffer<T> sums(chunks * sums_size_);
  const Size in = stages_.front().input;
  const bool direct_in = is_channels_last(x, in), direct_grad = is_channels_last(grad_x, in);
  run(
      backward_, batch, chunks,
      [&](int64_t n, int64_t chunk, T* arena) {
        Frame<T> frame{};
        frame.x = at_image(x, n), frame.y = at_image(y, n);
        frame.grad_y = at_image(grad_y, n), frame.grad_x = at_image(grad_x, n);
        frame.input = direct_in ? frame.x.data : arena;
        frame.grad_input =
            direct_grad || !grad_x.data ? frame.grad_x.data : arena + backward_.output_at;
        frame.arena = arena;
        frame.saved = const_cast<T*>(saved) + n * saved_size_;
        frame.sums = sums.data() + chunk * sums_size_;
        frame.packed = packed.data();
        return frame;
      },
      [&](int64_t chunk) { std::fill_n(sums.data() + chunk * sums_size_, sums_size_, T(0)); });
  std::vector<std::pair<int64_t, int64_t>>
      writes;  // layer, task; the task after the last: its bias
  for (int64_t l = 0; l < layers; ++l) {
    const int64_t tasks = stages_[l].gradient.write_tasks() + (grad_biases[l] ? 1 : 0);
    for (int64_t task = 0; task < tasks; ++task) writes.emplace_back(l, task);
  }
  run_tasks(threads_for(chunks * sums_size_), static_cast<int64_t>(writes.size()),
            [&](int64_t i, int64_t) {
              const auto [l, task] = writes[i];
              const WeightGradient<T>& gradient = stages_[l].gradient;
              if (task < gradient.write_tasks()) {
                gradient.write(task, sums.data() + sums_at_[l], chunks, sums_size_,
                               grad_weights[l]);
                return;
              }
              const int64_t channels = stages_[l].layer.out_channels;
              T* bias_sums = sums.data() + bias_sums_at_[l];
              sum_pixels(bias_sums, chunks, sums_size_, channels, bias_sums, false);
              for (int64_t c = 0; c < channels; ++c) grad_biases[l][c] += bias_sums[c];
            });
}

template class Network<float>;
template class Network<double>;

}  // namespace scratchnet
