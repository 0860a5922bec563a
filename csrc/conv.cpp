#include "conv.h"

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "sweep.h"

namespace scratchnet {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T>
class Buffer {  // uninitialised, aligned to a cache line
 public:
  explicit Buffer(int64_t size)
      : data_(static_cast<T*>(::operator new(size * sizeof(T), kAlignment))) {}
  ~Buffer() { ::operator delete(data_, kAlignment); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* get() { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  T* data_;
};

// One direction of a correlation, the same for both but for who reads and who writes.
template <class T>
struct Direction {
  int64_t in_channels, out_channels;  // of one group
  int64_t in_picture, out_picture;
  Sweep sweep;
  Pack<T> pack;  // of group 0
  int64_t weight_group;
};

template <class T>
Direction<T> make_down(const Conv& conv, const T* weight) {
  const int64_t in = conv.big_channels / conv.groups, out = conv.small_channels / conv.groups;
  const int64_t taps = conv.h.taps * conv.w.taps;
  return {in,
          out,
          conv.h.big * conv.w.big * conv.big_channels,
          conv.h.small * conv.w.small * conv.small_channels,
          make_sweep(spans_down(conv.h), spans_down(conv.w), conv.h.taps, conv.w.taps, false, in,
                     {conv.w.big * conv.big_channels, conv.big_channels},
                     {conv.w.small * conv.small_channels, conv.small_channels}),
          {weight, nullptr, conv.h.taps, conv.w.taps, in, out, conv.w.taps, 1, taps, in * taps},
          out * in * taps};
}

template <class T>
Direction<T> make_up(const Conv& conv, const T* weight) {
  const int64_t in = conv.small_channels / conv.groups, out = conv.big_channels / conv.groups;
  const int64_t taps = conv.h.taps * conv.w.taps;
  return {in,
          out,
          conv.h.small * conv.w.small * conv.small_channels,
          conv.h.big * conv.w.big * conv.big_channels,
          make_sweep(spans_up(conv.h), spans_up(conv.w), conv.h.taps, conv.w.taps, true, in,
                     {conv.w.small * conv.small_channels, conv.small_channels},
                     {conv.w.big * conv.big_channels, conv.big_channels}),
          {weight + taps - 1, nullptr, conv.h.taps, conv.w.taps, in, out, -conv.w.taps, -1,
           out * taps, taps},
          out * in * taps};
}

// A task is a stretch of rows of one rectangle in some pictures. About kTaskPixels pixels make one,
// so that threads find enough of them and each is long enough.
constexpr int64_t kTaskPixels = 256;

struct Piece {
  const Rectangle* rectangle;
  int64_t first_picture, pictures, first_row, rows;
};

std::vector<Piece> cut(const Sweep& sweep, int64_t batch) {
  std::vector<Piece> pieces;
  for (const Rectangle& rectangle : sweep.rectangles) {
    const int64_t rows = std::clamp<int64_t>(kTaskPixels / rectangle.cols, 1, rectangle.rows);
    const int64_t pictures = std::clamp<int64_t>(kTaskPixels / (rows * rectangle.cols), 1, batch);
    for (int64_t picture = 0; picture < batch; picture += pictures) {
      for (int64_t row = 0; row < rectangle.rows; row += rows) {
        pieces.push_back({&rectangle, picture, std::min(pictures, batch - picture), row,
                          std::min(rows, rectangle.rows - row)});
      }
    }
  }
  return pieces;
}

template <class T>
void run(const Pool& pool, const Conv& conv, const Direction<T>& direction, const T* in,
         const T* bias, T* out) {
  const Kernels<T>& kernels = kernels_of<T>(current_isa());
  const int64_t vectors = ceil_div(direction.out_channels, kernels.lanes),
                blocks = ceil_div(vectors, kMaxVectors);
  const int64_t depth = conv.h.taps * conv.w.taps * direction.in_channels;
  const int64_t packed_group = depth * vectors * kernels.lanes;
  Buffer<T> packed(conv.groups * packed_group);
  run_tasks(pool, conv.groups, [&](int64_t group, int64_t) {
    Pack<T> pack = direction.pack;
    pack.weight += group * direction.weight_group;
    pack.packed = packed.get() + group * packed_group;
    kernels.pack(pack);
  });
  const std::vector<Piece> pieces = cut(direction.sweep, conv.batch);
  run_tasks(pool, static_cast<int64_t>(pieces.size()), [&](int64_t task, int64_t) {
    const Piece& piece = pieces[task];
    const Rectangle& rect = *piece.rectangle;
    for (int64_t group = 0; group < conv.groups; ++group) {
      const T* from =
          in + piece.first_picture * direction.in_picture + rect.in + piece.first_row * rect.in_row;
      T* to = out + piece.first_picture * direction.out_picture + rect.out +
              piece.first_row * rect.out_row;
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t begin = vectors * block / blocks, end = vectors * (block + 1) / blocks;
        const int64_t channel = group * direction.out_channels + begin * kernels.lanes;
        kernels.correlate(
            {from + group * direction.in_channels,
             packed.get() + group * packed_group + depth * begin * kernels.lanes,
             bias ? bias + channel : nullptr, to + channel, piece.pictures, piece.rows, rect.cols,
             direction.in_picture, rect.in_row, rect.in_col, direction.out_picture, rect.out_row,
             rect.out_col, direction.sweep.runs.data() + rect.first_run, rect.num_runs, end - begin,
             std::min(end * kernels.lanes, direction.out_channels) - begin * kernels.lanes});
      }
    }
  });
}

// Partial sums of a gradient are kept per chunk of pictures and added up in the order of the
// chunks: the result does not depend on the number of threads. The number of chunks depends on the
// shape alone.
int64_t chunks_of(int64_t batch, int64_t sums_bytes) {
  constexpr int64_t kMostChunks = 16, kMostBytes = 4 << 20;
  return std::clamp<int64_t>(kMostBytes / std::max<int64_t>(sums_bytes, 1), 1,
                             std::min(batch, kMostChunks));
}

}  // namespace

template <class T>
void conv_down(const Pool& pool, const Conv& conv, const T* big, const T* weight, const T* bias,
               T* small) {
  if (conv.batch > 0) run(pool, conv, make_down(conv, weight), big, bias, small);
}

template <class T>
void conv_up(const Pool& pool, const Conv& conv, const T* small, const T* weight, const T* bias,
             T* big) {
  if (conv.batch > 0) run(pool, conv, make_up(conv, weight), small, bias, big);
}

template <class T>
void conv_grad_weight(const Pool& pool, const Conv& conv, const T* big, const T* small,
                      T* grad_weight) {
  const Kernels<T>& kernels = kernels_of<T>(current_isa());
  const int64_t big_channels = conv.big_channels / conv.groups,
                small_channels = conv.small_channels / conv.groups;
  const int64_t taps = conv.h.taps * conv.w.taps;
  if (conv.batch == 0) {
    std::fill(grad_weight, grad_weight + conv.small_channels * big_channels * taps, T(0));
    return;
  }
  // Lanes go to the side that fills them better; the other side is broadcast.
  const auto waste = [&](int64_t lanes_over, int64_t other) {
    return ceil_div(lanes_over, kernels.lanes) * kernels.lanes * other;
  };
  const bool lanes_small =
      waste(small_channels, big_channels) <= waste(big_channels, small_channels);
  const int64_t a_channels = lanes_small ? big_channels : small_channels;
  const int64_t b_channels = lanes_small ? small_channels : big_channels;
  const int64_t b_padded = ceil_div(b_channels, kernels.lanes) * kernels.lanes;
  const int64_t tap_sums = a_channels * b_padded, sums_size = conv.groups * taps * tap_sums;
  const int64_t chunks = chunks_of(conv.batch, sums_size * sizeof(T));
  Buffer<T> sums(chunks * sums_size);
  std::fill(sums.get(), sums.get() + chunks * sums_size, T(0));

  // A band of rows whose pixels on both sides stay in the L1 cache while all taps sweep it.
  constexpr int64_t kBandBytes = 24 << 10;
  const int64_t row_bytes =
      conv.w.small * (small_channels + big_channels * conv.w.stride) * sizeof(T);
  const int64_t band =
      std::clamp<int64_t>(kBandBytes / std::max<int64_t>(row_bytes, 1), 1, conv.h.small);
  run_tasks(pool, chunks * conv.groups * conv.h.taps, [&](int64_t task, int64_t) {
    const int64_t chunk = task / (conv.groups * conv.h.taps);
    const int64_t group = task / conv.h.taps % conv.groups, tap_h = task % conv.h.taps;
    const TapRange rows = tap_range(conv.h, tap_h);
    for (int64_t picture = conv.batch * chunk / chunks; picture < conv.batch * (chunk + 1) / chunks;
         ++picture) {
      for (int64_t row = 0; row < rows.count; row += band) {
        for (int64_t tap_w = 0; tap_w < conv.w.taps; ++tap_w) {
          const TapRange cols = tap_range(conv.w, tap_w);
          const int64_t big_row = picture * conv.h.big + rows.in + row * conv.h.stride;
          const int64_t small_row = picture * conv.h.small + rows.first + row;
          const T* from_big =
              big + (big_row * conv.w.big + cols.in) * conv.big_channels + group * big_channels;
          const T* from_small = small +
                                (small_row * conv.w.small + cols.first) * conv.small_channels +
                                group * small_channels;
          const int64_t big_step = conv.big_channels * conv.w.stride;
          const int64_t big_pitch = conv.w.big * conv.big_channels * conv.h.stride;
          const int64_t small_pitch = conv.w.small * conv.small_channels;
          T* to = sums.get() + chunk * sums_size +
                  ((group * conv.h.taps + tap_h) * conv.w.taps + tap_w) * tap_sums;
          const int64_t count = std::min(band, rows.count - row);
          if (lanes_small) {
            kernels.outer({from_big, from_small, to, count, cols.count, big_pitch, big_step,
                           small_pitch, conv.small_channels, a_channels, b_channels, true});
          } else {
            kernels.outer({from_small, from_big, to, count, cols.count, small_pitch,
                           conv.small_channels, big_pitch, big_step, a_channels, b_channels, true});
          }
        }
      }
    }
  });
  run_tasks(pool, conv.groups * small_channels, [&](int64_t task, int64_t) {
    const int64_t group = task / small_channels, o = task % small_channels;
    T* to = grad_weight + task * big_channels * taps;
    for (int64_t c = 0; c < big_channels; ++c) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t at =
            (group * taps + tap) * tap_sums + (lanes_small ? c * b_padded + o : o * b_padded + c);
        T sum = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += sums.get()[chunk * sums_size + at];
        to[c * taps + tap] = sum;
      }
    }
  });
}

