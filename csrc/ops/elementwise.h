// Element-wise functions on stretches of memory, in place, on one thread.
#pragma once

#include <cstdint>

#include "core/function.h"

namespace scratchnet {

template <class T>
void apply(T* data, int64_t size, Function function);

// grad *= the derivative of the function that returned y.
template <class T>
void apply_derivative(T* grad, const T* y, int64_t size, Function function);

// sum += term.
template <class T>
void add_to(T* sum, const T* term, int64_t size);

}  // namespace scratchnet
