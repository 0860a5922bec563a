// The convolution as a stage, alone or after nearest upsampling by `scale` (then with stride 1).

#include "box.h"
#include "conv/correlation.h"
#include "stage.h"

namespace scratchnet {
namespace {

constexpr int64_t kTaskRows = 16;  // of a box sum

template <class T>
class ConvStage : public Stage<T> {
 public:
  // `conv` goes down from the input to the output. With upsampling it goes up from the input to an
  // image slightly larger than the output, `unboxed`, whose box sums are the output: see
  // docs/adr/0007-upsampling-algebra.md.
  ConvStage(Size input, Size output, const Conv& conv, const WeightLayout& weight, Pair scale,
            bool upsamples)
      : Stage<T>(output),
        input_(input),
        unboxed_{output.channels, conv.h.big, conv.w.big},
        scale_(scale),
        upsamples_(upsamples),
        to_output_(upsamples ? Correlation<T>::up(conv, weight)
                             : Correlation<T>::down(conv, weight)),
        to_input_(upsamples ? Correlation<T>::down(conv, weight)
                            : Correlation<T>::up(conv, weight)),
        gradient_(conv, weight),
        bias_row_at_(aligned_size(to_output_.packed_size())),
        bias_sums_at_(aligned_size(gradient_.sums_size())) {
    this->parameters = {{output.channels, input.channels / conv.groups, conv.h.taps, conv.w.taps},
                        {output.channels}};
    this->fuses = this->reads_inputs_backward = true;
  }

  void forward(Plan<T>& plan, const Wires& wires) const override {
    const int64_t bias = wires.parameter + 1;
    const Function function = wires.function;
    if (!upsamples_) {
      correlate(plan, to_output_, wires.in[0], wires.packed, wires.out, [=](const Frame<T>& frame) {
        return Epilogue<T>{frame.parameters[bias], function, nullptr, Function::none};
      });
      return;
    }
    const Place unboxed = plan.scratch(unboxed_.elements());
    correlate(plan, to_output_, wires.in[0], wires.packed, unboxed,
              [](const Frame<T>&) { return Epilogue<T>{}; });
    add_boxes(plan, unboxed_, unboxed, this->output, wires.out, {0, 0}, function,
              wires.packed + bias_row_at_);
  }

  void backward(Plan<T>& plan, const Wires& wires) const override {
    Place grad = wires.grad_out;
    if (upsamples_) {
      grad = plan.scratch(unboxed_.elements());
      add_boxes(plan, this->output, wires.grad_out, unboxed_, grad, {scale_[0] - 1, scale_[1] - 1},
                Function::none, -1);
    }
    const Place big = upsamples_ ? grad : wires.in[0], small = upsamples_ ? wires.in[0] : grad;
    const int64_t weight = wires.parameter;
    plan.add_summing(gradient_.tasks(), [=](const Frame<T>& frame, int64_t task) {
      if (!frame.grads[weight]) return;
      gradient_.run(task, 1, frame.at(big), frame.at(small), frame.sums + wires.sums);
    });
    plan.add_summing(1, [=, size = this->output](const Frame<T>& frame, int64_t) {
      if (!frame.grads[weight + 1]) return;
      sum_pixels(frame.at(wires.grad_out), size.height * size.width, size.channels, size.channels,
                 frame.sums + wires.sums + bias_sums_at_, true);
    });
    const Target& target = wires.grad_in[0];
    if (!target.wanted) return;
    correlate(plan, to_input_, grad, wires.packed, target.place, [=](const Frame<T>& frame) {
      if (target.derivative_of == Function::none) return Epilogue<T>{};
      return Epilogue<T>{nullptr, Function::none, frame.at(target.returned), target.derivative_of};
    });
  }

  int64_t packed_size(bool backward) const override {
    return backward ? to_input_.packed_size()
                    : bias_row_at_ + this->output.width * this->output.channels;
  }
  void pack(bool backward, const T* const* parameters, T* packed) const override {
    const Correlation<T>& correlation = backward ? to_input_ : to_output_;
    for (int64_t task = 0; task < correlation.pack_tasks(); ++task) {
      correlation.pack(task, parameters[0], packed);
    }
    if (backward) return;
    const int64_t channels = this->output.channels;
    for (int64_t i = 0; i < this->output.width * channels; ++i) {
      packed[bias_row_at_ + i] = parameters[1] ? parameters[1][i % channels] : T(0);
    }
  }

  int64_t sums_size() const override { return bias_sums_at_ + this->output.channels; }
  int64_t write_tasks() const override { return gradient_.write_tasks() + 1; }
  void write(int64_t task, T* sums, int64_t chunks, int64_t step, T* const* grads) const override {
    if (task < gradient_.write_tasks()) {
      if (grads[0]) gradient_.write(task, sums, chunks, step, grads[0]);
    } else if (grads[1]) {
      T* bias = sums + bias_sums_at_;
      sum_pixels(bias, chunks, step, this->output.channels, bias, false);
      for (int64_t c = 0; c < this->output.channels; ++c) grads[1][c] += bias[c];
    }
  }

