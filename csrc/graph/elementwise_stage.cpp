// Element-wise functions as stages: those that no kernel applies to its own result.

#include "ops/elementwise.h"
#include "stage.h"

namespace scratchnet {
namespace {

template <class T>
class ElementWiseStage : public Stage<T> {
 public:
  ElementWiseStage(Size size, const ElementWise& function) : Stage<T>(size), function_(function) {
    if (is_of_output(function.row)) {
      this->reads_output_backward = true;
    } else {
      this->reads_inputs_backward = this->is_cheap = true;
    }
  }

  void forward(Plan<T>& plan, const Wires& wires) const override {
    plan.add_stretches(this->output.elements(), [function = function_, in = wires.in[0],
                                                 out = wires.out](const Frame<T>& frame,
                                                                  int64_t begin, int64_t end) {
      evaluate(function, frame.at(in) + begin, frame.at(out) + begin, end - begin);
    });
  }

  void backward(Plan<T>& plan, const Wires& wires) const override {
    const Target& target = wires.grad_in[0];
    if (!target.wanted) return;
    const Place v = this->reads_output_backward ? wires.out : wires.in[0];
    plan.add_stretches(this->output.elements(), [function = function_, v, from = wires.grad_out,
                                                 to = target.place](const Frame<T>& frame,
                                                                    int64_t begin, int64_t end) {
      differentiate(function, frame.at(from) + begin, frame.at(v) + begin, frame.at(to) + begin,
                    end - begin);
    });
  }

 private:
  ElementWise function_;
};

template <class T>
std::unique_ptr<Stage<T>> make(const std::vector<Size>& inputs, const Options& options) {
  expect(inputs.size() == 1, options.op, ": expected one value to read");
  const ElementWise function =
      element_wise(options.op, [&](const char* name) { return options.real(name); });
  return std::make_unique<ElementWiseStage<T>>(inputs[0], function);
}

const bool registered = [] {
  for (const FunctionRow& row : kFunctions) RegisterStage(row.name, &make<float>, &make<double>);
  return true;
}();

}  // namespace
}  // namespace scratchnet
