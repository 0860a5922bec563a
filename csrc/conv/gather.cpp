// The second half of a correlation with few out-channels: adding up the products of all taps. A
// vector of four lanes suits the handful of channels better than the wide ones.
#ifdef SCRATCHNET_KERNELS

#include "core/function_vec.h"

template <class T>
struct Four {
  typedef T type __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
};

// N channels and, if K is not 0, K taps known to the compiler.
template <class T, int N, int K>
void gather_row(const Correlate<T>& job, const T* start, const int64_t* taps, const T* in, T* out) {
  typedef typename Four<T>::type Vec4;
  const int64_t num_taps = K ? K : job.num_runs;
  Vec4 bias = {};
  for (int i = 0; start && i < N; ++i) bias[i] = start[i];
  for (int64_t c = 0; c < job.cols; ++c, in += job.in_col, out += job.out_col) {
    Vec4 sum = bias;
    for (int64_t k = 0; k < num_taps; ++k) sum += *reinterpret_cast<const Vec4*>(in + taps[k]);
    for (int i = 0; i < N; ++i) out[i] = sum[i];
  }
}

template <class T, int N>
void gather_rows(const Correlate<T>& job, int64_t first_channel) {
  int64_t taps[kMostGatheredTaps];
  for (int64_t k = 0; k < job.num_runs; ++k) {
    taps[k] = job.runs[k].in + job.runs[k].w * job.channels + first_channel;
  }
  for (int64_t r = 0; r < job.rows; ++r) {
    const T* in = job.in + r * job.in_row;
    T* out = job.out + r * job.out_row + first_channel;
    const T* bias = job.bias ? job.bias + first_channel : nullptr;
    switch (job.num_runs) {
      case 1:
        gather_row<T, N, 1>(job, bias, taps, in, out);
        break;
      case 2:
        gather_row<T, N, 2>(job, bias, taps, in, out);
        break;
      case 4:
        gather_row<T, N, 4>(job, bias, taps, in, out);
        break;
      case 9:
        gather_row<T, N, 9>(job, bias, taps, in, out);
        break;
      default:
        gather_row<T, N, 0>(job, bias, taps, in, out);
    }
  }
}

template <class T>
void gather_taps(const Correlate<T>& job) {
  for (int64_t o = 0; o < job.channels; o += 4) {
    switch (smaller(4, job.channels - o)) {
      case 1:
        gather_rows<T, 1>(job, o);
        break;
      case 2:
        gather_rows<T, 2>(job, o);
        break;
      case 3:
        gather_rows<T, 3>(job, o);
        break;
      case 4:
        gather_rows<T, 4>(job, o);
        break;
    }
  }
  if (job.function == Function::none && !job.returned) return;
  for (int64_t r = 0; r < job.rows; ++r) {
    for (int64_t c = 0; c < job.cols; ++c) {
      const int64_t at = r * job.out_row + c * job.out_col;
      if (job.function != Function::none) {
        apply(job.out + at, job.channels, job.function);
      }
      if (job.returned)
        apply_derivative(job.out + at, job.returned + at, job.channels, job.derivative_of);
    }
  }
}

#else

#include "kernels.h"

#include "core/each_isa.h"

namespace scratchnet {

template <class T>
void gather_taps(const Correlate<T>& job) {
  SCRATCHNET_BEST(gather_taps<T>)(job);
}
template void gather_taps(const Correlate<float>& job);
template void gather_taps(const Correlate<double>& job);

}  // namespace scratchnet

#endif
