// Normalisation: of channels over the batch, of groups of channels, and of rows; and scale and shift
// of channels. Sums are added up in double: a block of vectors at a time, in an order that depends on
// the shapes alone. A mean is taken twice, the second time of what is left after subtracting the
// first, rounded (`high`): so nothing is lost where it is large against the spread.
#ifdef SCRATCHNET_KERNELS

template <class T>
SCRATCHNET_INLINE double total(Vec<T> v) {
  double sum = 0;
  for (int i = 0; i < kLanes<T>; ++i) sum += static_cast<double>(v[i]);
  return sum;
}

// Calls body(i, lanes, accumulator) for each vector of 0 .. size - 1; after each block done().
template <class T, class Body, class Done>
SCRATCHNET_INLINE void in_blocks(int64_t size, Body&& body, Done&& done) {
  constexpr int64_t L = kLanes<T>, kBlock = 64 * 4 * L;
  for (int64_t begin = 0; begin < size; begin += kBlock) {
    const int64_t end = smaller(begin + kBlock, size);
    int64_t i = begin;
    for (; i + 4 * L <= end; i += 4 * L) {
      body(i, L, 0), body(i + L, L, 1), body(i + 2 * L, L, 2), body(i + 3 * L, L, 3);
    }
    for (; i < end; i += L) body(i, smaller(L, end - i), 0);
    done();
  }
}

template <class T>
void plane_sum(const T* x, int64_t size, double* sum) {
  Vec<T> a[4] = {};
  *sum = 0;
  in_blocks<T>(
      size,
      [&](int64_t i, int64_t n, int k) SCRATCHNET_TARGET __attribute__((always_inline)) {
        a[k] += load_first(x + i, n);
      },
      [&]() SCRATCHNET_TARGET __attribute__((always_inline)) {
        *sum += total<T>((a[0] + a[1]) + (a[2] + a[3]));
        for (Vec<T>& each : a) each = Vec<T>{};
      });
}

// The sums of other * (x - high) and of other; other being x - high itself if it is null, and then
// its sum is that of x - high.
template <class T, bool kSquares>
SCRATCHNET_INLINE void plane_products(const T* other, const T* x, int64_t size, T high, double* sum,
                                      double* products) {
  Vec<T> a[4] = {}, b[4] = {};
  *sum = *products = 0;
  in_blocks<T>(
      size,
      [&](int64_t i, int64_t n, int k) SCRATCHNET_TARGET __attribute__((always_inline)) {
        Vec<T> v = load_first(x + i, n) - high;
        if (n < kLanes<T>) {  // what is not there counts as high
          T kept[kLanes<T>] = {};
          store_first(kept, v, n);
          v = load(kept);
        }
        const Vec<T> w = kSquares ? v : load_first(other + i, n);
        a[k] += w;
        b[k] += w * v;
      },
      [&]() SCRATCHNET_TARGET __attribute__((always_inline)) {
        *sum += total<T>((a[0] + a[1]) + (a[2] + a[3]));
        *products += total<T>((b[0] + b[1]) + (b[2] + b[3]));
        for (Vec<T>& each : a) each = Vec<T>{};
        for (Vec<T>& each : b) each = Vec<T>{};
      });
}
template <class T>
void plane_squares(const T* x, int64_t size, T high, double* sum, double* squares) {
  plane_products<T, true>(nullptr, x, size, high, sum, squares);
}
template <class T>
void plane_dots(const T* grad, const T* x, int64_t size, T high, double* sum, double* products) {
  plane_products<T, false>(grad, x, size, high, sum, products);
}

// Calls body(i, lanes) for each vector of 0 .. size - 1, of which only the last may not be full.
template <class T, class Body>
SCRATCHNET_INLINE void each_vector(int64_t size, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes<T> <= size; i += kLanes<T>) body(i, kLanes<T>);
  if (i < size) body(i, size - i);
}

// y = (x - high) * scale + shift
template <class T>
void plane_linear(const T* x, T* y, int64_t size, T high, T scale, T shift) {
  each_vector<T>(size, [=](int64_t i, int64_t n) SCRATCHNET_TARGET __attribute__((always_inline)) {
    store_first(y + i, (load_first(x + i, n) - high) * scale + shift, n);
  });
}

