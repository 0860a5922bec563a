// Winograd's transforms, between pixels and the points where polynomials are multiplied.
#ifdef SCRATCHNET_KERNELS

#include "core/function_vec.h"

// Along one axis, for 4 pixels d, 3 weights g and 2 results y of a correlation:
//
//     y = Aᵀ((G g) * (Bᵀ d))
//
// with * element by element. Both gradients are the same sum read the other way: that of g is
// Gᵀ((A y) * (Bᵀ d)). Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural
// Networks" (2016), section 4.1.
template <class T>
SCRATCHNET_INLINE void points_of_pixels(const Vec<T> (&d)[4], Vec<T> (&p)[4]) {  // Bᵀ d
  p[0] = d[0] - d[2], p[1] = d[1] + d[2], p[2] = d[2] - d[1], p[3] = d[1] - d[3];
}
template <class T>
SCRATCHNET_INLINE void points_of_weights(const Vec<T> (&g)[3], Vec<T> (&p)[4]) {  // G g
  const Vec<T> even = (g[0] + g[2]) / 2, odd = g[1] / 2;
  p[0] = g[0], p[1] = even + odd, p[2] = even - odd, p[3] = g[2];
}
template <class T>
SCRATCHNET_INLINE void results_of_points(const Vec<T> (&p)[4], Vec<T> (&y)[2]) {  // Aᵀ p
  y[0] = p[0] + (p[1] + p[2]), y[1] = (p[1] - p[2]) - p[3];
}
template <class T>
SCRATCHNET_INLINE void points_of_results(const Vec<T> (&y)[2], Vec<T> (&p)[4]) {  // A y
  p[0] = y[0], p[1] = y[0] + y[1], p[2] = y[0] - y[1], p[3] = -y[1];
}
template <class T>
SCRATCHNET_INLINE void weights_of_points(const Vec<T> (&p)[4], Vec<T> (&g)[3]) {  // Gᵀ p
  const Vec<T> even = (p[1] + p[2]) / 2, odd = (p[1] - p[2]) / 2;
  g[0] = p[0] + even, g[1] = odd, g[2] = even + p[3];
}

// The same along both axes: first every column of `from`, then every row of what that gives.
template <class T, int From, int To, void (*along)(const Vec<T> (&)[From], Vec<T> (&)[To])>
SCRATCHNET_INLINE void both_axes(const Vec<T> (&from)[From][From], Vec<T> (&to)[To][To]) {
  Vec<T> half[To][From];
  SCRATCHNET_UNROLL
  for (int j = 0; j < From; ++j) {
    Vec<T> in[From], out[To];
    SCRATCHNET_UNROLL
    for (int i = 0; i < From; ++i) in[i] = from[i][j];
    along(in, out);
    SCRATCHNET_UNROLL
    for (int i = 0; i < To; ++i) half[i][j] = out[i];
  }
  SCRATCHNET_UNROLL
  for (int i = 0; i < To; ++i) along(half[i], to[i]);
}

// Calls body(number, first pixel, row, column) for every tile; row and column are those of its
// first pixel, which may lie outside the image.
template <class T, class Body>
SCRATCHNET_INLINE void each_tile(const Tiles<T>& job, Body body) {
  const int64_t first = job.begin / job.cols;
  int64_t col = job.begin % job.cols, row = first % job.rows;
  T* image = job.pixels + first / job.rows * job.height * job.width * job.channels;
  for (int64_t t = 0; t < job.end - job.begin; ++t) {
    const int64_t top = job.top + 2 * row, left = job.left + 2 * col;
    body(t, image + (top * job.width + left) * job.channels, top, left);
    if (++col < job.cols) continue;
    col = 0;
    if (++row < job.rows) continue;
    row = 0, image += job.height * job.width * job.channels;
  }
}

// The points of one tile of Size x Size pixels. Pixels outside the image are zero: no lane of them
// is loaded.
template <class T, int Size, void (*along)(const Vec<T> (&)[Size], Vec<T> (&)[4]), bool kInside>
SCRATCHNET_INLINE void tile_to_points(const Tiles<T>& job, const T* tile, int64_t top,
                                      int64_t left, T* points) {
  const Mask<T> none = first_lanes<T>(0);
  for (int64_t c = 0; c < job.channels_used; c += kLanes<T>) {
    const Mask<T> mask = first_lanes<T>(smaller(kLanes<T>, job.channels_used - c));
    Vec<T> pixels[Size][Size], values[4][4];
    SCRATCHNET_UNROLL
    for (int i = 0; i < Size; ++i) {
      const bool row = kInside || (top + i >= 0 && top + i < job.height);
      SCRATCHNET_UNROLL
      for (int j = 0; j < Size; ++j) {
        const bool inside = kInside || (row && left + j >= 0 && left + j < job.width);
        pixels[i][j] =
            load_masked(tile + (i * job.width + j) * job.channels + c, inside ? mask : none);
      }
    }
    both_axes<T, Size, 4, along>(pixels, values);
    SCRATCHNET_UNROLL
    for (int i = 0; i < 4; ++i) {
      SCRATCHNET_UNROLL
      for (int j = 0; j < 4; ++j) store(points + (4 * i + j) * job.point_step + c, values[i][j]);
    }
  }
}

template <class T, int Size, void (*along)(const Vec<T> (&)[Size], Vec<T> (&)[4])>
void to_points(const Tiles<T>& job) {
  each_tile(job, [&](int64_t t, const T* tile, int64_t top, int64_t left) SCRATCHNET_TARGET {
    T* points = job.points + t * job.tile_step;
    const bool inside = top >= 0 && left >= 0 && top + Size <= job.height &&
                        left + Size <= job.width;
    inside ? tile_to_points<T, Size, along, true>(job, tile, top, left, points)
           : tile_to_points<T, Size, along, false>(job, tile, top, left, points);
  });
}

