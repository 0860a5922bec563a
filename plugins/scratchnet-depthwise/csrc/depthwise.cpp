// Depthwise convolution, forward and backward, plane by plane: a plane is one channel of one
// picture, h x w numbers that lie one after the other.
//
// Plain C functions: Python calls them by ctypes, which releases the GIL, with the addresses of the
// tensors' numbers. A call does the planes begin..end-1, so that several threads can share a batch.
// They know nothing of torch, and so fit any version of it.

#include <algorithm>
#include <cstdint>

namespace {

struct Shape {
  int64_t channels, h, w, kh, kw, stride_h, stride_w, pad_h, pad_w, out_h, out_w;
};

// The outputs i for which i·stride + tap - pad lies in [0, size).
struct Range {
  int64_t begin, end;
};

Range inside(int64_t size, int64_t out, int64_t stride, int64_t tap, int64_t pad) {
  const int64_t first = pad - tap, last = size - 1 + pad - tap;
  return {first <= 0 ? 0 : (first + stride - 1) / stride,
          last < 0 ? 0 : std::min(out, last / stride + 1)};
}

// Calls body(tap, row of x, row of y, first and last column of y, first column of x) for every
// kernel element and every output row that it reaches.
template <class Body>
void for_each_row(const Shape& s, Body body) {
  for (int64_t u = 0; u < s.kh; ++u) {
    const Range rows = inside(s.h, s.out_h, s.stride_h, u, s.pad_h);
    for (int64_t v = 0; v < s.kw; ++v) {
      const Range columns = inside(s.w, s.out_w, s.stride_w, v, s.pad_w);
      if (columns.begin >= columns.end) continue;
      for (int64_t i = rows.begin; i < rows.end; ++i) {
        body(u * s.kw + v, i * s.stride_h + u - s.pad_h, i, columns,
             columns.begin * s.stride_w + v - s.pad_w);
      }
    }
  }
}

template <class T>
void forward(const T* x, const T* weight, const T* bias, T* y, const Shape& s, int64_t begin,
             int64_t end) {
  const int64_t taps = s.kh * s.kw;
  for (int64_t plane = begin; plane < end; ++plane) {
    const int64_t c = plane % s.channels;
    const T* in = x + plane * s.h * s.w;
    T* out = y + plane * s.out_h * s.out_w;
    std::fill(out, out + s.out_h * s.out_w, bias ? bias[c] : T(0));
    for_each_row(s, [&](int64_t tap, int64_t x_row, int64_t y_row, Range columns, int64_t x_from) {
      const T factor = weight[c * taps + tap];
      const T* from = in + x_row * s.w + x_from;
      T* to = out + y_row * s.out_w + columns.begin;
      for (int64_t j = 0; j < columns.end - columns.begin; ++j) to[j] += factor * from[j * s.stride_w];
    });
  }
}

// grad_weight is (planes, taps) and grad_bias (planes): the sum over the batch is the caller's, in
// an order that does not depend on the number of threads.
template <class T>
void backward(const T* grad_y, const T* x, const T* weight, T* grad_x, T* grad_weight,
              T* grad_bias, const Shape& s, int64_t begin, int64_t end) {
  const int64_t taps = s.kh * s.kw;
  for (int64_t plane = begin; plane < end; ++plane) {
    const T* w = weight + plane % s.channels * taps;
    const T* in = x + plane * s.h * s.w;
    const T* grad = grad_y + plane * s.out_h * s.out_w;
    T* of_x = grad_x + plane * s.h * s.w;
    T* of_weight = grad_weight + plane * taps;
    std::fill(of_x, of_x + s.h * s.w, T(0));
    std::fill(of_weight, of_weight + taps, T(0));
    T sum = 0;
    for (int64_t i = 0; i < s.out_h * s.out_w; ++i) sum += grad[i];
    grad_bias[plane] = sum;
    for_each_row(s, [&](int64_t tap, int64_t x_row, int64_t y_row, Range columns, int64_t x_from) {
      const T factor = w[tap];
      const T* from = in + x_row * s.w + x_from;
      const T* g = grad + y_row * s.out_w + columns.begin;
      T* to = of_x + x_row * s.w + x_from;
      T total = 0;
      for (int64_t j = 0; j < columns.end - columns.begin; ++j) {
        to[j * s.stride_w] += factor * g[j];
        total += g[j] * from[j * s.stride_w];
      }
      of_weight[tap] += total;
    });
  }
}

}  // namespace

extern "C" {

void forward_f32(const float* x, const float* weight, const float* bias, float* y, const Shape* s,
                 int64_t begin, int64_t end) {
  forward(x, weight, bias, y, *s, begin, end);
}

void forward_f64(const double* x, const double* weight, const double* bias, double* y,
                 const Shape* s, int64_t begin, int64_t end) {
  forward(x, weight, bias, y, *s, begin, end);
}

void backward_f32(const float* grad_y, const float* x, const float* weight, float* grad_x,
                  float* grad_weight, float* grad_bias, const Shape* s, int64_t begin,
                  int64_t end) {
  backward(grad_y, x, weight, grad_x, grad_weight, grad_bias, *s, begin, end);
}

void backward_f64(const double* grad_y, const double* x, const double* weight, double* grad_x,
                  double* grad_weight, double* grad_bias, const Shape* s, int64_t begin,
                  int64_t end) {
  backward(grad_y, x, weight, grad_x, grad_weight, grad_bias, *s, begin, end);
}
}
