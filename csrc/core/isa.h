// Which instruction set the kernels use, chosen once, at run time. See each_isa.h.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__x86_64__)
#define SCRATCHNET_X86
#endif

namespace scratchnet {

struct Isa {
  const char* name;
  int64_t vector_bytes;
  bool usable;  // by this processor
};

enum IsaIndex : int { kGeneric, kAvx2, kAvx512 };

inline const std::vector<Isa>& instruction_sets() {  // by IsaIndex: the best one last
#ifdef SCRATCHNET_X86
  static const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  static const std::vector<Isa> all = {
      {"generic", 16, true},
      {"avx2", 32, avx2},
      {"avx512", 64,
       avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")}};
#else
  static const std::vector<Isa> all = {{"generic", 16, true}};
#endif
  return all;
}

// The best one that this processor has, or the one that the environment variable SCRATCHNET_ISA
// names. Throws std::runtime_error if that one is unknown or not there.
inline IsaIndex choose_isa() {
  const auto& all = instruction_sets();
  const char* variable = std::getenv("SCRATCHNET_ISA");
  const std::string wanted = variable ? variable : "", said = "SCRATCHNET_ISA=" + wanted;
  std::string names;
  for (auto i = static_cast<int>(all.size()) - 1; i >= 0; --i) {
    if (wanted.empty() ? all[i].usable : wanted == all[i].name) {
      if (all[i].usable) return static_cast<IsaIndex>(i);
      throw std::runtime_error(said +
                               ": this processor lacks these instructions; unset the variable");
    }
    names += (names.empty() ? "" : ", ") + std::string(all[i].name);
  }
  throw std::runtime_error(said + " is not an instruction set; choose one of " + names);
}

inline IsaIndex current_isa() {
  static const IsaIndex isa = choose_isa();
  return isa;
}

// Elements of a vector.
template <class T>
int64_t lanes() {
  return instruction_sets()[current_isa()].vector_bytes / static_cast<int64_t>(sizeof(T));
}

}  // namespace scratchnet
