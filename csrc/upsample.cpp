#include "ops.h"

#include <algorithm>

namespace scratchnet {

template <class T>
void upsample_forward(const Pool& pool, const Upsample& shape, const T* small, T* big) {
  const int64_t in_row = shape.width * shape.channels, out_row = in_row * shape.scale_w;
  run_tasks(pool, shape.batch * shape.height, [&](int64_t row, int64_t) {
    const T* in = small + row * in_row;
    T* first = big + row * shape.scale_h * out_row;
    T* out = first;
    for (int64_t w = 0; w < shape.width; ++w, in += shape.channels) {
      for (int64_t j = 0; j < shape.scale_w; ++j) out = std::copy(in, in + shape.channels, out);
    }
    for (int64_t i = 1; i < shape.scale_h; ++i) out = std::copy(first, first + out_row, out);
  });
}

template <class T>
void upsample_backward(const Pool& pool, const Upsample& shape, const T* big, T* small) {
  const int64_t out_row = shape.width * shape.channels, in_row = out_row * shape.scale_w;
  run_tasks(pool, shape.batch * shape.height, [&](int64_t row, int64_t) {
    T* out = small + row * out_row;
    std::fill(out, out + out_row, T(0));
    for (int64_t i = 0; i < shape.scale_h; ++i) {
      const T* in = big + (row * shape.scale_h + i) * in_row;
      for (int64_t w = 0; w < shape.width; ++w) {
        T* sum = out + w * shape.channels;
        for (int64_t j = 0; j < shape.scale_w; ++j, in += shape.channels) {
          for (int64_t c = 0; c < shape.channels; ++c) sum[c] += in[c];
        }
      }
    }
  });
}

template void upsample_forward(const Pool&, const Upsample&, const float*, float*);
template void upsample_forward(const Pool&, const Upsample&, const double*, double*);
template void upsample_backward(const Pool&, const Upsample&, const float*, float*);
template void upsample_backward(const Pool&, const Upsample&, const double*, double*);

}  // namespace scratchnet
