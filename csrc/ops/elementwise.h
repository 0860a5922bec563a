// Element-wise functions on stretches of memory, on one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/function.h"
#include "functions.h"

namespace scratchnet {

// A function of the table by its name, with what `option` returns for each of its options. Throws
// std::invalid_argument if there is none.
using OptionOf = std::function<double(const char*)>;
ElementWise element_wise(const std::string& name, const OptionOf& option);

// y = f(x); and result = grad times the derivative, `v` being as is_of_output says.
template <class T>
void evaluate(const ElementWise& function, const T* x, T* y, int64_t size);
template <class T>
void differentiate(const ElementWise& function, const T* grad, const T* v, T* result, int64_t size);

// In place, of the functions that kernels apply to their results.
template <class T>
void apply(T* data, int64_t size, Function function);

// grad *= the derivative of the function that returned y.
template <class T>
void apply_derivative(T* grad, const T* y, int64_t size, Function function);

// sum += term.
template <class T>
void add_to(T* sum, const T* term, int64_t size);

}  // namespace scratchnet
