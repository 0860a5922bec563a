// The weight gradient of one tap: a sum of outer products over pixels.

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
static void outer_tile(const Outer<T>& job, int64_t a_begin, int64_t b_begin, T* sums,
                       int64_t sums_step) {
  constexpr int L = kLanes<T>;
  const Mask<T> last = first_lanes<T>(smaller(job.b_channels - b_begin - (V - 1) * L, L));
  // The rectangle is summed by itself before it joins the total: adding ever smaller parts to an
  // ever larger sum would cost accuracy.
  Vec<T> sum[A][V];
  SCRATCHNET_UNROLL
  for (int a = 0; a < A; ++a) {
    SCRATCHNET_UNROLL
    for (int v = 0; v < V; ++v) sum[a][v] = Vec<T>{};
  }
  for (int64_t row = 0, r = 0, n = 0; row < job.pictures * job.rows; ++row) {
    const T* pa = job.a + n * job.a_picture + r * job.a_row + a_begin;
    const T* pb = job.b + n * job.b_picture + r * job.b_row + b_begin;
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
      T* total = sums + a * sums_step + v * L;
      store(total, load(total) + sum[a][v]);
    }
  }
}

// Calls the tile for `values` (1 .. A) rows.
template <class T, int A, int V>
static void outer_tile_of(int64_t values, const Outer<T>& job, int64_t a_begin, int64_t b_begin,
                          T* sums, int64_t sums_step) {
  if constexpr (A > 1) {
    if (values < A) {
      return outer_tile_of<T, A - 1, V>(values, job, a_begin, b_begin, sums, sums_step);
    }
  }
  outer_tile<T, A, V>(job, a_begin, b_begin, sums, sums_step);
}

template <class T, int V>
static void outer_block(const Outer<T>& job, int64_t b_begin, int64_t sums_step) {
  constexpr int64_t A = OuterValues<V>::value;
  const int64_t tiles = (job.a_channels + A - 1) / A;
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t begin = job.a_channels * t / tiles, end = job.a_channels * (t + 1) / tiles;
    outer_tile_of<T, A, V>(end - begin, job, begin, b_begin, job.sums + begin * sums_step + b_begin,
                           sums_step);
  }
}

template <class T>
static void outer(const Outer<T>& job) {
  constexpr int64_t L = kLanes<T>;
  const int64_t vectors = (job.b_channels + L - 1) / L,
                blocks = (vectors + kMaxVectors - 1) / kMaxVectors;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t begin = vectors * block / blocks, end = vectors * (block + 1) / blocks;
    switch (end - begin) {
      case 1:
        outer_block<T, 1>(job, begin * L, vectors * L);
        break;
      case 2:
        outer_block<T, 2>(job, begin * L, vectors * L);
        break;
      case 3:
        outer_block<T, 3>(job, begin * L, vectors * L);
        break;
      case 4:
        outer_block<T, 4>(job, begin * L, vectors * L);
        break;
    }
  }
}
