// Winograd's transforms between channels-last images and points: see winograd.h.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace scratchnet {

// Tiles of images that follow each other in memory. Tiles start 2 pixels apart, overlap if they are
// larger, and may reach over the image's borders. Point k (of 16) of channel c of the i-th tile
// lies at points[k * point_step + i * tile_step + c]; there is room for whole vectors of channels.
template <class T>
struct Tiles {
  T* pixels;                        // the first channel used, of the first image's first pixel
  int64_t height, width, channels;  // of an image
  int64_t channels_used;
  int64_t top, left;   // the first pixel of an image's first tile
  int64_t rows, cols;  // tiles of an image
  int64_t begin, end;  // which of them, counted through all images
  T* points;
  int64_t point_step, tile_step;
};

// From 4x4 pixels that a 3x3 kernel reads, Bᵀ d B; from 2x2 pixels of a gradient, A y Aᵀ.
template <class T>
void pixels_to_points(const Tiles<T>& job);
template <class T>
void results_to_points(const Tiles<T>& job);
// To 2x2 pixels, Aᵀ p A; what the epilogue reads lies like `pixels`.
template <class T>
void points_to_results(const Tiles<T>& job, const Epilogue<T>& epilogue);
// Weights: `size` whole vectors of each of the 9 taps to those of each of the 16 points, G g Gᵀ.
template <class T>
void weights_to_points(const T* weights, T* points, int64_t size);
// Their gradient, Gᵀ p G: added to the 9 sums.
template <class T>
void points_to_weights(const T* points, int64_t point_step, int64_t size, T* sums,
                       int64_t tap_step);

}  // namespace scratchnet