// grad_x = a * grad + b * (x - high) + c
template <class T>
void plane_gradient(const T* grad, const T* x, T* grad_x, int64_t size, T high, T a, T b, T c) {
  each_vector<T>(size, [=](int64_t i, int64_t n) SCRATCHNET_TARGET __attribute__((always_inline)) {
    const Vec<T> v = load_first(x + i, n) - high;
    store_first(grad_x + i, a * load_first(grad + i, n) + b * v + c, n);
  });
}

// The same of each of `channels` columns, pixels being rows. Columns in registers, a few at a time.
constexpr int64_t kRowsAtATime = 64;

template <class T>
void column_sums(const T* x, int64_t rows, int64_t channels, double* sums) {
  for (int64_t c = 0; c < channels; ++c) sums[c] = 0;
  for (int64_t begin = 0; begin < rows; begin += kRowsAtATime) {
    const int64_t end = smaller(begin + kRowsAtATime, rows);
    for (int64_t c = 0; c < channels; c += kLanes<T>) {
      const int64_t n = smaller(kLanes<T>, channels - c);
      Vec<T> a = {};
      for (int64_t i = begin; i < end; ++i) a += load_first(x + i * channels + c, n);
      for (int64_t k = 0; k < n; ++k) sums[c + k] += static_cast<double>(a[k]);
    }
  }
}

template <class T, bool kSquares>
SCRATCHNET_INLINE void column_products(const T* other, const T* x, int64_t rows, int64_t channels,
                                       const T* high, double* sums, double* products) {
  for (int64_t c = 0; c < channels; ++c) sums[c] = products[c] = 0;
  for (int64_t begin = 0; begin < rows; begin += kRowsAtATime) {
    const int64_t end = smaller(begin + kRowsAtATime, rows);
    for (int64_t c = 0; c < channels; c += kLanes<T>) {
      const int64_t n = smaller(kLanes<T>, channels - c);
      const Vec<T> from = load_first(high + c, n);
      Vec<T> a = {}, b = {};
      for (int64_t i = begin; i < end; ++i) {
        const Vec<T> v = load_first(x + i * channels + c, n) - from;
        const Vec<T> w = kSquares ? v : load_first(other + i * channels + c, n);
        a += w;
        b += w * v;
      }
      for (int64_t k = 0; k < n; ++k) {
        sums[c + k] += static_cast<double>(a[k]);
        products[c + k] += static_cast<double>(b[k]);
      }
    }
  }
}
template <class T>
void column_squares(const T* x, int64_t rows, int64_t channels, const T* high, double* sums,
                    double* squares) {
  column_products<T, true>(nullptr, x, rows, channels, high, sums, squares);
}
template <class T>
void column_dots(const T* grad, const T* x, int64_t rows, int64_t channels, const T* high,
                 double* sums, double* products) {
  column_products<T, false>(grad, x, rows, channels, high, sums, products);
}

template <class T>
void column_linear(const T* x, T* y, int64_t rows, int64_t channels, const T* high, const T* scale,
                   const T* shift) {
  for (int64_t i = 0; i < rows; ++i, x += channels, y += channels) {
    each_vector<T>(
        channels, [=](int64_t c, int64_t n) SCRATCHNET_TARGET __attribute__((always_inline)) {
          const Vec<T> v = load_first(x + c, n) - load_first(high + c, n);
          store_first(y + c, v * load_first(scale + c, n) + load_first(shift + c, n), n);
        });
  }
}

template <class T>
void column_gradient(const T* grad, const T* x, T* grad_x, int64_t rows, int64_t channels,
                     const T* high, const T* a, const T* b, const T* c) {
  for (int64_t i = 0; i < rows; ++i, grad += channels, x += channels, grad_x += channels) {
    each_vector<T>(
        channels, [=](int64_t k, int64_t n) SCRATCHNET_TARGET __attribute__((always_inline)) {
          const Vec<T> v = load_first(x + k, n) - load_first(high + k, n);
          const Vec<T> g = load_first(a + k, n) * load_first(grad + k, n);
          store_first(grad_x + k, g + load_first(b + k, n) * v + load_first(c + k, n), n);
        });
  }
}

