// Interpolation of channels-last images: every pixel of y is a weighted sum of some of x, along each
// axis by itself. The gradient is the same with the matrices transposed.
#ifdef SCRATCHNET_KERNELS

// to[i] = sum over the taps of weight * from[pixel * step + i], for i in 0 .. size - 1.
template <class T>
void add_taps(const Taps<T>& taps, const T* from, int64_t step, int64_t size, T* to) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t i = 0; i < size; i += L) {
    const Mask<T> mask = first_lanes<T>(smaller(L, size - i));
    Vec<T> sum = {};
    for (int64_t t = 0; t < taps.count; ++t) {
      sum += taps.weights[t] * load_masked(from + taps.pixels[t] * step + i, mask);
    }
    store_masked(to + i, sum, mask);
  }
}

// One row of y: of the rows of x first, into a row of `width` pixels; then of that row's pixels.
template <class T>
void interpolate_row(const Taps<T>& rows, const Matrix<T>& cols, const T* x, int64_t width,
                     int64_t channels, T* row, T* y) {
  add_taps(rows, x, width * channels, width * channels, row);
  for (int64_t j = 0; j < cols.size; ++j) {
    add_taps(cols.taps(j), row, channels, channels, y + j * channels);
  }
}

#else

#include <cstdint>

namespace scratchnet {

// The pixels that one place sees, and how much of each.
template <class T>
struct Taps {
  int64_t count;
  const int64_t* pixels;
  const T* weights;
};

// The taps of all places on an axis, one after the other: those of place i begin at starts[i].
template <class T>
struct Matrix {
  int64_t size;
  const int64_t* starts;
  const int64_t* pixels;
  const T* weights;

  Taps<T> taps(int64_t i) const {
    return {starts[i + 1] - starts[i], pixels + starts[i], weights + starts[i]};
  }
};

}  // namespace scratchnet

#include "core/binding.h"
#include "core/buffer.h"
#include "core/each_isa.h"

namespace scratchnet {
namespace {

using Tensors = std::array<Tensor, 3>;  // starts, pixels and weights of a Matrix

template <class T>
Matrix<T> read_matrix(const Tensors& from, int64_t in, int64_t out, const char* name) {
  const auto& [starts, pixels, weights] = from;
  const int64_t taps = pixels.numel();
  const Matrix<T> matrix{out, contiguous<int64_t>(starts, {out + 1}, name),
                         contiguous<int64_t>(pixels, {taps}, name),
                         contiguous<T>(weights, {taps}, name)};
  expect(matrix.starts[0] == 0 && matrix.starts[out] == taps, name,
         ": expected starts from 0 to the number of taps");
  for (int64_t i = 0; i < out; ++i) {
    expect(matrix.starts[i] <= matrix.starts[i + 1], name, ": expected rising starts");
  }
  for (int64_t t = 0; t < taps; ++t) {
    expect(matrix.pixels[t] >= 0 && matrix.pixels[t] < in, name, ": pixel ", matrix.pixels[t],
           " is outside an axis of ", in);
  }
  return matrix;
}

void interpolate(const Tensor& x, const Tensor& y, const Tensors& rows, const Tensors& cols) {
  const Size in = image_size(x, "x"), out = image_size(y, "y");
  expect_sizes(y, {x.size(0), in.channels, out.height, out.width}, "y");
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* from = channels_last<T>(x, x.sizes, "x");
    T* to = channels_last<T>(y, y.sizes, "y");
    const Matrix<T> by_rows = read_matrix<T>(rows, in.height, out.height, "rows");
    const Matrix<T> by_cols = read_matrix<T>(cols, in.width, out.width, "cols");
    const int64_t used = threads_for(x.numel() + y.numel());
    const int64_t row = aligned_size(in.width * in.channels);
    const Buffer<T> buffer(used * row);
    run_tasks(used, x.size(0) * out.height, [&](int64_t i, int64_t thread) {
      SCRATCHNET_BEST(interpolate_row<T>)
      (by_rows.taps(i % out.height), by_cols, from + i / out.height * in.elements(), in.width,
       in.channels, buffer.data() + thread * row, to + i * out.width * out.channels);
    });
  });
}

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  def(m, "interpolate", &interpolate, py::arg("x"), py::arg("y"), py::arg("rows"), py::arg("cols"));
}

#endif
