#include "correlation.h"

#include <algorithm>

#include "core/isa.h"

namespace scratchnet {
namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A task is about this many pixels: enough of them for all threads, and each worth the hand-over.
constexpr int64_t kTaskPixels = 512;

}  // namespace

void expect_computable(const Conv& conv) {
  const auto fits = [](const Axis& axis) {
    return axis.taps == 3 && axis.stride == 1 && axis.dilation == 1;
  };
  expect(!conv.winograd || (conv.groups == 1 && fits(conv.h) && fits(conv.w)),
         "winograd: expected a kernel of 3x3 with stride 1, dilation 1 and 1 group");
}

WeightLayout plain_weight(const Conv& conv) {
  const int64_t taps = conv.taps(), big = conv.big_channels / conv.groups;
  return {0, big * taps, taps, conv.w.taps, 1, conv.small_channels / conv.groups * big * taps};
}

template <class T>
Correlation<T>::Correlation(const Conv& conv, const WeightLayout& weight, bool is_up)
    : groups_(conv.groups),
      in_channels_((is_up ? conv.small_channels : conv.big_channels) / conv.groups),
      out_channels_((is_up ? conv.big_channels : conv.small_channels) / conv.groups),
      in_image_(is_up ? conv.small_size() : conv.big_size()),
      out_image_(is_up ? conv.big_size() : conv.small_size()),
      in_pixels_(is_up ? conv.h.small * conv.w.small : conv.h.big * conv.w.big),
      taps_(conv.taps()),
      weight_origin_(weight.origin),
      weight_group_(weight.group) {
  // Going up, read positions rise as taps fall: packed in reverse, neighbours stay neighbours.
  int64_t step_h = weight.h, step_w = weight.w;
  if (is_up) {
    weight_origin_ += (conv.h.taps - 1) * step_h + (conv.w.taps - 1) * step_w;
    step_h = -step_h;
    step_w = -step_w;
  }
  const int64_t step_in = is_up ? weight.small : weight.big;
  const int64_t step_out = is_up ? weight.big : weight.small;

  // Few out-channels leave most lanes empty; those of all taps together fill them. That pays where
  // no product is computed in vain: going up, and going down without stride.
  const bool every_product_used = is_up || (conv.h.stride == 1 && conv.w.stride == 1);
  by_products_ = every_product_used && groups_ == 1 && taps_ > 1 && taps_ <= kMostGatheredTaps &&
                 2 * out_channels_ <= lanes<T>() && out_channels_ <= 8;
  depthwise_ = groups_ > 1 && in_channels_ == 1 && out_channels_ == 1;
  columns_ = by_products_ ? taps_ * out_channels_ : out_channels_;
  depth_ = by_products_ ? in_channels_ : taps_ * in_channels_;
  vectors_ = ceil_div(depthwise_ ? groups_ : columns_, lanes<T>());
  blocks_ = ceil_div(vectors_, kMaxVectors);
  packed_group_ = depth_ * vectors_ * lanes<T>();
  pack_ = {0,      nullptr, nullptr, conv.h.taps, conv.w.taps, in_channels_, out_channels_,
           step_h, step_w,  step_in, step_out};

  const int64_t in_pixel = by_products_ ? vectors_ * lanes<T>() : groups_ * in_channels_;
  const int64_t out_pixel = groups_ * out_channels_;
  const int64_t in_cols = is_up ? conv.w.small : conv.w.big;
  const int64_t out_cols = is_up ? conv.w.big : conv.w.small;
  sweep_ = make_sweep(is_up ? spans_up(conv.h) : spans_down(conv.h),
                      is_up ? spans_up(conv.w) : spans_down(conv.w), conv.h.taps, conv.w.taps,
                      is_up, by_products_ ? 1 : in_channels_, {in_cols * in_pixel, in_pixel},
                      {out_cols * out_pixel, out_pixel});
  for (size_t i = 0; i < sweep_.rectangles.size(); ++i) {
    const Rectangle& rectangle = sweep_.rectangles[i];
    const int64_t rows = std::clamp<int64_t>(kTaskPixels / rectangle.cols, 1, rectangle.rows);
    for (int64_t row = 0; row < rectangle.rows; row += rows) {
      pieces_.push_back({static_cast<int64_t>(i), row, std::min(rows, rectangle.rows - row)});
    }
  }
  if (conv.winograd) {
    const Size big{conv.big_channels, conv.h.big, conv.w.big};
    const Size small{conv.small_channels, conv.h.small, conv.w.small};
    const Windows windows = is_up ? Windows{small, big, {2 - conv.h.pad, 2 - conv.w.pad}}
                                  : Windows{big, small, {conv.h.pad, conv.w.pad}};
    winograd_.emplace(windows, pack_);
  }
  if (by_products_) {
    // The image as one column of pixels, with one tap.
    const int64_t pixel = groups_ * in_channels_;
    pixels_ = make_sweep({{in_pixels_, 0, 1, 0, 1, 1, 0, 1, 1}}, {{1, 0, 1, 0, 1, 1, 0, 1, 1}}, 1,
                         1, false, in_channels_, {pixel, pixel}, {in_pixel, in_pixel});
    for (int64_t row = 0; row < in_pixels_; row += kTaskPixels) {
      pixel_pieces_.push_back({0, row, std::min(kTaskPixels, in_pixels_ - row)});
    }
  }
}