// A row normalised over its elements, each with its own weight and bias (or null).
template <class T>
void row_linear(const T* x, T* y, int64_t size, T high, T scale, T shift, const T* weight,
                const T* bias) {
  each_vector<T>(size, [=](int64_t i, int64_t n) SCRATCHNET_TARGET __attribute__((always_inline)) {
    Vec<T> v = (load_first(x + i, n) - high) * scale + shift;
    if (weight) v *= load_first(weight + i, n);
    if (bias) v += load_first(bias + i, n);
    store_first(y + i, v, n);
  });
}

// The sums of grad * weight and of grad * weight * (x - high).
template <class T>
void row_dots(const T* grad, const T* x, const T* weight, int64_t size, T high, double* sum,
              double* products) {
  if (!weight) return plane_dots<T>(grad, x, size, high, sum, products);
  Vec<T> a[4] = {}, b[4] = {};
  *sum = *products = 0;
  in_blocks<T>(
      size,
      [&](int64_t i, int64_t n, int k) SCRATCHNET_TARGET __attribute__((always_inline)) {
        const Vec<T> w = load_first(grad + i, n) * load_first(weight + i, n);
        a[k] += w;
        b[k] += w * (load_first(x + i, n) - high);
      },
      [&]() SCRATCHNET_TARGET __attribute__((always_inline)) {
        *sum += total<T>((a[0] + a[1]) + (a[2] + a[3]));
        *products += total<T>((b[0] + b[1]) + (b[2] + b[3]));
        for (Vec<T>& each : a) each = Vec<T>{};
        for (Vec<T>& each : b) each = Vec<T>{};
      });
}

// grad_x = a * grad * weight + b * (x - high) + c; and grad_weight += grad * ((x - high) * r + t),
// grad_bias += grad; any of the three may be null.
template <class T>
void row_gradient(const T* grad, const T* x, const T* weight, T* grad_x, T* grad_weight,
                  T* grad_bias, int64_t size, T high, T a, T b, T c, T r, T t) {
  each_vector<T>(size, [=](int64_t i, int64_t n) SCRATCHNET_TARGET __attribute__((always_inline)) {
    const Vec<T> g = load_first(grad + i, n), v = load_first(x + i, n) - high;
    if (grad_x) {
      const Vec<T> w = weight ? g * load_first(weight + i, n) : g;
      store_first(grad_x + i, a * w + b * v + c, n);
    }
    if (grad_weight) {
      store_first(grad_weight + i, load_first(grad_weight + i, n) + g * (v * r + t), n);
    }
    if (grad_bias) store_first(grad_bias + i, load_first(grad_bias + i, n) + g, n);
  });
}

#else

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/binding.h"
#include "core/buffer.h"
#include "core/each_isa.h"

namespace scratchnet {
namespace {

using Optional = std::optional<Tensor>;

template <class T>
T* given(const Optional& tensor, const Sizes& sizes, const char* name) {
  return tensor ? contiguous<T>(*tensor, sizes, name) : nullptr;
}

// Images (N, C, H, W), contiguous or channels_last, taken apart into pieces: of contiguous ones a
// channel of an image, of channels_last ones some rows of pixels. A set that is normalised is, over
// the batch, a channel of all images; else a group of channels of one.
struct Images {
  int64_t n, channels, pixels, groups;  // groups: of one image; 0 over the batch
  bool last;
  int64_t rows, parts;  // of a piece (pixels), and pieces of an image

  Images(const Tensor& x, int64_t groups) : groups(groups) {
    expect_images(x, "x");
    n = x.size(0), channels = x.size(1), pixels = x.size(2) * x.size(3);
    last = pixels == 1 || !x.is_contiguous();
    expect(!last || x.is_channels_last(),
           "x: expected images without gaps, contiguous or channels_last, got strides ", x.strides);
    expect(groups == 0 || channels % groups == 0, "groups: expected a divisor of ", channels,
           ", got ", groups);
    constexpr int64_t kElements = 1 << 15;  // of a piece: it stays in the cache
    rows = last ? std::clamp<int64_t>(kElements / channels, 1, pixels) : pixels;
    parts = (pixels + rows - 1) / rows;
  }

