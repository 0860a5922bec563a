// The correlation: a register-blocked matrix product whose left rows are gathered straight from the
// image.
#ifdef SCRATCHNET_KERNELS

#include "core/function_vec.h"

// A tile is P pixels x V vectors of out-channels held in registers. The accumulators (P*V), one row
// of weights (V) and the broadcast pixel value must fit the register file: 16 registers up to AVX2,
// 32 with AVX-512. P never exceeds 8, or the pixels' pointers would no longer fit the 16 general
// registers.
template <int V>
struct TilePixels {
  static constexpr int value = kVectorBytes == 64 ? (V == 4 ? 6 : 8) : (V == 1 ? 8 : 12 / V);
};

// Elements of the reduction axis worked through before the next tile: that much of the weights
// stays in the L1 cache.
constexpr int64_t kChunk = 128;
// Tiles that share a chunk of weights before the next chunk is fetched; their sums wait in a buffer
// (and not in `out`, whose pixels may lie a power of two apart and evict each other).
constexpr int64_t kBandTiles = 16;

// One chunk of the reduction axis: which runs, and whether it is the first and the last of them.
struct Chunk {
  const Run* runs;
  int64_t num_runs;
  bool first, last;
};

template <class T, int P, int V>
void tile(const Correlate<T>& job, const int64_t* in_offset, const int64_t* out_offset,
          const Chunk& chunk, T* waiting) {
  constexpr int L = kLanes<T>;
  Vec<T> sum[P][V];
  SCRATCHNET_UNROLL
  for (int p = 0; p < P; ++p) {
    SCRATCHNET_UNROLL
    for (int v = 0; v < V; ++v) sum[p][v] = Vec<T>{};
  }
  const T* in[P];
  SCRATCHNET_UNROLL
  for (int p = 0; p < P; ++p) in[p] = job.in + in_offset[p];
  // Where the results will go comes into the cache while they are computed.
  SCRATCHNET_UNROLL
  for (int p = 0; p < P; ++p) {
    SCRATCHNET_UNROLL
    for (int v = 0; v < V; ++v) prefetch(job.out + out_offset[p] + v * L);
  }
  for (int64_t r = 0; r < chunk.num_runs; ++r) {
    const Run run = chunk.runs[r];
    const T* w = job.packed + run.w * (V * L);
    for (int64_t k = run.in; k < run.in + run.len; ++k, w += V * L) {
      Vec<T> row[V];
      SCRATCHNET_UNROLL
      for (int v = 0; v < V; ++v) row[v] = load(w + v * L);
      SCRATCHNET_UNROLL
      for (int p = 0; p < P; ++p) {
        const T value = in[p][k];
        SCRATCHNET_UNROLL
        for (int v = 0; v < V; ++v) sum[p][v] += value * row[v];
      }
    }
  }
  if (!chunk.first) {
    SCRATCHNET_UNROLL
    for (int p = 0; p < P; ++p) {
      SCRATCHNET_UNROLL
      for (int v = 0; v < V; ++v) sum[p][v] += load(waiting + (p * V + v) * L);
    }
  }
  if (!chunk.last) {
    SCRATCHNET_UNROLL
    for (int p = 0; p < P; ++p) {
      SCRATCHNET_UNROLL
      for (int v = 0; v < V; ++v) store(waiting + (p * V + v) * L, sum[p][v]);
    }
    return;
  }
  const int64_t tail = job.channels - (V - 1) * L;  // real channels of the last vector
  const Mask<T> mask = first_lanes<T>(tail);
  const auto load_block = [mask](const T* p, int v) SCRATCHNET_TARGET {
    return v + 1 < V ? load(p + v * L) : load_masked(p + v * L, mask);
  };
  Vec<T> bias[V];
  SCRATCHNET_UNROLL
  for (int v = 0; v < V; ++v) bias[v] = job.bias ? load_block(job.bias, v) : Vec<T>{};
  const bool plain = job.function == Function::none && !job.returned;
  SCRATCHNET_UNROLL
  for (int p = 0; p < P; ++p) {
    T* out = job.out + out_offset[p];
    SCRATCHNET_UNROLL
    for (int v = 0; v < V; ++v) {
      Vec<T> y = sum[p][v] + bias[v];
      if (!plain) {
        y = function_vec<T>(y, job.function);
        if (job.returned)
          y = derivative_vec<T>(y, load_block(job.returned + out_offset[p], v), job.derivative_of);
      }
      v + 1 < V || tail == L ? store(out + v * L, y) : store_masked(out + v * L, y, mask);
    }
  }
}

// Calls the tile for `pixels` (1 .. P).
template <class T, int P, int V>
void tile_of(int64_t pixels, const Correlate<T>& job, const int64_t* in_offset,
             const int64_t* out_offset, const Chunk& chunk, T* waiting) {
  if constexpr (P > 1) {
    if (pixels < P) return tile_of<T, P - 1, V>(pixels, job, in_offset, out_offset, chunk, waiting);
  }
  tile<T, P, V>(job, in_offset, out_offset, chunk, waiting);
}

