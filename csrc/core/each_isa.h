// Reads the file that includes it again, once for each instruction set, with SCRATCHNET_KERNELS
// defined:
//
//     #ifdef SCRATCHNET_KERNELS  // once for each instruction set
//
//     template <class T>
//     void twice(const T* x, T* y, int64_t size) { ... vectors, see vec.h ... }
//
//     #else  // once
//
//     #include "core/each_isa.h"
//
//     template <class T>
//     void f(const T* x, T* y, int64_t size) { SCRATCHNET_BEST(twice<T>)(x, y, size); }
//
//     #endif
//
// The compiler switches the instruction set within the file, so no flags are needed, and whatever
// was included before (the standard library, say) stays as it is for every processor. The kernels
// are in unnamed namespaces: no other file's linker symbols can take their place. A lambda does not
// inherit the instruction set: write SCRATCHNET_TARGET after its parameters.
#pragma once

#include <cstdint>

#include "isa.h"

#ifdef SCRATCHNET_X86
#include <immintrin.h>
#endif

#define SCRATCHNET_KERNELS

#define SCRATCHNET_VECTOR_BYTES 16
#define SCRATCHNET_TARGET
namespace scratchnet::generic {
namespace {
#include "vec.h"
#include __BASE_FILE__
}  // namespace
}  // namespace scratchnet::generic
#undef SCRATCHNET_VECTOR_BYTES
#undef SCRATCHNET_TARGET

#ifdef SCRATCHNET_X86

#define SCRATCHNET_VECTOR_BYTES 32
#define SCRATCHNET_TARGET __attribute__((target("avx2,fma")))
#ifdef __clang__
#pragma clang attribute push(SCRATCHNET_TARGET, apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace scratchnet::avx2 {
namespace {
#include "vec.h"
#include __BASE_FILE__
}  // namespace
}  // namespace scratchnet::avx2
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef SCRATCHNET_VECTOR_BYTES
#undef SCRATCHNET_TARGET

#define SCRATCHNET_VECTOR_BYTES 64
#define SCRATCHNET_TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma")))
#ifdef __clang__
#pragma clang attribute push(SCRATCHNET_TARGET, apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma")
#endif
namespace scratchnet::avx512 {
namespace {
#include "vec.h"
#include __BASE_FILE__
}  // namespace
}  // namespace scratchnet::avx512
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace scratchnet {
template <class Function>
Function* best(Function* generic, Function* avx2, Function* avx512) {
  const IsaIndex isa = current_isa();
  return isa == kAvx512 ? avx512 : isa == kAvx2 ? avx2 : generic;
}
}  // namespace scratchnet

// The kernel of this name for the instruction set in use.
#define SCRATCHNET_BEST(...)                                                                \
  ::scratchnet::best(&::scratchnet::generic::__VA_ARGS__, &::scratchnet::avx2::__VA_ARGS__, \
                     &::scratchnet::avx512::__VA_ARGS__)
#else
#define SCRATCHNET_BEST(...) (&::scratchnet::generic::__VA_ARGS__)
#endif

#undef SCRATCHNET_KERNELS
#undef SCRATCHNET_VECTOR_BYTES
#undef SCRATCHNET_TARGET
