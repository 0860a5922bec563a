// The weight gradient of one tap: a sum of outer products over pixels.
#ifdef SCRATCHNET_KERNELS

// A values x V vectors of sums stay in registers over the whole rectangle of pixels.
template <int V>
struct OuterValues {
  static constexpr int value = kVectorBytes == 64 ? (V == 1   ? 16
                                                     : V == 2 ? 12
                                                     : V == 3 ? 8
                                                              : 6)
                                                  : 12 / V;
};

template <class T, int A, int V>
void outer_tile(const Outer<T>& job, int64_t a_begin) {
  constexpr int L = kLanes<T>;
  const Mask<T> last = first_lanes<T>(job.b_channels - (V - 1) * L);
  // The rectangle is summed by itself before it joins the total: adding ever smaller parts to an
  // ever larger sum would cost accuracy.
  Vec<T> sum[A][V];
  SCRATCHNET_UNROLL
  for (int a = 0; a < A; ++a) {
    SCRATCHNET_UNROLL
    for (int v = 0; v < V; ++v) sum[a][v] = Vec<T>{};
  }
  for (int64_t row = 0, r = 0, n = 0; row < job.images * job.rows; ++row) {
    const T* pa = job.a + n * job.a_image + r * job.a_row + a_begin;
    const T* pb = job.b + n * job.b_image + r * job.b_row;
    if (++r == job.rows) r = 0, ++n;
    for (int64_t c = 0; c < job.cols; ++c, pa += job.a_col, pb += job.b_col) {
      Vec<T> b[V];
      SCRATCHNET_UNROLL
      for (int v = 0; v + 1 < V; ++v) b[v] = load(pb + v * L);
      b[V - 1] = load_masked(pb + (V - 1) * L, last);
      SCRATCHNET_UNROLL
      for (int a = 0; a < A; ++a) {
        SCRATCHNET_UNROLL
        for (int v = 0; v < V; ++v) sum[a][v] += pa[a] * b[v];
      }
    }
  }
  SCRATCHNET_UNROLL
  for (int a = 0; a < A; ++a) {
    SCRATCHNET_UNROLL
    for (int v = 0; v < V; ++v) {
      T* total = job.sums + (a_begin + a) * job.sums_row + v * L;
      store(total, load(total) + sum[a][v]);
    }
  }
}

// Calls the tile for `values` (1 .. A) rows.
template <class T, int A, int V>
void outer_tile_of(int64_t values, const Outer<T>& job, int64_t a_begin) {
  if constexpr (A > 1) {
    if (values < A) return outer_tile_of<T, A - 1, V>(values, job, a_begin);
  }
  outer_tile<T, A, V>(job, a_begin);
}

template <class T, int V>
void outer_block(const Outer<T>& job) {
  constexpr int64_t A = OuterValues<V>::value;
  const int64_t tiles = (job.a_channels + A - 1) / A;
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t begin = job.a_channels * t / tiles, end = job.a_channels * (t + 1) / tiles;
    outer_tile_of<T, A, V>(end - begin, job, begin);
  }
}

template <class T>
void outer(const Outer<T>& job) {
  switch ((job.b_channels + kLanes<T> - 1) / kLanes<T>) {
    case 1:
      return outer_block<T, 1>(job);
    case 2:
      return outer_block<T, 2>(job);
    case 3:
      return outer_block<T, 3>(job);
    case 4:
      return outer_block<T, 4>(job);
  }
}

#else

#include "kernels.h"

#include "core/each_isa.h"

namespace scratchnet {

template <class T>
void outer(const Outer<T>& job) {
  SCRATCHNET_BEST(outer<T>)(job);
}
template void outer(const Outer<float>& job);
template void outer(const Outer<double>& job);

}  // namespace scratchnet

#endif
