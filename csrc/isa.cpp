#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.h"

namespace scratchnet {

namespace generic {
extern const Isa isa;
}
#ifdef SCRATCHNET_X86
namespace avx2 {
extern const Isa isa;
}
namespace avx512 {
extern const Isa isa;
}
#endif

namespace {

struct Candidate {
  const Isa* isa;
  bool usable;
};

std::vector<Candidate> candidates() {
#ifdef SCRATCHNET_X86
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl");
  return {{&avx512::isa, avx512}, {&avx2::isa, avx2}, {&generic::isa, true}};
#else
  return {{&generic::isa, true}};
#endif
}

const Isa& choose() {
  const char* wanted = std::getenv("SCRATCHNET_ISA");
  std::string names;
  for (const Candidate& candidate : candidates()) {
    if (wanted && *wanted && std::strcmp(wanted, candidate.isa->name) != 0) {
      names += std::string(names.empty() ? "" : ", ") + candidate.isa->name;
      continue;
    }
    if (candidate.usable) return *candidate.isa;
    if (wanted && *wanted) {
      throw std::runtime_error("SCRATCHNET_ISA=" + std::string(wanted) +
                               ": this processor lacks these instructions; unset the variable");
    }
  }
  throw std::runtime_error("SCRATCHNET_ISA=" + std::string(wanted) +
                           " is not an instruction set; choose one of " + names);
}

}  // namespace

const Isa& current_isa() {
  static const Isa& isa = choose();
  return isa;
}

const char* usable_isa(int i) {
  for (const Candidate& candidate : candidates()) {
    if (candidate.usable && i-- == 0) return candidate.isa->name;
  }
  return nullptr;
}

}  // namespace scratchnet