 private:
  template <class MakeEpilogue>
  static void correlate(Plan<T>& plan, const Correlation<T>& correlation, Place in, int64_t packed,
                        Place out, MakeEpilogue epilogue) {
    const Place products = plan.scratch(correlation.products_size());
    for (int64_t part = 0; part < correlation.stages(); ++part) {
      plan.add(correlation.tasks(part), [=, &correlation](const Frame<T>& frame, int64_t task) {
        correlation.run(part, task, 1, frame.at(in), frame.packed + packed, frame.at(products),
                        epilogue(frame), frame.at(out));
      });
    }
  }

  // Sums over windows of `scale` pixels; a negative bias_row is none.
  void add_boxes(Plan<T>& plan, Size from, Place in, Size to, Place out, Pair pad,
                 Function function, int64_t bias_row) const {
    const int64_t tasks = (to.height + kTaskRows - 1) / kTaskRows;
    const int64_t task_scratch = aligned_size((from.width + 2 * pad[1]) * from.channels);
    const Place scratch = plan.scratch(tasks * task_scratch);
    plan.add(tasks, [=, scale = scale_](const Frame<T>& frame, int64_t task) {
      box<T>({frame.at(in), frame.at(out), frame.at(scratch) + task * task_scratch,
              bias_row < 0 ? nullptr : frame.packed + bias_row, from.height, from.width, to.width,
              to.channels, scale[0], scale[1], pad[0], pad[1], task * kTaskRows,
              std::min((task + 1) * kTaskRows, to.height), function});
    });
  }

  Size input_, unboxed_;
  Pair scale_;
  bool upsamples_;
  Correlation<T> to_output_, to_input_;
  WeightGradient<T> gradient_;
  int64_t bias_row_at_, bias_sums_at_;
};

struct Geometry {
  int64_t out_channels, groups;
  Pair taps, stride, padding, dilation;

  Geometry(Size input, const Options& options)
      : out_channels(options.number("out_channels")),
        groups(options.number("groups")),
        taps(options.pair("kernel_size")),
        stride(options.pair("stride")),
        padding(options.pair("padding")),
        dilation(options.pair("dilation")) {
    expect(groups > 0 && input.channels % groups == 0 && out_channels % groups == 0, groups,
           " groups do not divide ", input.channels, " and ", out_channels, " channels");
  }
};

template <class T>
std::unique_ptr<Stage<T>> make_conv(const std::vector<Size>& inputs, const Options& options) {
  const Size input = inputs.at(0);
  const Geometry g(input, options);
  const auto axis = [&](int64_t in, int i) {
    return conv_axis(in, g.taps[i], g.stride[i], g.padding[i], g.dilation[i]);
  };
  const Conv conv{g.groups, input.channels, g.out_channels, axis(input.height, 0),
                  axis(input.width, 1), options.number("winograd", 0) != 0};
  expect_computable(conv);
  return std::make_unique<ConvStage<T>>(input, Size{g.out_channels, conv.h.small, conv.w.small},
                                        conv, plain_weight(conv), Pair{1, 1}, false);
}

template <class T>
std::unique_ptr<Stage<T>> make_upsample_conv(const std::vector<Size>& inputs,
                                             const Options& options) {
  const Size input = inputs.at(0);
  const Geometry g(input, options);
  const Pair scale = options.pair("scale");
  expect(scale[0] > 0 && scale[1] > 0 && g.stride == Pair{1, 1},
         "upsample_conv2d: expected a scale of at least 1 and stride 1");
  const auto axis = [&](int64_t in, int i) {
    const Axis plain = conv_axis(in * scale[i], g.taps[i], 1, g.padding[i], g.dilation[i]);
    const int64_t padding = g.dilation[i] * (g.taps[i] - 1) - g.padding[i] - (scale[i] - 1);
    return Axis{plain.small + scale[i] - 1, in, g.taps[i], scale[i], padding, g.dilation[i]};
  };
  const Conv conv{g.groups, g.out_channels, input.channels, axis(input.height, 0),
                  axis(input.width, 1)};
  // The weight (out_channels, in_channels / groups, taps_h, taps_w) in the terms of `conv`: its
  // small image is the input, and it meets the taps in reverse order.
  const int64_t taps = conv.taps(), in = input.channels / g.groups;
  const WeightLayout weight{taps - 1,     taps, in * taps,
                            -conv.w.taps, -1,   g.out_channels / g.groups * in * taps};
  const Size output{g.out_channels, conv.h.big - scale[0] + 1, conv.w.big - scale[1] + 1};
  return std::make_unique<ConvStage<T>>(input, output, conv, weight, scale, true);
}

SCRATCHNET_STAGE("conv2d", make_conv);
SCRATCHNET_STAGE("upsample_conv2d", make_upsample_conv);

}  // namespace
}  // namespace scratchnet
