// Scaled dot-product attention, tile by tile: the scores of a tile stay in the cache, and memory
// grows with the length, not with its square. See scratchnet/ops/attention.py.
#ifdef SCRATCHNET_KERNELS

#include "core/function_vec.h"
#include "core/product_vec.h"
#include "core/random.h"

// to[e][s] = from[s][e], with rows of `to` of ld elements.
template <class T>
void transpose(const Matrix<T>& from, int64_t rows, int64_t width, T* to, int64_t ld) {
  constexpr int64_t kBlock = 16;
  for (int64_t s = 0; s < rows; s += kBlock) {
    for (int64_t e = 0; e < width; ++e) {
      for (int64_t i = s; i < smaller(s + kBlock, rows); ++i) to[e * ld + i] = from.row(i)[e];
    }
  }
}

template <class T>
SCRATCHNET_INLINE T lanes_sum(Vec<T> v) {
  T sum = 0;
  for (int i = 0; i < kLanes<T>; ++i) sum += v[i];
  return sum;
}

// The scores of row i for the keys first .. first + n - 1, from their products with the query.
template <class T>
SCRATCHNET_INLINE void finish_scores(const Attending& how, const Mask4<T>& mask, int64_t i,
                                     int64_t first, int64_t n, T* scores) {
  const T scale = static_cast<T>(how.scale);
  for (int64_t j = 0; j < n; ++j) scores[j] *= scale;
  if (mask.data) {
    const T* more = mask.data + i * mask.row + first * mask.column;
    if (mask.column == 1) {
      for (int64_t j = 0; j < n; ++j) scores[j] += more[j];
    } else {
      for (int64_t j = 0; j < n; ++j) scores[j] += more[j * mask.column];
    }
  }
  if (how.causal) {
    for (int64_t j = smaller(n, i + 1 > first ? i + 1 - first : 0); j < n; ++j) {
      scores[j] = -static_cast<T>(__builtin_inf());
    }
  }
}

// values[j] times the factor where the weight of row i and key first + j is kept, else 0.
template <class T>
SCRATCHNET_INLINE void drop_weights(const Attending& how, int64_t row, int64_t first, int64_t n,
                                    T* values) {
  uint32_t bits[kTile];
  random_bits(how.seed, static_cast<uint64_t>(row * how.keys + first), n, bits);
  const auto limit = static_cast<uint32_t>(how.limit);
  const T factor = static_cast<T>(how.factor);
  for (int64_t j = 0; j < n; ++j) values[j] = bits[j] >= limit ? values[j] * factor : T(0);
}

// e^(scores - shift), in place; returns their sum.
template <class T>
SCRATCHNET_INLINE T exponentials(T* scores, int64_t n, T shift) {
  constexpr int64_t L = kLanes<T>;
  Vec<T> sum = {};
  const Vec<T> least = Vec<T>{} - static_cast<T>(__builtin_inf());
  for (int64_t j = 0; j < n; j += L) {
    const int64_t m = smaller(L, n - j);
    const Vec<T> score = load_first(scores + j, m);
    const Vec<T> value = score == least ? Vec<T>{} : exp_vec<T>(score - shift);
    store_first(scores + j, value, m);
    sum += load_first(scores + j, m);
  }
  return lanes_sum<T>(sum);
}

