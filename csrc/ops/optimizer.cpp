// One step of an optimizer over all parameters, and the length of all gradients.
#ifdef SCRATCHNET_KERNELS

template <class T>
SCRATCHNET_INLINE Vec<T> direction(const Places<T>& at, int64_t i, int64_t n, bool maximize, T decay) {
  const Vec<T> grad = load_first(at.grad + i, n);
  const Vec<T> descent = maximize ? -grad : grad;
  return decay != 0 ? descent + decay * load_first(at.value + i, n) : descent;
}

template <class T>
void sgd(const Places<T>& at, const Numbers& given, int64_t begin, int64_t end) {
  const T lr = given[0], momentum = given[1], enters = given[2], decay = given[3];
  const bool maximize = given[4], nesterov = given[5], first = given[6];
  for (int64_t i = begin; i < end; i += kLanes<T>) {
    const int64_t n = smaller(kLanes<T>, end - i);
    Vec<T> step = direction(at, i, n, maximize, decay);
    if (momentum != 0) {
      const Vec<T> velocity =
          first ? step : momentum * load_first(at.state[0] + i, n) + enters * step;
      store_first(at.state[0] + i, velocity, n);
      step = nesterov ? step + momentum * velocity : velocity;
    }
    store_first(at.value + i, load_first(at.value + i, n) - lr * step, n);
  }
}

template <class T>
void adam(const Places<T>& at, const Numbers& given, int64_t begin, int64_t end) {
  const T rate = given[0], beta1 = given[1], beta2 = given[2], eps = given[3], decay = given[4];
  const T root = given[5], shrink = given[6], rest1 = given[8], rest2 = given[9];
  const bool maximize = given[7];
  for (int64_t i = begin; i < end; i += kLanes<T>) {
    const int64_t n = smaller(kLanes<T>, end - i);
    const Vec<T> grad = direction(at, i, n, maximize, decay);
    const Vec<T> old = load_first(at.state[0] + i, n);
    const Vec<T> mean = beta1 != 0 ? old + rest1 * (grad - old) : grad;
    const Vec<T> square = beta2 * load_first(at.state[1] + i, n) + rest2 * grad * grad;
    store_first(at.state[0] + i, mean, n);
    store_first(at.state[1] + i, square, n);
    Vec<T> most = square;
    if (at.state[2]) {
      const Vec<T> before = load_first(at.state[2] + i, n);
      most = before > square ? before : square;
      store_first(at.state[2] + i, most, n);
    }
    const Vec<T> value = load_first(at.value + i, n);
    store_first(at.value + i, shrink * value - rate * (mean / (sqrt_vec(most) / root + eps)), n);
  }
}

template <class T>
void lion(const Places<T>& at, const Numbers& given, int64_t begin, int64_t end) {
  const T lr = given[0], rest1 = given[1], rest2 = given[2], shrink = given[3];
  const bool maximize = given[4];
  const Vec<T> zero = {};
  for (int64_t i = begin; i < end; i += kLanes<T>) {
    const int64_t n = smaller(kLanes<T>, end - i);
    const Vec<T> grad = direction(at, i, n, maximize, T(0)), mean = load_first(at.state[0] + i, n);
    const Vec<T> ahead = mean + rest1 * (grad - mean);
    const Vec<T> step = ahead > zero ? zero + lr : ahead < zero ? zero - lr : ahead;
    store_first(at.value + i, shrink * load_first(at.value + i, n) - step, n);
    store_first(at.state[0] + i, mean + rest2 * (grad - mean), n);
  }
}

template <class T>
void rmsprop(const Places<T>& at, const Numbers& given, int64_t begin, int64_t end) {
  const T lr = given[0], alpha = given[1], rest = given[2], eps = given[3], decay = given[4];
  const T momentum = given[5];
  const bool maximize = given[6];
  for (int64_t i = begin; i < end; i += kLanes<T>) {
    const int64_t n = smaller(kLanes<T>, end - i);
    const Vec<T> grad = direction(at, i, n, maximize, decay);
    const Vec<T> square = alpha * load_first(at.state[0] + i, n) + rest * grad * grad;
    store_first(at.state[0] + i, square, n);
    Vec<T> centred = square;
    if (at.state[1]) {
      const Vec<T> old = load_first(at.state[1] + i, n), mean = old + rest * (grad - old);
      store_first(at.state[1] + i, mean, n);
      centred -= mean * mean;
    }
    Vec<T> step = grad / (sqrt_vec(centred) + eps);
    if (at.state[2]) {
      step += momentum * load_first(at.state[2] + i, n);
      store_first(at.state[2] + i, step, n);
    }
    store_first(at.value + i, load_first(at.value + i, n) - lr * step, n);
  }
}

