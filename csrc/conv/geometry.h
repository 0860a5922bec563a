// Which taps every output pixel of a convolution sees, worked out once per axis.
#pragma once

#include <cstdint>
#include <vector>

namespace scratchnet {

// One axis of a correlation between a `big` and a `small` axis:
//
//     small[i] = sum over t of weight[t] * big[stride * i - pad + dilation * t]
//
// A convolution's forward reads `big` and writes `small` ("down"); its input gradient, which is
// also the forward of a transposed convolution, reads `small` and writes `big` ("up"). `pad` may be
// negative.
struct Axis {
  int64_t big, small, taps, stride, pad, dilation;
};

// The axis of a convolution of an input of size `in`; throws std::invalid_argument if there is
// none.
Axis conv_axis(int64_t in, int64_t taps, int64_t stride, int64_t padding, int64_t dilation);

// Consecutive output positions that see the same taps. Written position j (of `count`) is out + j *
// out_step; its tap number a (of `taps`, in the order of ascending read positions) is weight[tap +
// a * tap_step] and reads position in + j * in_step + a * in_tap_step. Positions outside the read
// axis never appear, so nothing has to be padded.
struct Span {
  int64_t count;
  int64_t out, out_step;
  int64_t in, in_step;
  int64_t taps, tap, tap_step, in_tap_step;
};

// Together the spans write every position of the small (big) axis exactly once; `taps` may be 0.
std::vector<Span> spans_down(const Axis& axis);
std::vector<Span> spans_up(const Axis& axis);

// The small positions for which tap t reads inside the big axis: small `first` .. `first + count -
// 1`, reading big[in + stride * j] for the j-th of them.
struct TapRange {
  int64_t count, first, in;
};
TapRange tap_range(const Axis& axis, int64_t tap);

}  // namespace scratchnet