// The outputs of the queries begin .. end - 1 of one head.
template <class T>
void attend(const Attending& how, const Head<T>& head, int64_t begin, int64_t end) {
  constexpr int64_t L = kLanes<T>;
  const int64_t rows = end - begin, width = how.value_width;
  const T lowest = -static_cast<T>(__builtin_inf());
  T* scores = head.scratch;              // (kTile, kTile)
  T* sums = scores + kTile * kTile;      // (kTile, value_width)
  T most[kTile], total[kTile];
  for (int64_t i = 0; i < rows; ++i) most[i] = lowest, total[i] = 0;
  for (int64_t i = 0; i < rows * width; ++i) sums[i] = 0;
  const int64_t seen = how.causal ? smaller(how.keys, end) : how.keys;
  for (int64_t first = 0; first < seen; first += kTile) {
    const int64_t n = smaller(kTile, seen - first);
    product<T>(rows, n, how.width, {head.q.row(begin), head.q.step, 1}, head.k_across + first,
               how.padded_keys, scores, kTile, false);
    for (int64_t i = 0; i < rows; ++i) {
      T* score = scores + i * kTile;
      finish_scores(how, head.mask, begin + i, first, n, score);
      T peak = most[i];
      for (int64_t j = 0; j < n; ++j) peak = score[j] > peak ? score[j] : peak;
      for (int64_t j = 0; j < n; ++j) peak = score[j] != score[j] ? score[j] : peak;  // NaN stays
      if (peak == lowest) {
        for (int64_t j = 0; j < n; ++j) score[j] = 0;
        continue;
      }
      const T sum = exponentials(score, n, peak);
      if (peak != most[i]) {
        Vec<T> shrink = Vec<T>{} + (most[i] - peak);
        shrink = most[i] == lowest ? Vec<T>{} : exp_vec<T>(shrink);
        total[i] *= shrink[0];
        T* row = sums + i * width;
        for (int64_t e = 0; e < width; e += L) {
          const int64_t m = smaller(L, width - e);
          store_first(row + e, load_first(row + e, m) * shrink, m);
        }
        most[i] = peak;
      }
      total[i] += sum;
      if (how.limit) drop_weights(how, head.first_row + begin + i, first, n, score);
    }
    product<T>(rows, width, n, {scores, kTile, 1}, head.v.row(first), head.v.step, sums, width,
               true);
  }
  for (int64_t i = 0; i < rows; ++i) {
    const T share = total[i] == 0 ? T(0) : 1 / total[i];
    T* y = head.y.mutable_row(begin + i);
    for (int64_t e = 0; e < width; ++e) y[e] = sums[i * width + e] * share;
    head.sums[begin + i] = total[i] == 0 ? lowest : most[i] + static_cast<T>(log(total[i]));
  }
}

// The gradients of one head.
template <class T>
void attend_backward(const Attending& how, const Head<T>& head) {
  constexpr int64_t L = kLanes<T>;
  const int64_t width = how.width, value_width = how.value_width;
  const T lowest = -static_cast<T>(__builtin_inf());
  T* weights = head.scratch;                // (kTile, kTile)
  T* grads = weights + kTile * kTile;       // (kTile, kTile)
  T* k_across = grads + kTile * kTile;      // (width, padded_keys)
  T* v_across = k_across + width * how.padded_keys;
  transpose(head.k, how.keys, width, k_across, how.padded_keys);
  transpose(head.v, how.keys, value_width, v_across, how.padded_keys);
  const auto clear = [](const Matrix<T>& matrix, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t e = 0; e < columns; ++e) matrix.mutable_row(i)[e] = 0;
    }
  };
  clear(head.grad_q, how.queries, width);
  clear(head.grad_k, how.keys, width);
  clear(head.grad_v, how.keys, value_width);
  const T scale = static_cast<T>(how.scale);
  for (int64_t begin = 0; begin < how.queries; begin += kTile) {
    const int64_t rows = smaller(kTile, how.queries - begin);
    T dots[kTile];  // of each row of grad_y with that of y
    for (int64_t i = 0; i < rows; ++i) {
      const T *g = head.grad_y.row(begin + i), *y = head.y.row(begin + i);
      Vec<T> sum = {};
      for (int64_t e = 0; e < value_width; e += L) {
        const int64_t m = smaller(L, value_width - e);
        sum += load_first(g + e, m) * load_first(y + e, m);
      }
      dots[i] = lanes_sum<T>(sum);
    }
    const int64_t seen = how.causal ? smaller(how.keys, begin + rows) : how.keys;
    for (int64_t first = 0; first < seen; first += kTile) {
      const int64_t n = smaller(kTile, seen - first);
      const Rows<T> of_grad_y{head.grad_y.row(begin), head.grad_y.step, 1};
      product<T>(rows, n, width, {head.q.row(begin), head.q.step, 1}, k_across + first,
                 how.padded_keys, weights, kTile, false);
      product<T>(rows, n, value_width, of_grad_y, v_across + first, how.padded_keys, grads, kTile,
                 false);
      for (int64_t i = 0; i < rows; ++i) {
        T *weight = weights + i * kTile, *grad = grads + i * kTile;
        finish_scores(how, head.mask, begin + i, first, n, weight);
        const T shift = head.sums[begin + i];
        if (shift == lowest) {
          for (int64_t j = 0; j < n; ++j) weight[j] = 0, grad[j] = 0;
          continue;
        }
        exponentials(weight, n, shift);
        if (how.limit) {
          // the weights as they were, for the scores; and after dropout, for the values
          T kept[kTile];
          for (int64_t j = 0; j < n; ++j) kept[j] = 1;
          drop_weights(how, head.first_row + begin + i, first, n, kept);
          for (int64_t j = 0; j < n; ++j) {
            grad[j] = weight[j] * (grad[j] * kept[j] - dots[i]) * scale;
            weight[j] *= kept[j];
          }
        } else {
          for (int64_t j = 0; j < n; ++j) grad[j] = weight[j] * (grad[j] - dots[i]) * scale;
        }
      }
      product<T>(n, value_width, rows, {weights, 1, kTile}, head.grad_y.row(begin),
                 head.grad_y.step, head.grad_v.mutable_row(first), head.grad_v.step, true);
      product<T>(rows, width, n, {grads, kTile, 1}, head.k.row(first), head.k.step,
                 head.grad_q.mutable_row(begin), head.grad_q.step, true);
      product<T>(n, width, rows, {grads, 1, kTile}, head.q.row(begin), head.q.step,
                 head.grad_k.mutable_row(first), head.grad_k.step, true);
    }
  }
}