template <class T>
void update(Optimizer kind, const Places<T>& at, const Numbers& given, int64_t begin, int64_t end) {
  if (kind == Optimizer::sgd) return sgd(at, given, begin, end);
  if (kind == Optimizer::adam) return adam(at, given, begin, end);
  if (kind == Optimizer::lion) return lion(at, given, begin, end);
  return rmsprop(at, given, begin, end);
}

// The sum of the squares, in the order of memory but for the lanes.
template <class T>
double square_sum(const T* x, int64_t size) {
  constexpr int64_t L = kLanes<double>;
  Vec<double> sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * L <= size; i += 4 * L) {
    SCRATCHNET_UNROLL
    for (int64_t k = 0; k < 4; ++k) {
      Vec<double> wide;
      for (int64_t lane = 0; lane < L; ++lane) wide[lane] = x[i + k * L + lane];
      sums[k] += wide * wide;
    }
  }
  double sum = 0;
  for (; i < size; ++i) sum += double(x[i]) * double(x[i]);
  const Vec<double> all = sums[0] + sums[1] + (sums[2] + sums[3]);
  for (int64_t lane = 0; lane < L; ++lane) sum += all[lane];
  return sum;
}

template <class T>
void scale(T* x, T factor, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes<T>) {
    const int64_t n = smaller(kLanes<T>, size - i);
    store_first(x + i, factor * load_first(x + i, n), n);
  }
}

#else

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/binding.h"

namespace scratchnet {
namespace {

enum class Optimizer { sgd, adam, lion, rmsprop };

constexpr size_t kStates = 3, kNumbers = 10;
using Numbers = std::array<double, kNumbers>;  // in the order in which the Python side gives them

template <class T>
struct Places {
  T* value;
  const T* grad;
  std::array<T*, kStates> state;  // null where there is none
};

}  // namespace
}  // namespace scratchnet

#include "core/each_isa.h"

