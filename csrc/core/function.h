// Element-wise functions that a kernel can apply to its result before it is written.
#pragma once

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

namespace scratchnet {

enum class Function : int { none, relu, sigmoid };

constexpr std::array<const char*, 3> kFunctionNames{"none", "relu", "sigmoid"};

inline const char* name_of(Function function) {
  return kFunctionNames[static_cast<size_t>(function)];
}

inline bool is_function(const std::string& name) {
  return name != kFunctionNames[0] &&
         std::find(kFunctionNames.begin(), kFunctionNames.end(), name) != kFunctionNames.end();
}

inline Function function_named(const std::string& name) {
  for (size_t i = 0; i < kFunctionNames.size(); ++i) {
    if (name == kFunctionNames[i]) return static_cast<Function>(i);
  }
  throw std::invalid_argument("there is no element-wise function " + name);
}

}  // namespace scratchnet