#else

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/binding.h"
#include "core/buffer.h"
#include "core/function.h"

namespace scratchnet {

constexpr int64_t kTile = 64;  // queries, and keys: two tiles of scores fit the L1 cache

struct Attending {
  int64_t queries, keys, width, value_width, padded_keys;
  bool causal;
  double scale;
  uint64_t limit, seed;  // of dropout; none if the limit is 0
  double factor;
};

template <class T>
struct Matrix {
  T* data = nullptr;
  int64_t step = 0;  // from one row to the next
  const T* row(int64_t i) const { return data + i * step; }
  T* mutable_row(int64_t i) const { return data + i * step; }
};

template <class T>
struct Mask4 {
  const T* data = nullptr;
  int64_t row = 0, column = 0;
};

template <class T>
struct Head {
  Matrix<T> q, k, v, y, grad_y, grad_q, grad_k, grad_v;
  Mask4<T> mask;
  const T* k_across = nullptr;  // (width, padded_keys)
  T *sums = nullptr, *scratch = nullptr;
  int64_t first_row = 0;  // of the head, among all rows of weights
};

}  // namespace scratchnet

#include "core/each_isa.h"

namespace scratchnet {
namespace {

// One head of (N, H, rows, width), whose last axis has no gaps.
template <class T>
Matrix<T> head_of(const Tensor& tensor, int64_t n, int64_t h, const char* name) {
  expect(tensor.size(3) == 1 || tensor.strides[3] == 1, name,
         ": expected a last axis without gaps, got strides ", tensor.strides);
  return {tensor.data<T>(name) + n * tensor.strides[0] + h * tensor.strides[1], tensor.strides[2]};
}

struct Call {
  const Tensor &q, &k, &v, &y, &sums;
  const std::optional<Tensor>& mask;
  Attending how;

  Call(const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& mask,
       const Tensor& y, const Tensor& sums, bool causal, double scale, uint64_t limit,
       uint64_t seed, double factor)
      : q(q), k(k), v(v), y(y), sums(sums), mask(mask), how{} {
    expect(q.dim() == 4 && k.dim() == 4 && v.dim() == 4, "expected (N, H, rows, width)");
    how = {q.size(2), k.size(2),  q.size(3), v.size(3), aligned_size(k.size(2)), causal,
           scale,     limit, seed,      factor};
    const int64_t n = q.size(0), heads = q.size(1);
    expect_sizes(k, {n, heads, how.keys, how.width}, "k");
    expect_sizes(v, {n, heads, how.keys, how.value_width}, "v");
    expect_sizes(y, {n, heads, how.queries, how.value_width}, "y");
    expect_sizes(sums, {n, heads, how.queries}, "sums");
    if (mask) expect_sizes(*mask, {n, heads, how.queries, how.keys}, "mask");
  }
  int64_t heads() const { return q.size(0) * q.size(1); }
  int64_t work() const { return heads() * how.queries * how.keys; }

