// Small matrix products on vectors. No include guard: for the part of a file that each_isa.h reads
// once for each instruction set.

// Rows of A, element (i, k) at a[i * row + k * column]: a transposed matrix is as good as another.
template <class T>
struct Rows {
  const T* data;
  int64_t row, column;
};

template <class T, int M, int V>
SCRATCHNET_INLINE void product_tile(Rows<T> a, const T* b, int64_t ldb, T* c, int64_t ldc,
                                    int64_t depth, int64_t last, bool add) {
  constexpr int64_t L = kLanes<T>;
  Vec<T> sums[M][V] = {};
  for (int64_t k = 0; k < depth; ++k) {
    Vec<T> right[V];
    SCRATCHNET_UNROLL
    for (int v = 0; v < V; ++v) {
      const T* from = b + k * ldb + v * L;
      right[v] = v == V - 1 && last < L ? load_first(from, last) : load(from);
    }
    SCRATCHNET_UNROLL
    for (int i = 0; i < M; ++i) {
      const T left = a.data[i * a.row + k * a.column];
      SCRATCHNET_UNROLL
      for (int v = 0; v < V; ++v) sums[i][v] += left * right[v];
    }
  }
  SCRATCHNET_UNROLL
  for (int i = 0; i < M; ++i) {
    SCRATCHNET_UNROLL
    for (int v = 0; v < V; ++v) {
      T* to = c + i * ldc + v * L;
      const int64_t n = v == V - 1 ? last : L;
      store_first(to, add ? load_first(to, n) + sums[i][v] : sums[i][v], n);
    }
  }
}

template <class T, int V>
SCRATCHNET_INLINE void product_panel(int64_t rows, Rows<T> a, const T* b, int64_t ldb, T* c,
                                     int64_t ldc, int64_t depth, int64_t last, bool add) {
  int64_t i = 0;
  const auto from = [&] { return Rows<T>{a.data + i * a.row, a.row, a.column}; };
  for (; i + 8 <= rows; i += 8) {
    product_tile<T, 8, V>(from(), b, ldb, c + i * ldc, ldc, depth, last, add);
  }
  if (i + 4 <= rows) {
    product_tile<T, 4, V>(from(), b, ldb, c + i * ldc, ldc, depth, last, add);
    i += 4;
  }
  for (; i < rows; ++i) {
    product_tile<T, 1, V>(from(), b, ldb, c + i * ldc, ldc, depth, last, add);
  }
}

// C = A B, or C += A B: A is (rows, depth), B (depth, columns) with rows of ldb elements, C with
// rows of ldc. Every element is added up in the order of k, so no split of the rows or columns
// changes a bit.
template <class T>
void product(int64_t rows, int64_t columns, int64_t depth, Rows<T> a, const T* b, int64_t ldb, T* c,
             int64_t ldc, bool add) {
  constexpr int64_t L = kLanes<T>;
  int64_t j = 0;
  for (; j + 2 * L <= columns; j += 2 * L) {
    product_panel<T, 2>(rows, a, b + j, ldb, c + j, ldc, depth, L, add);
  }
  for (; j < columns; j += L) {
    product_panel<T, 1>(rows, a, b + j, ldb, c + j, ldc, depth, smaller(L, columns - j), add);
  }
}
