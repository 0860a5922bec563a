#include "ops.h"

#include <algorithm>

#include "buffer.h"

namespace scratchnet {
namespace {

// Small pictures share a task, and thereby fill the tiles at their borders.
int64_t pictures_together(const Conv& conv, int64_t batch) {
  constexpr int64_t kPixels = 512;
  const int64_t pixels = std::max<int64_t>(conv.h.small * conv.w.small, 1);
  return std::clamp<int64_t>(kPixels / pixels, 1, std::max<int64_t>(batch, 1));
}

template <class T>
void run_correlation(const Pool& pool, const Correlation<T>& correlation, const Conv& conv,
                     int64_t batch, const T* in, int64_t in_size, const T* weight, const T* bias,
                     T* out, int64_t out_size) {
  if (batch == 0) return;
  const Buffer<T> packed(correlation.packed_size());
  run_tasks(pool_for(pool, correlation.packed_size()), correlation.pack_tasks(),
            [&](int64_t i, int64_t) { correlation.pack(i, weight, packed.data()); });
  const Buffer<T> products(batch * correlation.products_size());
  const int64_t together = pictures_together(conv, batch);
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
void conv_gradients(const Pool& pool, const Conv& conv, int64_t batch, const T* big, const T* small,
                    T* grad_weight, T* grad_bias) {
  const Kernels<T>& kernels = kernels_of<T>(current_isa());
  const WeightGradient<T> gradient(conv, plain_weight(conv));
  const int64_t size = gradient.sums_size(), channels = conv.small_channels;
  const int64_t chunks = chunks_of(batch, size * static_cast<int64_t>(sizeof(T)));
  const int64_t together = pictures_together(conv, batch);
  const Buffer<T> sums(grad_weight ? chunks * size : 0), bias_sums(chunks * channels);
  // A chunk's last task is its bias.
  const int64_t tasks = (grad_weight ? gradient.tasks() : 0) + (grad_bias ? 1 : 0);
  std::fill_n(sums.data(), grad_weight ? chunks * size : 0, T(0));
  std::fill_n(bias_sums.data(), chunks * channels, T(0));
  run_tasks(pool, chunks * tasks, [&](int64_t i, int64_t) {
    const int64_t chunk = i / tasks, task = i % tasks;
    const int64_t begin = batch * chunk / chunks, end = batch * (chunk + 1) / chunks;
    if (grad_bias && task == tasks - 1) {
      for (int64_t n = begin; n < end; ++n) {
        kernels.sum_pixels(small + n * conv.small_size(), conv.h.small * conv.w.small, channels,
                           channels, bias_sums.data() + chunk * channels, true);
      }
      return;
    }
    for (int64_t n = begin; n < end; n += together) {
      gradient.run(task, std::min(together, end - n), big + n * conv.big_size(),
                   small + n * conv.small_size(), sums.data() + chunk * size);
    }
  });
  if (grad_weight) {
    run_tasks(pool_for(pool, chunks * size), gradient.write_tasks(), [&](int64_t i, int64_t) {
      gradient.write(i, sums.data(), chunks, size, grad_weight);
    });
  }
  if (grad_bias) kernels.sum_pixels(bias_sums.data(), chunks, channels, channels, grad_bias, true);
}

#define SCRATCHNET_INSTANTIATE(T)                                                               \
  template void conv_down(const Pool&, const Conv&, int64_t, const T*, const T*, const T*, T*); \
  template void conv_up(const Pool&, const Conv&, int64_t, const T*, const T*, T*);             \
  template void conv_gradients(const Pool&, const Conv&, int64_t, const T*, const T*, T*, T*);
SCRATCHNET_INSTANTIATE(float)
SCRATCHNET_INSTANTIATE(double)

}  // namespace scratchnet
