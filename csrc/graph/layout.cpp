// Between planes of channels, as images usually come, and channels-last, one row of pixels (or a
// whole image, if its rows follow each other) at a time.
#ifdef SCRATCHNET_KERNELS

// Three planes, as in a colour image: with the number known, the compiler shuffles vectors.
template <class T>
void interleave_three(const T* __restrict from, int64_t plane, int64_t pixels, T* __restrict to) {
  const T* __restrict red = from, * __restrict green = from + plane, * __restrict blue = from + 2 * plane;
  for (int64_t i = 0; i < pixels; ++i) {
    to[3 * i] = red[i];
    to[3 * i + 1] = green[i];
    to[3 * i + 2] = blue[i];
  }
}

template <class T>
void deinterleave_three(const T* __restrict from, int64_t plane, int64_t pixels, T* __restrict to) {
  T* __restrict red = to, * __restrict green = to + plane, * __restrict blue = to + 2 * plane;
  for (int64_t i = 0; i < pixels; ++i) {
    red[i] = from[3 * i];
    green[i] = from[3 * i + 1];
    blue[i] = from[3 * i + 2];
  }
}

template <class T>
void interleave(const T* from, int64_t plane, int64_t step, int64_t pixels, int64_t channels,
                T* to) {
  if (channels == 3 && step == 1) return interleave_three(from, plane, pixels, to);
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < pixels; ++i) to[i * channels + c] = from[c * plane + i * step];
  }
}

template <class T>
void deinterleave(const T* from, int64_t plane, int64_t step, int64_t pixels, int64_t channels,
                  T* to) {
  if (channels == 3 && step == 1) return deinterleave_three(from, plane, pixels, to);
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < pixels; ++i) to[c * plane + i * step] = from[i * channels + c];
  }
}

#else

#include "images.h"

#include "core/each_isa.h"

namespace scratchnet {

template <class T>
void interleave(const T* from, int64_t plane, int64_t step, int64_t pixels, int64_t channels,
                T* to) {
  SCRATCHNET_BEST(interleave<T>)(from, plane, step, pixels, channels, to);
}
template void interleave(const float* from, int64_t plane, int64_t step, int64_t pixels,
                         int64_t channels, float* to);
template void interleave(const double* from, int64_t plane, int64_t step, int64_t pixels,
                         int64_t channels, double* to);

template <class T>
void deinterleave(const T* from, int64_t plane, int64_t step, int64_t pixels, int64_t channels,
                  T* to) {
  SCRATCHNET_BEST(deinterleave<T>)(from, plane, step, pixels, channels, to);
}
template void deinterleave(const float* from, int64_t plane, int64_t step, int64_t pixels,
                           int64_t channels, float* to);
template void deinterleave(const double* from, int64_t plane, int64_t step, int64_t pixels,
                           int64_t channels, double* to);

}  // namespace scratchnet

#endif
