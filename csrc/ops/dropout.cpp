// Dropout: y = x * scale + shift where x is kept, else fill.
#ifdef SCRATCHNET_KERNELS

#include "core/random.h"

// The elements at the places first .. first + size - 1, each with random bits of its own.
template <class T>
void drop(const Dropping& how, const T* x, T* y, int64_t first, int64_t size) {
  constexpr int64_t kBlock = 256;
  uint32_t bits[kBlock];
  const auto scale = static_cast<T>(how.scale), shift = static_cast<T>(how.shift),
             fill = static_cast<T>(how.fill);
  const auto limit = static_cast<uint32_t>(how.limit);
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    const int64_t n = smaller(kBlock, size - begin);
    random_bits(how.seed, static_cast<uint64_t>(first + begin), kBlock, bits);
    const T* from = x + begin;
    T* to = y + begin;
    for (int64_t i = 0; i < n; ++i) {
      const T value = from[i] * scale + shift;
      to[i] = bits[i] >= limit ? value : fill;
    }
  }
}

#else

#include <algorithm>

#include "core/binding.h"

namespace scratchnet {
struct Dropping {
  uint64_t limit;  // kept are the places whose random bits are at least this
  uint64_t seed;
  double scale, shift, fill;
};
}  // namespace scratchnet

#include "core/each_isa.h"

namespace scratchnet {
namespace {

constexpr int64_t kStretch = 1 << 14;  // elements that a thread does at a time

// together: neighbours that share a place, and so are all kept or all dropped.
void dropout(const Tensor& x, const Tensor& y, uint64_t limit, uint64_t seed, double scale,
             double shift, double fill, int64_t together) {
  const Dropping how{limit, seed, scale, shift, fill};
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = contiguous<T>(x, x.sizes, "x");
    T* to = contiguous<T>(y, x.sizes, "y");
    if (limit > UINT32_MAX) {
      std::fill(to, to + y.numel(), static_cast<T>(fill));
    } else if (together == 1) {
      run_stretches(x.numel(), kStretch, [&](int64_t begin, int64_t end) {
        SCRATCHNET_BEST(drop<T>)(how, from + begin, to + begin, begin, end - begin);
      });
    } else if (x.numel() > 0) {
      run_tasks(threads_for(x.numel()), x.numel() / together, [&](int64_t place, int64_t) {
        const T* first = from + place * together;
        T kept, one = 1;
        SCRATCHNET_BEST(drop<T>)({limit, seed, 1, 0, 0}, &one, &kept, place, 1);
        std::transform(first, first + together, to + place * together, [&](T value) {
          return kept != 0 ? value * static_cast<T>(scale) + static_cast<T>(shift)
                           : static_cast<T>(fill);
        });
      });
    }
  });
}

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(module) { scratchnet::def(module, "dropout", scratchnet::dropout); }

#endif
