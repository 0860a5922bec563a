// Sums over a moving window: rows first, then columns. A row's pixels and channels are one stretch
// of memory, so the lanes are full whatever the number of channels.

template <class T>
SCRATCHNET_INLINE Vec<T> window_sum(const T* row, int64_t window, int64_t channels, int64_t n) {
  constexpr int64_t L = kLanes<T>;
  Vec<T> sum = n == L ? load(row) : load_first(row, n);
  for (int64_t l = 1; l < window; ++l) {
    row += channels;
    sum += n == L ? load(row) : load_first(row, n);
  }
  return sum;
}

template <class T>
static void box(const Box<T>& job) {
  constexpr int64_t L = kLanes<T>;
  const int64_t in_size = job.in_cols * job.channels, out_size = job.out_cols * job.channels;
  const int64_t margin = job.pad_w * job.channels;
  T* column_sums = job.scratch + margin;
  for (int64_t i = 0; i < margin; ++i) job.scratch[i] = column_sums[in_size + i] = 0;
  for (int64_t r = job.first_row; r < job.end_row; ++r) {
    const int64_t top = r - job.pad_h;
    const int64_t begin = top < 0 ? 0 : top, end = smaller(top + job.window_h, job.in_rows);
    const T* in = job.in + begin * in_size;
    for (int64_t i = 0; i < in_size; i += L) {
      const int64_t n = smaller(L, in_size - i);
      const Vec<T> sum = window_sum(in + i, end - begin, in_size, n);
      n == L ? store(column_sums + i, sum) : store_first(column_sums + i, sum, n);
    }
    T* out = job.out + r * out_size;
    for (int64_t i = 0; i < out_size; i += L) {
      const int64_t n = smaller(L, out_size - i);
      Vec<T> sum = window_sum(job.scratch + i, job.window_w, job.channels, n);
      if (job.bias) sum += n == L ? load(job.bias + i) : load_first(job.bias + i, n);
      sum = activation_vec<T>(sum, job.activation);
      n == L ? store(out + i, sum) : store_first(out + i, sum, n);
    }
  }
}
