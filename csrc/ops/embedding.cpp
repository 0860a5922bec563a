// Rows of a table, and the sums of their gradients.
#ifdef SCRATCHNET_KERNELS

// sum[c] += term[c] for the columns begin .. end - 1 of every row that an index names; in the order
// of the indices, so that the sums have the same bits however the columns are shared out.
template <class T>
void add_rows(const T* terms, const int64_t* indices, int64_t count, int64_t width, int64_t begin,
              int64_t end, T* sums) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t i = 0; i < count; ++i) {
    const T* term = terms + i * width;
    T* sum = sums + indices[i] * width;
    int64_t c = begin;
    for (; c + L <= end; c += L) store(sum + c, load(sum + c) + load(term + c));
    for (; c < end; ++c) sum[c] += term[c];
  }
}

#else

#include <atomic>
#include <cstring>

#include "core/binding.h"
#include "core/each_isa.h"

namespace scratchnet {
namespace {

constexpr int64_t kColumns = 64;  // of a task: whole cache lines, so that no two threads share one
constexpr int64_t kRows = 64;

// Whether all indices are rows of the table; y is only complete if they are.
bool forward(const Tensor& indices, const Tensor& weight, const Tensor& y) {
  expect(weight.dim() == 2, "weight: expected (V, D), got ", weight.sizes);
  const int64_t count = indices.numel(), rows = weight.size(0), width = weight.size(1);
  const int64_t* at = contiguous<int64_t>(indices, {count}, "indices");
  std::atomic<bool> right{true};
  with_dtype(weight.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = contiguous<T>(weight, weight.sizes, "weight");
    T* to = contiguous<T>(y, {count, width}, "y");
    run_tasks(threads_for(y.numel()), (count + kRows - 1) / kRows, [&](int64_t task, int64_t) {
      for (int64_t i = task * kRows; i < std::min((task + 1) * kRows, count); ++i) {
        if (at[i] < 0 || at[i] >= rows) {
          right = false;
          return;
        }
        std::memcpy(to + i * width, from + at[i] * width, width * sizeof(T));
      }
    });
  });
  return right;
}

void backward(const Tensor& grad_y, const Tensor& indices, const Tensor& grad) {
  expect(grad.dim() == 2, "grad: expected (V, D), got ", grad.sizes);
  const int64_t count = indices.numel(), rows = grad.size(0), width = grad.size(1);
  const int64_t* at = contiguous<int64_t>(indices, {count}, "indices");
  for (int64_t i = 0; i < count; ++i) {
    expect(at[i] >= 0 && at[i] < rows, "indices: expected rows of the table, got ", at[i]);
  }
  with_dtype(grad.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = contiguous<T>(grad_y, {count, width}, "grad_y");
    T* to = contiguous<T>(grad, grad.sizes, "grad");
    run_tasks(threads_for(grad_y.numel()), (width + kColumns - 1) / kColumns,
              [&](int64_t task, int64_t) {
                SCRATCHNET_BEST(add_rows<T>)(from, at, count, width, task * kColumns,
                                             std::min((task + 1) * kColumns, width), to);
              });
  });
}

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(module) {
  scratchnet::def(module, "embedding_forward", scratchnet::forward);
  scratchnet::def(module, "embedding_backward", scratchnet::backward);
}

#endif
