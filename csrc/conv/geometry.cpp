#include "geometry.h"

#include <algorithm>
#include <numeric>

#include "core/tensor.h"

namespace scratchnet {
namespace {

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
int64_t ceil_div(int64_t a, int64_t b) { return -floor_div(-a, b); }

// Lengthen the last span by one position if `next` continues it, else start a new one.
void append(std::vector<Span>& spans, const Span& next, bool may_continue) {
  if (may_continue && !spans.empty()) {
    Span& last = spans.back();
    if (last.taps == next.taps && (next.taps == 0 || last.tap == next.tap)) {
      ++last.count;
      return;
    }
  }
  spans.push_back(next);
}

}  // namespace

Axis conv_axis(int64_t in, int64_t taps, int64_t stride, int64_t padding, int64_t dilation) {
  expect(taps > 0 && stride > 0 && dilation > 0 && padding >= 0,
         "expected a kernel size, stride and dilation of at least 1 and a padding of at least 0, "
         "got ",
         taps, ", ", stride, ", ", dilation, " and ", padding);
  const int64_t room = in + 2 * padding - dilation * (taps - 1) - 1;
  expect(room >= 0, "an input of size ", in, " is smaller than the kernel");
  return {in, room / stride + 1, taps, stride, padding, dilation};
}

std::vector<Span> spans_down(const Axis& axis) {
  std::vector<Span> spans;
  for (int64_t i = 0; i < axis.small; ++i) {
    const int64_t start = axis.stride * i - axis.pad;  // where tap 0 reads
    const int64_t low = std::max<int64_t>(0, ceil_div(-start, axis.dilation));
    const int64_t high = std::min(axis.taps - 1, floor_div(axis.big - 1 - start, axis.dilation));
    const int64_t taps = std::max<int64_t>(0, high - low + 1);
    append(spans, {1, i, 1, start + low * axis.dilation, axis.stride, taps, low, 1, axis.dilation},
           true);
  }
  return spans;
}

std::vector<Span> spans_up(const Axis& axis) {
  // big[b] collects small[(b + pad - dilation * t) / stride] over the taps t for which that
  // division is exact: every (stride / gcd)-th tap. Positions b of one residue modulo the stride
  // share their taps, but for the borders.
  const int64_t tap_step = axis.stride / std::gcd(axis.stride, axis.dilation);
  const int64_t in_tap_step = axis.dilation * tap_step / axis.stride;
  std::vector<Span> spans;
  for (int64_t residue = 0; residue < std::min(axis.stride, axis.big); ++residue) {
    for (int64_t b = residue; b < axis.big; b += axis.stride) {
      int64_t taps = 0, last = 0, in = 0;
      for (int64_t t = 0; t < axis.taps; ++t) {
        const int64_t stuffed = b + axis.pad - axis.dilation * t;
        if (stuffed % axis.stride != 0 || stuffed < 0 || stuffed / axis.stride >= axis.small)
          continue;
        ++taps;
        last = t;
        in = stuffed / axis.stride;
      }
      // Read positions fall as t rises, so ascending order starts at the last tap.
      append(spans, {1, b, axis.stride, in, 1, taps, last, -tap_step, in_tap_step}, b != residue);
    }
  }
  return spans;
}

TapRange tap_range(const Axis& axis, int64_t tap) {
  const int64_t offset = axis.dilation * tap - axis.pad;  // what small position 0 reads
  const int64_t first = std::max<int64_t>(0, ceil_div(-offset, axis.stride));
  const int64_t last = std::min(axis.small - 1, floor_div(axis.big - 1 - offset, axis.stride));
  return {std::max<int64_t>(0, last - first + 1), first, offset + axis.stride * first};
}

}  // namespace scratchnet
