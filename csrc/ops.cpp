#include "ops.h"

#include <algorithm>

#include "buffer.h"

namespace scratchnet {
namespace {

// Small pictures share a task, and thereby fill the tiles at their borders.
constexpr int64_t kGroupPixels = 512;

template <class T>
void run_correlation(const Pool& pool, const Correlation<T>& correlation, const Conv& conv,
                     int64_t batch, const T* in, int64_t in_size, const T* weight, const T* bias,
                     T* out, int64_t out_size) {
  if (batch == 0) return;
  const Buffer<T> packed(correlation.packed_size());
  correlation.pack(weight, packed.data());
  const Buffer<T> products(batch * correlation.products_size());
  const int64_t pixels = std::max<int64_t>(conv.h.small * conv.w.small, 1);
  const int64_t together = std::clamp<int64_t>(kGroupPixels / pixels, 1, batch);
  const int64_t groups = (batch + together - 1) / together;
  Epilogue<T> epilogue;
  epilogue.bias = bias;
  for (int64_t stage = 0; stage < correlation.stages(); ++stage) {
    const int64_t tasks = correlation.tasks(stage);
    run_tasks(pool, groups * tasks, [&](int64_t i, int64_t) {
      const int64_t first = i / tasks * together;
      correlation.run(stage, i % tasks, std::min(together, batch - first), in + first * in_size,
                      packed.data(), products.data() + first * correlation.products_size(),
                      epilogue, out + first * out_size);
    });
  }
}

}  // namespace

template <class T>
void conv_down(const Pool& pool, const Conv& conv, int64_t batch, const T* big, const T* weight,
               const T* bias, T* small) {
  const auto correlation = Correlation<T>::down(conv, plain_weight(conv));
  run_correlation(pool, correlation, conv, batch, big, conv.big_size(), weight, bias, small,
                  conv.small_size());
}

template <class T>
void conv_up(const Pool& pool, const Conv& conv, int64_t batch, const T* small, const T* weight,
             T* big) {
  const auto correlation = Correlation<T>::up(conv, plain_weight(conv));
  run_correlation<T>(pool, correlation, conv, batch, small, conv.small_size(), weight, nullptr, big,
                     conv.big_size());
}

template <class T>
void conv_grad_weight(const Pool& pool, const Conv& conv, int64_t batch, const T* big,
                      const T* small, T* grad_weight) {
  const WeightGradient<T> gradient(conv, plain_weight(conv));
  const int64_t size = gradient.sums_size(), tasks = gradient.tasks();
  const int64_t chunks = chunks_of(batch, size * static_cast<int64_t>(sizeof(T)));
  const Buffer<T> sums(chunks * size);
  std::fill(sums.data(), sums.data() + chunks * size, T(0));
  run_tasks(pool, chunks * tasks, [&](int64_t i, int64_t) {
    const int64_t chunk = i / tasks;
    for (int64_t n = batch * chunk / chunks; n < batch * (chunk + 1) / chunks; ++n) {
      gradient.run(i % tasks, big + n * conv.big_size(), small + n * conv.small_size(),
                   sums.data() + chunk * size);
    }
  });
  const Kernels<T>& kernels = kernels_of<T>(current_isa());
  constexpr int64_t kSlice = 4096;
  run_tasks(pool, (size + kSlice - 1) / kSlice, [&](int64_t i, int64_t) {
    T* slice = sums.data() + i * kSlice;
    kernels.sum_pixels(slice, chunks, size, std::min(kSlice, size - i * kSlice), slice, false);
  });
  run_tasks(pool, gradient.write_tasks(),
            [&](int64_t i, int64_t) { gradient.write(i, sums.data(), grad_weight); });
}

template <class T>
void conv_grad_bias(const Pool& pool, const Conv& conv, int64_t batch, const T* small,
                    T* grad_bias) {
  const Kernels<T>& kernels = kernels_of<T>(current_isa());
  const int64_t channels = conv.small_channels, pixels = conv.h.small * conv.w.small;
  const Buffer<T> sums(batch * channels);
  run_tasks(pool, batch, [&](int64_t n, int64_t) {
    kernels.sum_pixels(small + n * conv.small_size(), pixels, channels, channels,
                       sums.data() + n * channels, false);
  });
  kernels.sum_pixels(sums.data(), batch, channels, channels, grad_bias, false);
}

#define SCRATCHNET_INSTANTIATE(T)                                                               \
  template void conv_down(const Pool&, const Conv&, int64_t, const T*, const T*, const T*, T*); \
  template void conv_up(const Pool&, const Conv&, int64_t, const T*, const T*, T*);             \
  template void conv_grad_weight(const Pool&, const Conv&, int64_t, const T*, const T*, T*);    \
  template void conv_grad_bias(const Pool&, const Conv&, int64_t, const T*, T*);
SCRATCHNET_INSTANTIATE(float)
SCRATCHNET_INSTANTIATE(double)

}  // namespace scratchnet