  int64_t sets() const { return groups ? n * groups : channels; }
  int64_t entries() const { return n * parts * channels; }  // a number for a channel of a piece
  int64_t rows_of(int64_t part) const { return std::min(rows, pixels - part * rows); }
  int64_t set_of(int64_t image, int64_t channel) const {
    return groups ? image * groups + channel / (channels / groups) : channel;
  }
  // Values of a set.
  int64_t count() const { return groups ? channels / groups * pixels : n * pixels; }
  // Calls body(image, channel) for the channels of a set.
  template <class Body>
  void each(int64_t set, Body&& body) const {
    if (!groups) {
      for (int64_t i = 0; i < n; ++i) body(i, set);
      return;
    }
    const int64_t size = channels / groups, first = set % groups * size;
    for (int64_t c = first; c < first + size; ++c) body(set / groups, c);
  }
  template <class T>
  T* data(const Tensor& tensor, const char* name) const {
    const Sizes& sizes = tensor.sizes;
    expect(tensor.dim() == 4 && sizes[0] == n && sizes[1] == channels &&
               sizes[2] * sizes[3] == pixels,
           name, ": expected the shape of x, got ", sizes);
    return last ? channels_last<T>(tensor, sizes, name) : contiguous<T>(tensor, sizes, name);
  }
  // Calls task(piece, image, part) for pieces of channels_last images.
  template <class Task>
  void each_piece(Task&& task) const {
    run_tasks(threads_for(n * channels * pixels), n * parts,
              [&](int64_t i, int64_t) { task(i, i / parts, i % parts); });
  }
  int64_t offset(int64_t piece) const {  // of its first element
    return (piece / parts * pixels + piece % parts * rows) * channels;
  }
};

struct Moments {
  double count = 0, mean = 0, squares = 0;  // squares: of the distances from the mean

  // Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
  // sample variances" (1979).
  void add(double n, double other_mean, double other_squares) {
    const double both = count + n, apart = other_mean - mean;
    squares += other_squares + apart * apart * count * n / both;
    mean += apart * n / both;
    count = both;
  }
};

struct Stats {  // of each set, in the memory of a tensor
  double *mean, *r;
  Stats(const Tensor& tensor, int64_t sets)
      : mean(contiguous<double>(tensor, {2, sets}, "stats")), r(mean + sets) {}
  template <class T>
  T high(int64_t set) const {
    return static_cast<T>(mean[set]);
  }
};

// Mean and sum of squares of the channels of all pieces.
template <class T>
void plane_moments(const T* x, int64_t size, double* mean, double* squares) {
  double sum, rest;
  SCRATCHNET_BEST(plane_sum<T>)(x, size, &sum);
  const T high = static_cast<T>(sum / size);
  SCRATCHNET_BEST(plane_squares<T>)(x, size, high, &rest, squares);
  *mean = high + rest / size;
  *squares = std::max(*squares - rest * rest / size, 0.0);
}

template <class T>
void column_moments(const T* x, int64_t rows, int64_t channels, double* mean, double* squares) {
  const Buffer<T> high(channels);
  const Buffer<double> rest(channels);
  SCRATCHNET_BEST(column_sums<T>)(x, rows, channels, mean);
  for (int64_t c = 0; c < channels; ++c) high.data()[c] = static_cast<T>(mean[c] / rows);
  SCRATCHNET_BEST(column_squares<T>)(x, rows, channels, high.data(), rest.data(), squares);
  for (int64_t c = 0; c < channels; ++c) {
    mean[c] = high.data()[c] + rest.data()[c] / rows;
    squares[c] = std::max(squares[c] - rest.data()[c] * rest.data()[c] / rows, 0.0);
  }
}

// y = (x - high) * scale + shift for a channel of a set.
template <class T>
struct Linear {
  T high, scale, shift;
  Linear(const Stats& stats, int64_t set, int64_t channel, const T* weight, const T* bias) {
    high = stats.high<T>(set);
    const double factor = stats.r[set] * (weight ? weight[channel] : T(1));
    scale = static_cast<T>(factor);
    shift = static_cast<T>((bias ? bias[channel] : T(0)) - (stats.mean[set] - high) * factor);
  }
};

template <class T>
void forward_as(const Images& images, const Tensor& x, const Optional& weight, const Optional& bias,
                const Tensor& y, const Optional& mean, const Optional& var, const Tensor& of_sets,
                double eps) {
  const T* from = images.data<T>(x, "x");
  T* to = images.data<T>(y, "y");
  const T* w = given<T>(weight, {images.channels}, "weight");
  const T* b = given<T>(bias, {images.channels}, "bias");
  T* mean_out = given<T>(mean, {images.sets()}, "mean");
  T* var_out = given<T>(var, {images.sets()}, "var");
  const Stats stats(of_sets, images.sets());
  const Buffer<double> means(images.entries()), squares(images.entries());
  const auto join = [&](int64_t set) {
    Moments all;
    images.each(set, [&](int64_t image, int64_t channel) {
      for (int64_t part = 0; part < images.parts; ++part) {
        const int64_t at = (image * images.parts + part) * images.channels + channel;
        const auto count = static_cast<double>(images.rows_of(part));
        all.add(count, means.data()[at], squares.data()[at]);
      }
    });
    const double variance = all.squares / all.count;  // nan if there is nothing
    stats.mean[set] = all.count > 0 ? all.mean : variance;
    stats.r[set] = 1 / std::sqrt(variance + eps);
    if (mean_out) mean_out[set] = static_cast<T>(stats.mean[set]);
    if (var_out) var_out[set] = static_cast<T>(variance);
  };
  const int64_t C = images.channels, size = images.pixels;
  if (!images.last) {
    run_tasks(threads_for(images.n * C * size), images.sets(), [&](int64_t set, int64_t) {
      images.each(set, [&](int64_t image, int64_t channel) {
        const int64_t at = image * C + channel;
        plane_moments(from + at * size, size, means.data() + at, squares.data() + at);
      });
      join(set);
      images.each(set, [&](int64_t image, int64_t channel) {
        const int64_t at = image * C + channel;
        const Linear<T> f(stats, set, channel, w, b);
        SCRATCHNET_BEST(plane_linear<T>)(from + at * size, to + at * size, size, f.high, f.scale,
                                         f.shift);
      });
    });
    return;
  }
  images.each_piece([&](int64_t piece, int64_t, int64_t part) {
    column_moments(from + images.offset(piece), images.rows_of(part), C, means.data() + piece * C,
                   squares.data() + piece * C);
  });
  for (int64_t set = 0; set < images.sets(); ++set) join(set);
  images.each_piece([&](int64_t piece, int64_t image, int64_t part) {
    const Buffer<T> f(3 * C);
    T *high = f.data(), *scale = high + C, *shift = scale + C;
    for (int64_t c = 0; c < C; ++c) {
      const Linear<T> of(stats, images.set_of(image, c), c, w, b);
      high[c] = of.high, scale[c] = of.scale, shift[c] = of.shift;
    }
    const int64_t at = images.offset(piece);
    SCRATCHNET_BEST(column_linear<T>)(from + at, to + at, images.rows_of(part), C, high, scale,
                                      shift);
  });
}

// grad_x = a * grad + b * (x - high) + c for a channel of a set.
template <class T>
struct Gradient {
  T high, a, b, c;
};

// What is asked of a backward, besides the gradient of x.
template <class T>
struct Wanted {
  T *weight, *bias;
};

template <class T>
void backward_as(const Images& images, const Tensor& grad_y, const Tensor& x,
                 const Optional& weight, const Tensor& of_sets, const Optional& grad_mean,
                 const Optional& grad_var, const Optional& grad_x, const Optional& grad_weight,
                 const Optional& grad_bias) {
  const T* grad = images.data<T>(grad_y, "grad_y");
  const T* from = images.data<T>(x, "x");
  T* to = grad_x ? images.data<T>(*grad_x, "grad_x") : nullptr;
  const int64_t C = images.channels, size = images.pixels, sets = images.sets();
  const T* w = given<T>(weight, {C}, "weight");
  const T* of_mean = given<T>(grad_mean, {sets}, "grad_mean");
  const T* of_var = given<T>(grad_var, {sets}, "grad_var");
  const Wanted<T> wanted{given<T>(grad_weight, {C}, "grad_weight"),
                         given<T>(grad_bias, {C}, "grad_bias")};
  const Stats stats(of_sets, sets);
  const auto count = static_cast<double>(images.count());
  // of the channels of all pieces: the sums of grad and of grad * (x - mean)
  const Buffer<double> sums(images.entries()), dots(images.entries());
  struct Means {
    double grad, along;  // of g = grad * weight, and of g * n
  };
  const auto means_of = [&](int64_t set) {
    Means means{0, 0};
    images.each(set, [&](int64_t image, int64_t channel) {
      const double factor = w ? w[channel] : T(1);
      for (int64_t part = 0; part < images.parts; ++part) {
        const int64_t at = (image * images.parts + part) * C + channel;
        means.grad += factor * sums.data()[at];
        means.along += factor * dots.data()[at];
      }
    });
    return Means{means.grad / count, means.along / count * stats.r[set]};
  };
  const auto formula = [&](int64_t set, int64_t channel, const Means& means) {
    const double r = stats.r[set], high = stats.high<T>(set), low = stats.mean[set] - high;
    double b = -r * r * means.along, c = -r * means.grad;
    if (of_mean) c += of_mean[set] / count;
    if (of_var) b += 2 * of_var[set] / count;
    c -= b * low;
    return Gradient<T>{static_cast<T>(high), static_cast<T>(r * (w ? w[channel] : T(1))),
                       static_cast<T>(b), static_cast<T>(c)};
  };
  if (!images.last) {
    run_tasks(threads_for(images.n * C * size), sets, [&](int64_t set, int64_t) {
      const double low = stats.mean[set] - stats.high<T>(set);
      images.each(set, [&](int64_t image, int64_t channel) {
        const int64_t at = image * C + channel;
        double *sum = sums.data() + at, *dot = dots.data() + at;
        SCRATCHNET_BEST(plane_dots<T>)(grad + at * size, from + at * size, size,
                                       stats.high<T>(set), sum, dot);
        *dot -= low * *sum;
      });
      if (!to) return;
      const Means means = means_of(set);
      images.each(set, [&](int64_t image, int64_t channel) {
        const int64_t at = (image * C + channel) * size;
        const Gradient<T> f = formula(set, channel, means);
        SCRATCHNET_BEST(plane_gradient<T>)(grad + at, from + at, to + at, size, f.high, f.a, f.b,
                                           f.c);
      });
    });
  } else {
    images.each_piece([&](int64_t piece, int64_t image, int64_t part) {
      const Buffer<T> high(C);
      for (int64_t c = 0; c < C; ++c) high.data()[c] = stats.high<T>(images.set_of(image, c));
      double *sum = sums.data() + piece * C, *dot = dots.data() + piece * C;
      const int64_t at = images.offset(piece);
      SCRATCHNET_BEST(column_dots<T>)(grad + at, from + at, images.rows_of(part), C, high.data(),
                                      sum, dot);
      for (int64_t c = 0; c < C; ++c) {
        dot[c] -= (stats.mean[images.set_of(image, c)] - high.data()[c]) * sum[c];
      }
    });
    if (to) {
      const Buffer<Means> means(sets);
      for (int64_t set = 0; set < sets; ++set) means.data()[set] = means_of(set);
      images.each_piece([&](int64_t piece, int64_t image, int64_t part) {
        const Buffer<T> f(4 * C);
        T *high = f.data(), *a = high + C, *b = a + C, *c = b + C;
        for (int64_t k = 0; k < C; ++k) {
          const int64_t set = images.set_of(image, k);
          const Gradient<T> of = formula(set, k, means.data()[set]);
          high[k] = of.high, a[k] = of.a, b[k] = of.b, c[k] = of.c;
        }
        const int64_t at = images.offset(piece);
        SCRATCHNET_BEST(column_gradient<T>)(grad + at, from + at, to + at, images.rows_of(part), C,
                                            high, a, b, c);
      });
    }
  }
  for (int64_t c = 0; c < C && (wanted.weight || wanted.bias); ++c) {
    double sum = 0, along = 0;
    for (int64_t i = 0; i < images.n * images.parts; ++i) {
      sum += sums.data()[i * C + c];
      along += dots.data()[i * C + c] * stats.r[images.set_of(i / images.parts, c)];
    }
    if (wanted.weight) wanted.weight[c] = static_cast<T>(along);
    if (wanted.bias) wanted.bias[c] = static_cast<T>(sum);
  }
}

void forward(const Tensor& x, const Optional& weight, const Optional& bias, const Tensor& y,
             const Optional& mean, const Optional& var, const Tensor& stats, int64_t groups,
             double eps) {
  const Images images(x, groups);
  with_dtype(x.dtype, [&](auto zero) {
    forward_as<decltype(zero)>(images, x, weight, bias, y, mean, var, stats, eps);
  });
}

void backward(const Tensor& grad_y, const Tensor& x, const Optional& weight, const Tensor& stats,
              const Optional& grad_mean, const Optional& grad_var, const Optional& grad_x,
              const Optional& grad_weight, const Optional& grad_bias, int64_t groups) {
  const Images images(x, groups);
  with_dtype(x.dtype, [&](auto zero) {
    backward_as<decltype(zero)>(images, grad_y, x, weight, stats, grad_mean, grad_var, grad_x,
                                grad_weight, grad_bias);
  });
}

// -- scale and shift -------------------------------------------------------------------------------

void scale_shift_forward(const Tensor& x, const Tensor& scale, const Tensor& shift,
                         const Tensor& y) {
  const Images images(x, 0);
  with_dtype(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t C = images.channels, size = images.pixels;
    const T* from = images.data<T>(x, "x");
    T* to = images.data<T>(y, "y");
    const T* a = contiguous<T>(scale, {C}, "scale");
    const T* b = contiguous<T>(shift, {C}, "shift");
    if (!images.last) {
      run_tasks(threads_for(x.numel()), images.n * C, [&](int64_t i, int64_t) {
        SCRATCHNET_BEST(plane_linear<T>)(from + i * size, to + i * size, size, T(0), a[i % C],
                                         b[i % C]);
      });
      return;
    }
    const Buffer<T> none(C);
    std::fill(none.data(), none.data() + C, T(0));
    images.each_piece([&](int64_t piece, int64_t, int64_t part) {
      const int64_t at = images.offset(piece);
      SCRATCHNET_BEST(column_linear<T>)(from + at, to + at, images.rows_of(part), C, none.data(), a,
                                        b);
    });
  });
}

// -- rows ------------------------------------------------------------------------------------------

template <class T>
void rows_forward_as(const Tensor& x, const Optional& weight, const Optional& bias, const Tensor& y,
                     const Tensor& of_rows, bool centre, double eps) {
  expect(x.dim() == 2, "x: expected rows, got shape ", x.sizes);
  const int64_t rows = x.size(0), size = x.size(1);
  const T* from = contiguous<T>(x, x.sizes, "x");
  T* to = contiguous<T>(y, x.sizes, "y");
  const T* w = given<T>(weight, {size}, "weight");
  const T* b = given<T>(bias, {size}, "bias");
  const Stats stats(of_rows, rows);
  const int64_t at_a_time = std::max<int64_t>(1, (1 << 12) / size);
  run_tasks(threads_for(x.numel()), (rows + at_a_time - 1) / at_a_time, [&](int64_t i, int64_t) {
    for (int64_t row = i * at_a_time; row < std::min((i + 1) * at_a_time, rows); ++row) {
      const T* v = from + row * size;
      double mean = 0, squares, rest;
      if (centre) {
        plane_moments(v, size, &mean, &squares);
      } else {
        SCRATCHNET_BEST(plane_squares<T>)(v, size, T(0), &rest, &squares);
      }
      stats.mean[row] = mean;
      stats.r[row] = 1 / std::sqrt(squares / size + eps);
      const Linear<T> f(stats, row, 0, nullptr, nullptr);
      SCRATCHNET_BEST(row_linear<T>)(v, to + row * size, size, f.high, f.scale, f.shift, w, b);
    }
  });
}

template <class T>
void rows_backward_as(const Tensor& grad_y, const Tensor& x, const Optional& weight,
                      const Tensor& of_rows, const Optional& grad_x, const Optional& grad_weight,
                      const Optional& grad_bias, bool centre) {
  expect(x.dim() == 2, "x: expected rows, got shape ", x.sizes);
  const int64_t rows = x.size(0), size = x.size(1);
  const T* grad = contiguous<T>(grad_y, x.sizes, "grad_y");
  const T* from = contiguous<T>(x, x.sizes, "x");
  const T* w = given<T>(weight, {size}, "weight");
  T* to = given<T>(grad_x, x.sizes, "grad_x");
  T* to_weight = given<T>(grad_weight, {size}, "grad_weight");
  T* to_bias = given<T>(grad_bias, {size}, "grad_bias");
  const Stats stats(of_rows, rows);
  constexpr int64_t kMostTasks = 64;  // each has its sums for weight and bias
  const int64_t at_a_time = std::max<int64_t>(
      {1, (rows + kMostTasks - 1) / kMostTasks, (1 << 12) / size});
  const int64_t tasks = (rows + at_a_time - 1) / at_a_time;
  const Buffer<T> sums(std::max<int64_t>(tasks * 2 * size, 1));
  run_tasks(threads_for(x.numel()), tasks, [&](int64_t i, int64_t) {
    T *of_weight = sums.data() + i * 2 * size, *of_bias = of_weight + size;
    std::fill(of_weight, of_weight + 2 * size, T(0));
    for (int64_t row = i * at_a_time; row < std::min((i + 1) * at_a_time, rows); ++row) {
      const T *g = grad + row * size, *v = from + row * size, high = stats.high<T>(row);
      const double r = stats.r[row], low = stats.mean[row] - high;
      double sum = 0, dot = 0, b = 0, c = 0;
      if (to) {
        SCRATCHNET_BEST(row_dots<T>)(g, v, w, size, high, &sum, &dot);
        b = -r * r * r * (dot - low * sum) / size;
        c = (centre ? -r * sum / size : 0.0) - b * low;
      }
      SCRATCHNET_BEST(row_gradient<T>)(g, v, w, to ? to + row * size : nullptr,
                                       to_weight ? of_weight : nullptr,
                                       to_bias ? of_bias : nullptr, size, high,
                                       static_cast<T>(r), static_cast<T>(b), static_cast<T>(c),
                                       static_cast<T>(r), static_cast<T>(-low * r));
    }
  });
  for (int64_t k = 0; k < size; ++k) {
    double of_weight = 0, of_bias = 0;
    for (int64_t i = 0; i < tasks; ++i) {
      of_weight += sums.data()[i * 2 * size + k];
      of_bias += sums.data()[(i * 2 + 1) * size + k];
    }
    if (to_weight) to_weight[k] = static_cast<T>(of_weight);
    if (to_bias) to_bias[k] = static_cast<T>(of_bias);
  }
}

void rows_forward(const Tensor& x, const Optional& weight, const Optional& bias, const Tensor& y,
                  const Tensor& stats, bool centre, double eps) {
  with_dtype(x.dtype, [&](auto zero) {
    rows_forward_as<decltype(zero)>(x, weight, bias, y, stats, centre, eps);
  });
}

void rows_backward(const Tensor& grad_y, const Tensor& x, const Optional& weight,
                   const Tensor& stats, const Optional& grad_x, const Optional& grad_weight,
                   const Optional& grad_bias, bool centre) {
  with_dtype(x.dtype, [&](auto zero) {
    rows_backward_as<decltype(zero)>(grad_y, x, weight, stats, grad_x, grad_weight, grad_bias,
                                     centre);
  });
}

}  // namespace
}  // namespace scratchnet

// `stats` is what backward needs of forward: mean and 1/sqrt(var + eps) of each set, float64.
SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  def(m, "norm_forward", &forward, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("y"),
      py::arg("mean"), py::arg("var"), py::arg("stats"), py::arg("groups"), py::arg("eps"));
  def(m, "norm_backward", &backward, py::arg("grad_y"), py::arg("x"), py::arg("weight"),
      py::arg("stats"), py::arg("grad_mean"), py::arg("grad_var"), py::arg("grad_x"),
      py::arg("grad_weight"), py::arg("grad_bias"), py::arg("groups"));
  def(m, "scale_shift_forward", &scale_shift_forward, py::arg("x"), py::arg("scale"),
      py::arg("shift"), py::arg("y"));
  def(m, "row_norm_forward", &rows_forward, py::arg("x"), py::arg("weight"), py::arg("bias"),
      py::arg("y"), py::arg("stats"), py::arg("centre"), py::arg("eps"));
  def(m, "row_norm_backward", &rows_backward, py::arg("grad_y"), py::arg("x"), py::arg("weight"),
      py::arg("stats"), py::arg("grad_x"), py::arg("grad_weight"), py::arg("grad_bias"),
      py::arg("centre"));
}

#endif