namespace scratchnet {
namespace {

constexpr int64_t kStretch = 1 << 14;  // elements that a thread does at a time

// One parameter; all its tensors lie in memory as the value does, without gaps.
struct Parameter {
  void *value, *grad;
  std::array<void*, kStates> state{};
  int64_t size = 0;
  bool is_double = false;
};

// What a tensor is, without the cost of a Tensor; false unless it is one that the kernels take.
bool describe(py::handle object, dlpack::Description& found) {
  const Torch& torch = Torch::get();
  if (torch.exchange->describe(object.ptr(), &found) != 0) {
    PyErr_Clear();
    return false;
  }
  const bool is_float = found.dtype.code == dlpack::kFloat &&
                        (found.dtype.bits == 32 || found.dtype.bits == 64);
  if (found.device != dlpack::kCpu || !is_float) return false;
  int64_t step = 1;
  for (int32_t axis = found.dim - 1; axis >= 0; --axis) {
    if (found.sizes[axis] != 1 && found.strides[axis] != step) return false;
    step *= found.sizes[axis];
  }
  const py::object negates = py::reinterpret_steal<py::object>(
      PyObject_CallMethodNoArgs(object.ptr(), torch.is_neg.ptr()));
  if (!negates) throw py::error_already_set();
  return negates.is(py::handle(Py_False));
}

void* data(const dlpack::Description& found) {
  return static_cast<char*>(found.data) + found.byte_offset;
}

int64_t count(const dlpack::Description& found) {
  int64_t product = 1;
  for (int32_t axis = 0; axis < found.dim; ++axis) product *= found.sizes[axis];
  return product;
}

bool read(const py::list& values, const py::list& grads, const py::list& states,
          std::vector<Parameter>& into) {
  into.resize(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    Parameter& parameter = into[i];
    dlpack::Description found{};
    if (!describe(values[i], found)) return false;
    parameter.value = data(found);
    parameter.size = count(found);
    parameter.is_double = found.dtype.bits == 64;
    const auto same = [&](py::handle object, void*& place) {
      if (!describe(object, found) || count(found) != parameter.size ||
          (found.dtype.bits == 64) != parameter.is_double) {
        return false;
      }
      place = data(found);
      return true;
    };
    if (!same(grads[i], parameter.grad)) return false;
    for (size_t k = 0; k < states.size(); ++k) {
      const py::list of_kind = states[k];
      if (!of_kind.empty() && !same(of_kind[i], parameter.state[k])) return false;
    }
  }
  return true;
}

template <class T>
Places<T> places(const Parameter& from) {
  Places<T> at{static_cast<T*>(from.value), static_cast<const T*>(from.grad), {}};
  for (size_t k = 0; k < kStates; ++k) at.state[k] = static_cast<T*>(from.state[k]);
  return at;
}

struct Stretch {
  size_t parameter;
  int64_t begin, end;
};

std::vector<Stretch> stretches(const std::vector<Parameter>& parameters) {
  std::vector<Stretch> all;
  for (size_t i = 0; i < parameters.size(); ++i) {
    for (int64_t begin = 0; begin < parameters[i].size; begin += kStretch) {
      all.push_back({i, begin, std::min(begin + kStretch, parameters[i].size)});
    }
  }
  return all;
}

int64_t total(const std::vector<Parameter>& parameters) {
  int64_t sum = 0;
  for (const Parameter& parameter : parameters) sum += parameter.size;
  return sum;
}

// False, and nothing is changed, unless the kernels take all tensors.
bool step(Optimizer kind, const py::list& values, const py::list& grads, const py::list& states,
          const std::vector<std::vector<double>>& numbers) {
  std::vector<Parameter> parameters;
  if (!read(values, grads, states, parameters)) return false;
  expect(states.size() <= kStates && numbers.size() == parameters.size(),
         "expected the states and the numbers of each parameter");
  const WithoutGil released;
  const std::vector<Stretch> all = stretches(parameters);
  run_tasks(threads_for(total(parameters)), static_cast<int64_t>(all.size()),
            [&](int64_t task, int64_t) {
              const auto& [i, begin, end] = all[task];
              Numbers given{};
              std::copy(numbers[i].begin(), numbers[i].end(), given.begin());
              if (parameters[i].is_double) {
                SCRATCHNET_BEST(update<double>)
                (kind, places<double>(parameters[i]), given, begin, end);
              } else {
                SCRATCHNET_BEST(update<float>)
                (kind, places<float>(parameters[i]), given, begin, end);
              }
            });
  return true;
}

// The root of the sum of all squares; a negative number unless the kernels take all tensors.
double norm(const py::list& tensors) {
  std::vector<Parameter> read_ones;
  if (!read(tensors, tensors, py::list(), read_ones)) return -1;
  const WithoutGil released;
  const std::vector<Stretch> all = stretches(read_ones);
  std::vector<double> sums(all.size());
  run_tasks(threads_for(total(read_ones)), static_cast<int64_t>(all.size()),
            [&](int64_t task, int64_t) {
              const auto& [i, begin, end] = all[task];
              const auto sum = [&](auto zero) {
                using T = decltype(zero);
                return SCRATCHNET_BEST(square_sum<T>)(
                    static_cast<const T*>(read_ones[i].value) + begin, end - begin);
              };
              sums[task] = read_ones[i].is_double ? sum(double{}) : sum(float{});
            });
  double sum = 0;
  for (const double part : sums) sum += part;
  return std::sqrt(sum);
}

// Multiplies all in place.
void scale_all(const py::list& tensors, double factor) {
  std::vector<Parameter> read_ones;
  expect(read(tensors, tensors, py::list(), read_ones), "expected dense tensors of float32 or float64");
  const WithoutGil released;
  const std::vector<Stretch> all = stretches(read_ones);
  run_tasks(threads_for(total(read_ones)), static_cast<int64_t>(all.size()),
            [&](int64_t task, int64_t) {
              const auto& [i, begin, end] = all[task];
              const auto multiply = [&](auto zero) {
                using T = decltype(zero);
                SCRATCHNET_BEST(scale<T>)
                (static_cast<T*>(read_ones[i].value) + begin, static_cast<T>(factor), end - begin);
              };
              read_ones[i].is_double ? multiply(double{}) : multiply(float{});
            });
}

}  // namespace
}  // namespace scratchnet

SCRATCHNET_BIND(m) {
  using namespace scratchnet;
  m.def("gradient_norm", norm);
  m.def("scale_gradients", scale_all);
  const std::pair<const char*, Optimizer> kinds[] = {{"sgd_step", Optimizer::sgd},
                                                     {"adam_step", Optimizer::adam},
                                                     {"lion_step", Optimizer::lion},
                                                     {"rmsprop_step", Optimizer::rmsprop}};
  for (const auto& [name, kind] : kinds) {
    m.def(name,
          [kind = kind](const py::list& values, const py::list& grads, const py::list& states,
                        const std::vector<std::vector<double>>& numbers) {
            return step(kind, values, grads, states, numbers);
          });
  }
}

#endif