template <class T>
Correlation<T> Correlation<T>::down(const Conv& conv, const WeightLayout& weight) {
  return Correlation(conv, weight, false);
}

template <class T>
Correlation<T> Correlation<T>::up(const Conv& conv, const WeightLayout& weight) {
  return Correlation(conv, weight, true);
}

template <class T>
int64_t Correlation<T>::packed_size() const {
  if (winograd_) return winograd_->packed_size();
  return (depthwise_ ? 1 : groups_) * packed_group_;
}

template <class T>
int64_t Correlation<T>::pack_tasks() const {
  if (winograd_) return winograd_->pack_tasks();
  return by_products_ || depthwise_ ? 1 : groups_ * blocks_;
}

template <class T>
void Correlation<T>::pack(int64_t task, const T* weight, T* packed) const {
  if (winograd_) return winograd_->pack(task, weight + weight_origin_, packed);
  if (depthwise_) return pack_depthwise(weight, packed);
  Pack<T> job = pack_;
  if (!by_products_) {
    const int64_t group = task / blocks_;
    job.block = task % blocks_;
    job.weight = weight + weight_origin_ + group * weight_group_;
    job.packed = packed + group * packed_group_;
    scratchnet::pack(job);
    return;
  }
  job.weight = weight + weight_origin_;
  // All taps' out-channels side by side: (in, tap, out) fits no step of Pack, so tap by tap.
  std::fill(packed, packed + packed_group_, T(0));
  for (int64_t block = 0; block < blocks_; ++block) {
    const int64_t begin = vectors_ * block / blocks_ * lanes<T>();
    const int64_t end = vectors_ * (block + 1) / blocks_ * lanes<T>();
    for (int64_t column = begin; column < std::min(end, columns_); ++column) {
      const int64_t tap = column / out_channels_;
      const T* from = job.weight + tap / job.taps_w * job.step_h + tap % job.taps_w * job.step_w +
                      column % out_channels_ * job.step_out;
      T* to = packed + depth_ * begin + column - begin;
      for (int64_t c = 0; c < in_channels_; ++c) to[c * (end - begin)] = from[c * job.step_in];
    }
  }
}

template <class T>
void Correlation<T>::pack_depthwise(const T* weight, T* packed) const {
  const int64_t row = vectors_ * lanes<T>();
  std::fill(packed, packed + packed_group_, T(0));
  for (int64_t tap = 0; tap < taps_; ++tap) {
    const T* from = weight + weight_origin_ + tap / pack_.taps_w * pack_.step_h +
                    tap % pack_.taps_w * pack_.step_w;
    for (int64_t c = 0; c < groups_; ++c) packed[tap * row + c] = from[c * weight_group_];
  }
}