  template <class T>
  Head<T> head(int64_t i) const {
    const int64_t n = i / q.size(1), h = i % q.size(1);
    Head<T> head;
    head.q = head_of<T>(q, n, h, "q"), head.k = head_of<T>(k, n, h, "k");
    head.v = head_of<T>(v, n, h, "v"), head.y = head_of<T>(y, n, h, "y");
    head.sums = contiguous<T>(sums, sums.sizes, "sums") + i * how.queries;
    head.first_row = i * how.queries;
    if (mask) {
      head.mask = {mask->data<T>("mask") + n * mask->strides[0] + h * mask->strides[1],
                   mask->strides[2], mask->strides[3]};
    }
    return head;
  }
};

void forward(const Tensor& q, const Tensor& k, const Tensor& v, const std::optional<Tensor>& mask,
             const Tensor& y, const Tensor& sums, bool causal, double scale, uint64_t limit,
             uint64_t seed, double factor) {
  const Call call(q, k, v, mask, y, sums, causal, scale, limit, seed, factor);
  const Attending& how = call.how;
  with_dtype(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (call.heads() > 0) call.head<T>(0);  // says what is wrong with the tensors, if anything
    const int64_t across = how.width * how.padded_keys, threads = threads_for(call.work());
    const Buffer<T> k_across(call.heads() * across);
    run_tasks(threads, call.heads(), [&](int64_t i, int64_t) {
      SCRATCHNET_BEST(transpose<T>)(call.head<T>(i).k, how.keys, how.width,
                                    k_across.data() + i * across, how.padded_keys);
    });
    const int64_t of_thread = aligned_size(kTile * (kTile + how.value_width));
    const Buffer<T> scratch(threads * of_thread);
    const int64_t tiles = (how.queries + kTile - 1) / kTile;
    run_tasks(threads, call.heads() * tiles, [&](int64_t task, int64_t thread) {
      Head<T> head = call.head<T>(task / tiles);
      head.k_across = k_across.data() + task / tiles * across;
      head.scratch = scratch.data() + thread * of_thread;
      const int64_t begin = task % tiles * kTile;
      SCRATCHNET_BEST(attend<T>)(how, head, begin, std::min(begin + kTile, how.queries));
    });
  });
}

void backward(const Tensor& grad_y, const Tensor& q, const Tensor& k, const Tensor& v,
              const std::optional<Tensor>& mask, const Tensor& y, const Tensor& sums,
              const Tensor& grad_q, const Tensor& grad_k, const Tensor& grad_v, bool causal,
              double scale, uint64_t limit, uint64_t seed, double factor) {
  const Call call(q, k, v, mask, y, sums, causal, scale, limit, seed, factor);
  const Attending& how = call.how;
  expect_sizes(grad_y, y.sizes, "grad_y");
  expect_sizes(grad_q, q.sizes, "grad_q");
  expect_sizes(grad_k, k.sizes, "grad_k");
  expect_sizes(grad_v, v.sizes, "grad_v");
  with_dtype(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto whole = [&](int64_t i) {
      const int64_t n = i / q.size(1), h = i % q.size(1);
      Head<T> head = call.head<T>(i);
      head.grad_y = head_of<T>(grad_y, n, h, "grad_y");
      head.grad_q = head_of<T>(grad_q, n, h, "grad_q");
      head.grad_k = head_of<T>(grad_k, n, h, "grad_k");
      head.grad_v = head_of<T>(grad_v, n, h, "grad_v");
      return head;
    };
    if (call.heads() > 0) whole(0);
    const int64_t threads = threads_for(call.work());
    const int64_t of_thread =
        2 * kTile * kTile + (how.width + how.value_width) * how.padded_keys;
    const Buffer<T> scratch(threads * of_thread);
    run_tasks(threads, call.heads(), [&](int64_t i, int64_t thread) {
      Head<T> head = whole(i);
      head.scratch = scratch.data() + thread * of_thread;
      SCRATCHNET_BEST(attend_backward<T>)(how, head);
    });
  });
}

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(module) {
  scratchnet::def(module, "attention_forward", scratchnet::forward);
  scratchnet::def(module, "attention_backward", scratchnet::backward);
}

#endif