template <class T>
void pixels_to_points(const Tiles<T>& job) {
  to_points<T, 4, points_of_pixels<T>>(job);
}

template <class T>
void results_to_points(const Tiles<T>& job) {
  to_points<T, 2, points_of_results<T>>(job);
}

template <class T>
void points_to_results(const Tiles<T>& job, const Epilogue<T>& epilogue) {
  const bool plain = epilogue.function == Function::none && !epilogue.returned;
  each_tile(job, [&](int64_t t, T* tile, int64_t top, int64_t left) SCRATCHNET_TARGET {
    const T* points = job.points + t * job.tile_step;
    const int64_t rows = smaller(2, job.height - top), cols = smaller(2, job.width - left);
    for (int64_t c = 0; c < job.channels_used; c += kLanes<T>) {
      const int64_t n = smaller(kLanes<T>, job.channels_used - c);
      const Mask<T> mask = first_lanes<T>(n);
      Vec<T> values[4][4], results[2][2];
      SCRATCHNET_UNROLL
      for (int i = 0; i < 4; ++i) {
        SCRATCHNET_UNROLL
        for (int j = 0; j < 4; ++j) values[i][j] = load(points + (4 * i + j) * job.point_step + c);
      }
      both_axes<T, 4, 2, results_of_points<T>>(values, results);
      const Vec<T> bias = epilogue.bias ? load_masked(epilogue.bias + c, mask) : Vec<T>{};
      SCRATCHNET_UNROLL
      for (int i = 0; i < 2; ++i) {
        SCRATCHNET_UNROLL
        for (int j = 0; j < 2; ++j) {
          if (i >= rows || j >= cols) continue;
          T* to = tile + (i * job.width + j) * job.channels + c;
          Vec<T> y = results[i][j] + bias;
          if (!plain) {
            y = function_vec<T>(y, epilogue.function);
            if (epilogue.returned) {
              const T* returned = epilogue.returned + (to - job.pixels);
              y = derivative_vec<T>(y, load_masked(returned, mask), epilogue.derivative_of);
            }
          }
          n == kLanes<T> ? store(to, y) : store_masked(to, y, mask);
        }
      }
    }
  });
}

template <class T>
void weights_to_points(const T* weights, T* points, int64_t size) {
  for (int64_t at = 0; at < size; at += kLanes<T>) {
    Vec<T> taps[3][3], values[4][4];
    SCRATCHNET_UNROLL
    for (int i = 0; i < 3; ++i) {
      SCRATCHNET_UNROLL
      for (int j = 0; j < 3; ++j) taps[i][j] = load(weights + (3 * i + j) * size + at);
    }
    both_axes<T, 3, 4, points_of_weights<T>>(taps, values);
    SCRATCHNET_UNROLL
    for (int i = 0; i < 4; ++i) {
      SCRATCHNET_UNROLL
      for (int j = 0; j < 4; ++j) store(points + (4 * i + j) * size + at, values[i][j]);
    }
  }
}

template <class T>
void points_to_weights(const T* points, int64_t point_step, int64_t size, T* sums,
                       int64_t tap_step) {
  for (int64_t at = 0; at < size; at += kLanes<T>) {
    Vec<T> values[4][4], taps[3][3];
    SCRATCHNET_UNROLL
    for (int i = 0; i < 4; ++i) {
      SCRATCHNET_UNROLL
      for (int j = 0; j < 4; ++j) values[i][j] = load(points + (4 * i + j) * point_step + at);
    }
    both_axes<T, 4, 3, weights_of_points<T>>(values, taps);
    SCRATCHNET_UNROLL
    for (int i = 0; i < 3; ++i) {
      SCRATCHNET_UNROLL
      for (int j = 0; j < 3; ++j) {
        T* sum = sums + (3 * i + j) * tap_step + at;
        store(sum, load(sum) + taps[i][j]);
      }
    }
  }
}

#else

#include "winograd_tiles.h"

#include "core/each_isa.h"

namespace scratchnet {

template <class T>
void pixels_to_points(const Tiles<T>& job) {
  SCRATCHNET_BEST(pixels_to_points<T>)(job);
}
template <class T>
void results_to_points(const Tiles<T>& job) {
  SCRATCHNET_BEST(results_to_points<T>)(job);
}
template <class T>
void points_to_results(const Tiles<T>& job, const Epilogue<T>& epilogue) {
  SCRATCHNET_BEST(points_to_results<T>)(job, epilogue);
}
template <class T>
void weights_to_points(const T* weights, T* points, int64_t size) {
  SCRATCHNET_BEST(weights_to_points<T>)(weights, points, size);
}
template <class T>
void points_to_weights(const T* points, int64_t point_step, int64_t size, T* sums,
                       int64_t tap_step) {
  SCRATCHNET_BEST(points_to_weights<T>)(points, point_step, size, sums, tap_step);
}

#define SCRATCHNET_INSTANTIATE(T)                                                \
  template void pixels_to_points(const Tiles<T>& job);                           \
  template void results_to_points(const Tiles<T>& job);                          \
  template void points_to_results(const Tiles<T>& job, const Epilogue<T>& epilogue); \
  template void weights_to_points(const T* weights, T* points, int64_t size);    \
  template void points_to_weights(const T* points, int64_t point_step, int64_t size, T* sums, \
                                  int64_t tap_step);
SCRATCHNET_INSTANTIATE(float)
SCRATCHNET_INSTANTIATE(double)

}  // namespace scratchnet

#endif
