#include "sweep.h"

#include <algorithm>

namespace scratchnet {
namespace {

// A tile takes whole runs until it has kLongestRun elements of the reduction axis (kChunk in
// correlate.cpp), so none may be longer.
constexpr int64_t kLongestRun = 128;

void append_run(std::vector<Run>& runs, int64_t first, int64_t in, int64_t w, int64_t len) {
  const bool joins = static_cast<int64_t>(runs.size()) > first &&
                     runs.back().in + runs.back().len == in && runs.back().w + runs.back().len == w;
  if (joins) {
    runs.back().len += len;
  } else {
    runs.push_back({in, w, len});
  }
}

void split_runs(std::vector<Run>& runs, int64_t first) {
  const std::vector<Run> whole(runs.begin() + first, runs.end());
  runs.resize(first);
  for (const Run& run : whole) {
    const int64_t pieces = (run.len + kLongestRun - 1) / kLongestRun;
    for (int64_t i = 0; i < pieces; ++i) {
      const int64_t begin = run.len * i / pieces, end = run.len * (i + 1) / pieces;
      runs.push_back({run.in + begin, run.w + begin, end - begin});
    }
  }
}

}  // namespace

Sweep make_sweep(const std::vector<Span>& h, const std::vector<Span>& w, int64_t taps_h,
                 int64_t taps_w, bool flipped, int64_t channels, Layout in, Layout out) {
  Sweep sweep;
  const auto row_of = [&](int64_t tap) { return flipped ? taps_h - 1 - tap : tap; };
  const auto col_of = [&](int64_t tap) { return flipped ? taps_w - 1 - tap : tap; };
  for (const Span& sh : h) {
    for (const Span& sw : w) {
      const auto first = static_cast<int64_t>(sweep.runs.size());
      for (int64_t a = 0; a < sh.taps; ++a) {
        for (int64_t b = 0; b < sw.taps; ++b) {
          const int64_t packed =
              row_of(sh.tap + a * sh.tap_step) * taps_w + col_of(sw.tap + b * sw.tap_step);
          append_run(sweep.runs, first, a * sh.in_tap_step * in.row + b * sw.in_tap_step * in.col,
                     packed * channels, channels);
        }
      }
      split_runs(sweep.runs, first);
      const bool reads = sh.taps > 0 && sw.taps > 0;
      sweep.rectangles.push_back({sh.count, sw.count, reads ? sh.in * in.row + sw.in * in.col : 0,
                                  sh.out * out.row + sw.out * out.col,
                                  reads ? sh.in_step * in.row : 0, reads ? sw.in_step * in.col : 0,
                                  sh.out_step * out.row, sw.out_step * out.col, first,
                                  static_cast<int64_t>(sweep.runs.size()) - first});
    }
  }
  return sweep;
}

}  // namespace scratchnet