template <class T, int V>
void correlate_block(const Correlate<T>& job) {
  constexpr int64_t P = TilePixels<V>::value;
  const int64_t pixels = job.images * job.rows * job.cols;
  int64_t row = 0, col = 0;
  // Offsets of the next pixel, of its row and of its image.
  int64_t in = 0, in_row = 0, in_image = 0, out = 0, out_row = 0, out_image = 0;
  T waiting[kBandTiles * P * V * kLanes<T>];
  for (int64_t done = 0; done < pixels;) {
    // A band of tiles of nearly equal size ...
    const int64_t band = smaller(pixels - done, kBandTiles * P);
    const int64_t tiles = (band + P - 1) / P;
    int64_t in_offset[kBandTiles * P], out_offset[kBandTiles * P];
    for (int64_t i = 0; i < band; ++i) {
      in_offset[i] = in, out_offset[i] = out;
      in += job.in_col, out += job.out_col;
      if (++col < job.cols) continue;
      col = 0;
      in = in_row += job.in_row, out = out_row += job.out_row;
      if (++row < job.rows) continue;
      row = 0;
      in = in_row = in_image += job.in_image, out = out_row = out_image += job.out_image;
    }
    // ... goes through the reduction axis chunk by chunk. Runs are at most kChunk long (see
    // split_runs).
    int64_t from = 0;
    do {
      int64_t to = from, length = 0;
      while (to < job.num_runs && (to == from || length + job.runs[to].len <= kChunk))
        length += job.runs[to++].len;
      for (int64_t t = 0; t < tiles; ++t) {
        const int64_t begin = band * t / tiles, end = band * (t + 1) / tiles;
        tile_of<T, P, V>(end - begin, job, in_offset + begin, out_offset + begin,
                         {job.runs + from, to - from, from == 0, to == job.num_runs},
                         waiting + begin * (V * kLanes<T>));
      }
      from = to;
    } while (from < job.num_runs);
    done += band;
  }
}

template <class T>
void correlate(const Correlate<T>& job) {
  switch (job.vectors) {
    case 1:
      return correlate_block<T, 1>(job);
    case 2:
      return correlate_block<T, 2>(job);
    case 3:
      return correlate_block<T, 3>(job);
    case 4:
      return correlate_block<T, 4>(job);
  }
}

template <class T>
void pack(const Pack<T>& job) {
  constexpr int64_t L = kLanes<T>;
  const int64_t vectors = (job.out_channels + L - 1) / L;
  const int64_t blocks = (vectors + kMaxVectors - 1) / kMaxVectors;
  const int64_t begin = vectors * job.block / blocks * L;
  const int64_t end = vectors * (job.block + 1) / blocks * L, width = end - begin;
  T* block = job.packed + job.taps_h * job.taps_w * job.in_channels * begin;
  // A weight's out-channels lie far apart, so they are read one after the other, for some taps and
  // in-channels at a time, into rows that fit the L1 cache: lines that are a power of two apart
  // would evict each other there if all were read at once.
  constexpr int64_t kTaps = 9, kInChannels = 16;
  const int64_t taps = job.taps_h * job.taps_w;
  T rows[kTaps * kInChannels][L] = {};
  for (int64_t tap = 0; tap < taps; tap += kTaps) {
    const int64_t some = smaller(kTaps, taps - tap);
    int64_t offset[kTaps];
    for (int64_t t = 0; t < some; ++t) {
      offset[t] = (tap + t) / job.taps_w * job.step_h + (tap + t) % job.taps_w * job.step_w;
    }
    for (int64_t first = begin; first < end; first += L) {
      const int64_t real = smaller(L, job.out_channels - first);
      for (int64_t c = 0; c < job.in_channels; c += kInChannels) {
        const int64_t few = smaller(kInChannels, job.in_channels - c);
        for (int64_t o = 0; o < L; ++o) {
          const T* from = job.weight + c * job.step_in + (first + o) * job.step_out;
          for (int64_t i = 0; i < few; ++i, from += job.step_in) {
            for (int64_t t = 0; t < some; ++t) {
              rows[t * kInChannels + i][o] = o < real ? from[offset[t]] : T(0);
            }
          }
        }
        for (int64_t t = 0; t < some; ++t) {
          T* to = block + ((tap + t) * job.in_channels + c) * width + first - begin;
          for (int64_t i = 0; i < few; ++i) store(to + i * width, load(rows[t * kInChannels + i]));
        }
      }
    }
  }
}

#else

#include "kernels.h"

#include "core/each_isa.h"

namespace scratchnet {

template <class T>
void pack(const Pack<T>& job) {
  SCRATCHNET_BEST(pack<T>)(job);
}
template void pack(const Pack<float>& job);
template void pack(const Pack<double>& job);

template <class T>
void correlate(const Correlate<T>& job) {
  SCRATCHNET_BEST(correlate<T>)(job);
}
template void correlate(const Correlate<float>& job);
template void correlate(const Correlate<double>& job);

}  // namespace scratchnet

#endif