template <class T>
void conv_grad_bias(const Pool& pool, const Conv& conv, const T* small, T* grad_bias) {
  const Kernels<T>& kernels = kernels_of<T>(current_isa());
  const int64_t channels = conv.small_channels, pixels = conv.h.small * conv.w.small;
  if (conv.batch == 0 || pixels == 0) {
    std::fill(grad_bias, grad_bias + channels, T(0));
    return;
  }
  Buffer<T> sums(conv.batch * channels);
  run_tasks(pool, conv.batch, [&](int64_t picture, int64_t) {
    kernels.sum_pixels(small + picture * pixels * channels, pixels, channels, channels,
                       sums.get() + picture * channels, false);
  });
  kernels.sum_pixels(sums.get(), conv.batch, channels, channels, grad_bias, false);
}

#define SCRATCHNET_INSTANTIATE(T)                                                      \
  template void conv_down(const Pool&, const Conv&, const T*, const T*, const T*, T*); \
  template void conv_up(const Pool&, const Conv&, const T*, const T*, const T*, T*);   \
  template void conv_grad_weight(const Pool&, const Conv&, const T*, const T*, T*);    \
  template void conv_grad_bias(const Pool&, const Conv&, const T*, T*);
SCRATCHNET_INSTANTIATE(float)
SCRATCHNET_INSTANTIATE(double)

}  // namespace scratchnet
