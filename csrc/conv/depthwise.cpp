// Convolutions of each channel by itself: nothing to sum over but the taps, so the channels lie
// along the vectors, and memory decides.
#ifdef SCRATCHNET_KERNELS

#include "core/function_vec.h"

// P pixels share each vector of weights.
template <class T, int P>
void depthwise_pixels(const Correlate<T>& job, const T* in, T* out, const T* returned) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t c = 0; c < job.channels; c += L) {
    const int64_t real = smaller(L, job.channels - c);
    const Mask<T> mask = first_lanes<T>(real);
    const Vec<T> bias = job.bias ? load_masked(job.bias + c, mask) : Vec<T>{};
    Vec<T> sum[P];
    SCRATCHNET_UNROLL
    for (int p = 0; p < P; ++p) sum[p] = bias;
    for (int64_t r = 0; r < job.num_runs; ++r) {
      const T* from = in + job.runs[r].in + c;
      const Vec<T> weight = load(job.packed + job.runs[r].w * job.vectors * L + c);
      SCRATCHNET_UNROLL
      for (int p = 0; p < P; ++p) sum[p] += load_masked(from + p * job.in_col, mask) * weight;
    }
    SCRATCHNET_UNROLL
    for (int p = 0; p < P; ++p) {
      Vec<T> y = function_vec<T>(sum[p], job.function);
      if (returned)
        y = derivative_vec<T>(y, load_masked(returned + p * job.out_col + c, mask),
                              job.derivative_of);
      store_masked(out + p * job.out_col + c, y, mask);
    }
  }
}

template <class T>
void depthwise(const Correlate<T>& job) {
  constexpr int64_t P = 4;
  for (int64_t row = 0, r = 0, n = 0; row < job.images * job.rows; ++row) {
    const T* in = job.in + n * job.in_image + r * job.in_row;
    const int64_t at = n * job.out_image + r * job.out_row;
    if (++r == job.rows) r = 0, ++n;
    T* out = job.out + at;
    const T* returned = job.returned ? job.returned + at : nullptr;
    int64_t c = 0;
    const auto step = [&](int64_t pixels) {
      c += pixels, in += pixels * job.in_col, out += pixels * job.out_col;
      if (returned) returned += pixels * job.out_col;
    };
    for (; c + P <= job.cols; step(P)) depthwise_pixels<T, P>(job, in, out, returned);
    for (; c < job.cols; step(1)) depthwise_pixels<T, 1>(job, in, out, returned);
  }
}

// sums[c] += sum over a rectangle of pixels of a[pixel, c] * b[pixel, c]: one tap's gradient.
template <class T>
void depthwise_gradient(const Outer<T>& job) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t c = 0; c < job.b_channels; c += L) {
    const Mask<T> mask = first_lanes<T>(smaller(L, job.b_channels - c));
    Vec<T> total = {};
    for (int64_t row = 0, r = 0, n = 0; row < job.images * job.rows; ++row) {
      const T* a = job.a + n * job.a_image + r * job.a_row + c;
      const T* b = job.b + n * job.b_image + r * job.b_row + c;
      if (++r == job.rows) r = 0, ++n;
      // Each row by itself, and in it four sums that do not wait for each other.
      Vec<T> sum[4] = {};
      int64_t i = 0;
      for (; i + 4 <= job.cols; i += 4) {
        SCRATCHNET_UNROLL
        for (int k = 0; k < 4; ++k, a += job.a_col, b += job.b_col) {
          sum[k] += load_masked(a, mask) * load_masked(b, mask);
        }
      }
      for (; i < job.cols; ++i, a += job.a_col, b += job.b_col) {
        sum[0] += load_masked(a, mask) * load_masked(b, mask);
      }
      total += (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
    store(job.sums + c, load(job.sums + c) + total);
  }
}

#else

#include "kernels.h"

#include "core/each_isa.h"

namespace scratchnet {

template <class T>
void depthwise(const Correlate<T>& job) {
  SCRATCHNET_BEST(depthwise<T>)(job);
}
template void depthwise(const Correlate<float>& job);
template void depthwise(const Correlate<double>& job);

template <class T>
void depthwise_gradient(const Outer<T>& job) {
  SCRATCHNET_BEST(depthwise_gradient<T>)(job);
}
template void depthwise_gradient(const Outer<float>& job);
template void depthwise_gradient(const Outer<double>& job);

}  // namespace scratchnet

#endif
