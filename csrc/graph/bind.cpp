#include "core/binding.h"
#include "graph.h"

namespace scratchnet {
namespace {

using Spec = std::tuple<std::string, std::vector<int64_t>, py::dict>;

std::unique_ptr<Graph> graph_of(const std::vector<Spec>& stages, std::array<int64_t, 3> input,
                                bool is_double) {
  std::vector<StageSpec> specs;
  for (const auto& [op, reads, options] : stages) {
    StageSpec& spec = specs.emplace_back(StageSpec{op, reads, {}});
    for (const auto& [name, value] : options) {
      if (value.is_none()) continue;
      auto& numbers = spec.options[name.template cast<std::string>()];
      if (py::isinstance<py::sequence>(value)) {
        numbers = value.template cast<std::vector<double>>();
      } else {
        numbers = {value.template cast<double>()};
      }
    }
  }
  return make_graph(specs, {input[0], input[1], input[2]}, is_double);
}

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  const auto no_gil = py::call_guard<WithoutGil>();
  py::class_<Kept, std::shared_ptr<Kept>>(m, "Kept", "What a forward keeps for its backward.");
  py::class_<Graph>(m, "Graph",
                    "Stages run as one: (op, the values it reads, options), where value 0 is the "
                    "input and value i + 1 what stage i made; for one size (C, H, W) of images.")
      .def(py::init(&graph_of), py::arg("stages"), py::arg("input_size"), py::arg("is_double"))
      .def_property_readonly("output_size",
                             [](const Graph& graph) {
                               const Size size = graph.output();
                               return std::tuple(size.channels, size.height, size.width);
                             })
      .def("forward", &Graph::forward, no_gil, py::arg("x"), py::arg("parameters"), py::arg("y"),
           py::arg("keep"), "Write y; return what the backward needs, if `keep`.")
      .def("backward", &Graph::backward, no_gil, py::arg("x"), py::arg("y"), py::arg("grad_y"),
           py::arg("kept"), py::arg("parameters"), py::arg("grads"), py::arg("grad_x"),
           "Add to those grads that are not None, and write grad_x unless it is None.");
}
