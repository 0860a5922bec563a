#include "stage.h"

namespace scratchnet {
namespace {

Axis stage_axis(const Layer& layer, int i, int64_t in) {
  const int64_t taps = layer.taps[i], dilation = layer.dilation[i], padding = layer.padding[i];
  const int64_t span = dilation * (taps - 1);
  if (!layer.upsamples) {
    return conv_axis(in, taps, layer.stride[i], padding, dilation);
  }
  const int64_t scale = layer.scale[i];
  const int64_t out = in * scale + 2 * padding - span;
  return {out + scale - 1, in, taps, scale, span - padding - (scale - 1), dilation};
}

Conv make_conv(const Layer& layer, Size input) {
  const Axis h = stage_axis(layer, 0, input.height), w = stage_axis(layer, 1, input.width);
  if (layer.upsamples) return {layer.groups, layer.out_channels, layer.in_channels, h, w};
  return {layer.groups, layer.in_channels, layer.out_channels, h, w};
}

// The weight (out_channels, in_channels / groups, taps_h, taps_w), in the convolution's own terms:
// an upsampling layer's small image is its input, and it meets the taps in reverse order.
WeightLayout weight_layout(const Layer& layer, const Conv& conv) {
  if (!layer.upsamples) return plain_weight(conv);
  const int64_t taps = conv.taps(), in = layer.in_channels / layer.groups;
  const int64_t group = layer.out_channels / layer.groups * in * taps;
  return {taps - 1, taps, in * taps, -conv.w.taps, -1, group};
}

Size output_size(const Layer& layer, const Conv& conv) {
  if (!layer.upsamples) return {layer.out_channels, conv.h.small, conv.w.small};
  return {layer.out_channels, conv.h.big - layer.scale[0] + 1, conv.w.big - layer.scale[1] + 1};
}

}  // namespace

template <class T>
Stage<T>::Stage(const Layer& layer, Size input)
    : layer(layer),
      input(input),
      output(output_size(layer, make_conv(layer, input))),
      conv(make_conv(layer, input)),
      unboxed(layer.upsamples ? Size{layer.out_channels, conv.h.big, conv.w.big} : output),
      to_output(layer.upsamples ? Correlation<T>::up(conv, weight_layout(layer, conv))
                                : Correlation<T>::down(conv, weight_layout(layer, conv))),
      to_input(layer.upsamples ? Correlation<T>::down(conv, weight_layout(layer, conv))
                               : Correlation<T>::up(conv, weight_layout(layer, conv))),
      gradient(conv, weight_layout(layer, conv)) {}

template struct Stage<float>;
template struct Stage<double>;

}  // namespace scratchnet
