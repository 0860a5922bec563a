// Sums over pixels: the bias gradient, and the adding up of gradient sums.
#ifdef SCRATCHNET_KERNELS

// Fewer channels than half the lanes: channels * lanes consecutive elements are whole pixels, so
// that many vectors of sums always meet the same channels in the same lanes.
template <class T, int C>
void sum_few_channels(const T* image, int64_t pixels, T* sums, bool accumulate) {
  constexpr int L = kLanes<T>;
  Vec<T> sum[C];
  SCRATCHNET_UNROLL
  for (int c = 0; c < C; ++c) sum[c] = Vec<T>{};
  int64_t p = 0;
  for (; p + L <= pixels; p += L, image += C * L) {
    SCRATCHNET_UNROLL
    for (int c = 0; c < C; ++c) sum[c] += load(image + c * L);
  }
  T total[C];
  SCRATCHNET_UNROLL
  for (int c = 0; c < C; ++c) total[c] = 0;
  for (int i = 0; i < C * L; ++i) total[i % C] += sum[i / L][i % L];
  for (; p < pixels; ++p) {
    SCRATCHNET_UNROLL
    for (int c = 0; c < C; ++c) total[c] += *image++;
  }
  SCRATCHNET_UNROLL
  for (int c = 0; c < C; ++c) sums[c] = total[c] + (accumulate ? sums[c] : T(0));
}

template <class T>
void sum_pixels(const T* image, int64_t pixels, int64_t step, int64_t channels, T* sums,
                bool accumulate) {
  constexpr int64_t L = kLanes<T>;
  if (step == channels && channels == 1)
    return sum_few_channels<T, 1>(image, pixels, sums, accumulate);
  if (step == channels && channels == 3)
    return sum_few_channels<T, 3>(image, pixels, sums, accumulate);
  for (int64_t c = 0; c < channels; c += L) {
    const int64_t n = smaller(L, channels - c);
    const Mask<T> mask = first_lanes<T>(n);
    // Four sums that do not wait for each other, and round less than one.
    Vec<T> sum[4] = {};
    int64_t p = 0;
    for (; p + 4 <= pixels; p += 4) {
      SCRATCHNET_UNROLL
      for (int i = 0; i < 4; ++i) sum[i] += load_masked(image + (p + i) * step + c, mask);
    }
    for (; p < pixels; ++p) sum[0] += load_masked(image + p * step + c, mask);
    Vec<T> total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    if (accumulate) total += load_masked(sums + c, mask);
    store_first(sums + c, total, n);
  }
}

#else

#include "kernels.h"

#include "core/each_isa.h"

namespace scratchnet {

template <class T>
void sum_pixels(const T* image, int64_t pixels, int64_t step, int64_t channels, T* sums,
                bool accumulate) {
  SCRATCHNET_BEST(sum_pixels<T>)(image, pixels, step, channels, sums, accumulate);
}
template void sum_pixels(const float* image, int64_t pixels, int64_t step, int64_t channels,
                         float* sums, bool accumulate);
template void sum_pixels(const double* image, int64_t pixels, int64_t step, int64_t channels,
                         double* sums, bool accumulate);

}  // namespace scratchnet

#endif
