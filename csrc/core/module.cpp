#include "binding.h"
#include "isa.h"

PYBIND11_MODULE(_C, m) {
  using namespace scratchnet;
  m.doc() = "C++ kernels; the Python beside them says how they are called.";
  m.def(
      "isa", [] { return instruction_sets()[current_isa()].name; }, "The instruction set in use.");
  m.def(
      "instruction_sets",
      [] {
        std::vector<std::string> names;
        for (auto isa = instruction_sets().rbegin(); isa != instruction_sets().rend(); ++isa) {
          if (isa->usable) names.emplace_back(isa->name);
        }
        return names;
      },
      "Those that this processor has, the best first.");
  m.def(
      "threads_runtime",
      [] {
        Torch::get();  // loaded by now: what is found is remembered
        return openmp().path;
      },
      "The OpenMP runtime whose threads are used, torch's; empty if none is loaded, then there is "
      "one thread.");
  for (const Binder bind : binders()) bind(m);
}
