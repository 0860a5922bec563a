// Sums over a moving window: rows first, then columns. A row's pixels and channels are one stretch
// of memory, so the lanes are full whatever the number of channels.
#ifdef SCRATCHNET_KERNELS

#include "core/function_vec.h"

// out[i] = sum over k < count of in[i + k * step], then what `finish` makes of it. The last vector
// may overlap the one before it, so `out` must not be `in`.
template <class T, class Finish>
SCRATCHNET_INLINE void sum_shifted(const T* in, int64_t count, int64_t step, T* out, int64_t size,
                                   Finish&& finish) {
  constexpr int64_t L = kLanes<T>;
  if (size < L) {
    Vec<T> sum = load_first(in, size);
    for (int64_t k = 1; k < count; ++k) sum += load_first(in + k * step, size);
    return store_first(out, finish(sum, 0, size), size);
  }
  for (int64_t at = 0; at < size; at += L) {
    const int64_t i = smaller(at, size - L);
    Vec<T> sum = load(in + i);
    if (count == 2) {  // by far the most frequent
      sum += load(in + i + step);
    } else {
      for (int64_t k = 1; k < count; ++k) sum += load(in + i + k * step);
    }
    store(out + i, finish(sum, i, L));
  }
}

// out[i] = the four values around it, of two rows, then what `finish` makes of them: a window of
// 2x2 wholly inside the image, which is what upsampling by 2 needs, in one pass.
template <class T, class Finish>
SCRATCHNET_INLINE void sum_four(const T* in, int64_t row, int64_t step, T* out, int64_t size,
                                Finish&& finish) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t at = 0; at < size; at += L) {
    const int64_t i = smaller(at, size - L);
    const T* below = in + row + i;
    prefetch(out + size + i);  // the next row
    const Vec<T> left = load(in + i) + load(below),
                 right = load(in + i + step) + load(below + step);
    store(out + i, finish(left + right, i, L));
  }
}

template <class T>
struct Nothing {
  Vec<T> operator()(Vec<T> sum, int64_t, int64_t) const { return sum; }
};

template <class T, Function A>
void box_with(const Box<T>& job) {
  const int64_t in_size = job.in_cols * job.channels, out_size = job.out_cols * job.channels;
  const int64_t margin = job.pad_w * job.channels;
  T* column_sums = job.scratch + margin;
  for (int64_t i = 0; i < margin; ++i) job.scratch[i] = column_sums[in_size + i] = 0;
  const auto finish = [&job](Vec<T> sum, int64_t i, int64_t n) SCRATCHNET_TARGET {
    if (job.bias) sum += load_first(job.bias + i, n);
    return function_vec<T>(sum, A);
  };
  const bool four = job.window_h == 2 && job.window_w == 2 && job.pad_h == 0 && job.pad_w == 0 &&
                    out_size >= kLanes<T>;
  for (int64_t r = job.first_row; r < job.end_row; ++r) {
    if (four) {
      sum_four(job.in + r * in_size, in_size, job.channels, job.out + r * out_size, out_size,
               finish);
      continue;
    }
    const int64_t top = r - job.pad_h;
    const int64_t begin = top < 0 ? 0 : top, end = smaller(top + job.window_h, job.in_rows);
    sum_shifted(job.in + begin * in_size, end - begin, in_size, column_sums, in_size, Nothing<T>());
    sum_shifted(job.scratch, job.window_w, job.channels, job.out + r * out_size, out_size, finish);
  }
}

template <class T>
void box(const Box<T>& job) {
  switch (job.function) {
    case Function::none:
      return box_with<T, Function::none>(job);
    case Function::relu:
      return box_with<T, Function::relu>(job);
    case Function::sigmoid:
      return box_with<T, Function::sigmoid>(job);
  }
}

#else

#include "box.h"

#include "core/each_isa.h"

namespace scratchnet {

template <class T>
void box(const Box<T>& job) {
  SCRATCHNET_BEST(box<T>)(job);
}
template void box(const Box<float>& job);
template void box(const Box<double>& job);

}  // namespace scratchnet

#endif
