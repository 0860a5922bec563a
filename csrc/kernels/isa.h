// The body of every per-instruction-set file: the kernels in a namespace of their own, and their
// table. Everything in here is static or a template in that namespace, and nothing from the
// standard library is instantiated: an inline function shared between these files could end up as
// the copy with the widest instructions in it.

#include <cstdint>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "../kernels.h"

namespace scratchnet {
namespace SCRATCHNET_ISA {

// clang-format off
#include "vec.h"
#include "activation.h"
#include "box.h"
#include "correlate.h"
#include "depthwise.h"
#include "gather.h"
#include "layout.h"
#include "outer.h"
#include "sums.h"
// clang-format on

template <class T>
static constexpr Kernels<T> table() {
  return {kLanes<T>,     pack<T>,     correlate<T>,          gather_taps<T>,
          depthwise<T>,  outer<T>,    depthwise_gradient<T>, box<T>,
          sum_pixels<T>, activate<T>, interleave<T>,         deinterleave<T>,
          apply_gate<T>};
}

extern const Isa isa;
const Isa isa = {SCRATCHNET_ISA_NAME, table<float>(), table<double>()};

}  // namespace SCRATCHNET_ISA
}  // namespace scratchnet