template <class T>
int64_t Correlation<T>::tasks(int64_t stage) const {
  if (winograd_) return winograd_->tasks();
  const bool products = by_products_ && stage == 0;
  return static_cast<int64_t>((products ? pixel_pieces_ : pieces_).size());
}

template <class T>
int64_t Correlation<T>::products_size() const {
  // gather_taps reads up to 3 elements past the last product.
  const int64_t slack = std::max<int64_t>(lanes<T>(), 4);
  return by_products_ ? in_pixels_ * vectors_ * lanes<T>() + slack : 0;
}

template <class T>
void Correlation<T>::run(int64_t stage, int64_t task, int64_t images, const T* in, const T* packed,
                         T* products, const Epilogue<T>& epilogue, T* out) const {
  if (winograd_) return winograd_->run(task, images, in, packed, epilogue, out);
  if (!by_products_) {
    multiply(pieces_[task], images, in, packed, out, epilogue, out_image_);
    return;
  }
  if (stage == 0) {
    multiply(pixel_pieces_[task], images, in, packed, products, {}, products_size());
    return;
  }
  const Piece& piece = pieces_[task];
  const Rectangle& rect = sweep_.rectangles[piece.rectangle];
  for (int64_t image = 0; image < images; ++image) {
    const int64_t at = image * out_image_ + rect.out + piece.first_row * rect.out_row;
    Correlate<T> job{};
    job.in = products + image * products_size() + rect.in + piece.first_row * rect.in_row;
    job.bias = epilogue.bias;
    job.out = out + at;
    job.rows = piece.rows, job.cols = rect.cols;
    job.in_row = rect.in_row, job.in_col = rect.in_col;
    job.out_row = rect.out_row, job.out_col = rect.out_col;
    job.runs = sweep_.runs.data() + rect.first_run, job.num_runs = rect.num_runs;
    job.channels = out_channels_;
    job.function = epilogue.function;
    job.returned = epilogue.returned ? epilogue.returned + at : nullptr,
    job.derivative_of = epilogue.derivative_of;
    gather_taps(job);
  }
}

template <class T>
void Correlation<T>::multiply(const Piece& piece, int64_t images, const T* in, const T* packed,
                              T* out, const Epilogue<T>& epilogue, int64_t out_image) const {
  const Sweep& sweep = by_products_ ? pixels_ : sweep_;
  const Rectangle& rect = sweep.rectangles[piece.rectangle];
  const int64_t groups = depthwise_ ? 1 : groups_, blocks = depthwise_ ? 1 : blocks_;
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t begin = vectors_ * block / blocks, end = vectors_ * (block + 1) / blocks;
      const int64_t channel = group * out_channels_ + begin * lanes<T>();
      // With products all their lanes are written, also the padding: they are ours.
      const int64_t channels = by_products_ ? end * lanes<T>()
                               : depthwise_ ? groups_
                                            : std::min(end * lanes<T>(), out_channels_);
      const int64_t at = rect.out + piece.first_row * rect.out_row + channel;
      Correlate<T> job{};
      job.in = in + rect.in + piece.first_row * rect.in_row + group * in_channels_;
      job.packed = packed + group * packed_group_ + depth_ * begin * lanes<T>();
      job.bias = epilogue.bias ? epilogue.bias + channel : nullptr;
      job.out = out + at;
      job.images = images, job.rows = piece.rows, job.cols = rect.cols;
      job.in_image = in_image_, job.in_row = rect.in_row, job.in_col = rect.in_col;
      job.out_image = out_image, job.out_row = rect.out_row, job.out_col = rect.out_col;
      job.runs = sweep.runs.data() + rect.first_run, job.num_runs = rect.num_runs;
      job.vectors = end - begin, job.channels = channels - begin * lanes<T>();
      job.function = epilogue.function;
      job.returned = epilogue.returned ? epilogue.returned + at : nullptr,
      job.derivative_of = epilogue.derivative_of;
      depthwise_ ? depthwise(job) : correlate(job);
    }
  }
}

template class Correlation<float>;
template class Correlation<double>;

}  // namespace scratchnet
