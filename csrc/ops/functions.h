// The element-wise functions by name: what functions_vec.h computes.
#pragma once

#include <array>
#include <cstring>

namespace scratchnet {

// row(name, structure, its options, at most two)
#define SCRATCHNET_FUNCTIONS(row)                      \
  row(celu, Celu, "alpha", nullptr)                    \
  row(elu, Elu, "alpha", nullptr)                      \
  row(gelu, Gelu, nullptr, nullptr)                    \
  row(gelu_tanh, GeluTanh, nullptr, nullptr)           \
  row(hardshrink, Hardshrink, "lambd", nullptr)        \
  row(hardsigmoid, Hardsigmoid, nullptr, nullptr)      \
  row(hardswish, Hardswish, nullptr, nullptr)          \
  row(hardtanh, Hardtanh, "min_val", "max_val")        \
  row(leaky_relu, LeakyRelu, "negative_slope", nullptr)\
  row(logsigmoid, LogSigmoid, nullptr, nullptr)        \
  row(mish, Mish, nullptr, nullptr)                    \
  row(relu, Relu, nullptr, nullptr)                    \
  row(relu6, Relu6, nullptr, nullptr)                  \
  row(selu, Selu, nullptr, nullptr)                    \
  row(sigmoid, Sigmoid, nullptr, nullptr)              \
  row(silu, Silu, nullptr, nullptr)                    \
  row(softplus, Softplus, "beta", "threshold")         \
  row(softshrink, Softshrink, "lambd", nullptr)        \
  row(softsign, Softsign, nullptr, nullptr)            \
  row(tanh, Tanh, nullptr, nullptr)                    \
  row(tanhshrink, Tanhshrink, nullptr, nullptr)        \
  row(threshold, Threshold, "threshold", "value")

struct FunctionRow {
  const char* name;
  std::array<const char*, 2> options;
};
#define SCRATCHNET_ROW(name, structure, first, second) FunctionRow{#name, {first, second}},
constexpr FunctionRow kFunctions[] = {SCRATCHNET_FUNCTIONS(SCRATCHNET_ROW)};
#undef SCRATCHNET_ROW

// A row of the table, and the values of its options in the same order.
struct ElementWise {
  int row;
  std::array<double, 2> options;
};

// Functions whose derivative is taken from what they returned; of the others, from what they read.
inline bool is_of_output(int row) {
  for (const char* name : {"hardtanh", "relu", "relu6", "sigmoid", "tanh"}) {
    if (std::strcmp(name, kFunctions[row].name) == 0) return true;
  }
  return false;
}

}  // namespace scratchnet
