// Between Python and the kernels: tensors come in, the GIL goes, and every file of operations binds
// its own.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "tensor.h"
#include "threads.h"

namespace scratchnet {

namespace py = pybind11;

// What torch.Tensor.__dlpack_c_exchange_api__ points to, as of DLPack 1.x: the C interface by which
// torch >= 2.10 describes a tensor, whatever its version and that of the compiler.
namespace dlpack {
struct DataType {
  uint8_t code, bits;
  uint16_t lanes;
};
struct Description {
  void* data;
  int32_t device, device_id, dim;
  DataType dtype;
  int64_t *sizes, *strides;
  uint64_t byte_offset;
};
struct Exchange {
  uint32_t major, minor;
  void *older, *allocate, *export_owned, *import_owned;
  int (*describe)(void* object, Description* description);  // borrows: no longer valid without it
};
constexpr int32_t kCpu = 1;
constexpr uint8_t kSigned = 0, kFloat = 2;
}  // namespace dlpack

// What is asked of torch, looked up once. Never destroyed: Python may be gone before static
// objects.
struct Torch {
  py::object tensor = py::module_::import("torch").attr("Tensor");
  py::object num_threads = py::module_::import("torch").attr("get_num_threads");
  py::str is_neg{"is_neg"};
  const dlpack::Exchange* exchange = nullptr;

  Torch() {
    const py::capsule capsule = tensor.attr("__dlpack_c_exchange_api__");
    exchange = capsule.get_pointer<dlpack::Exchange>();
    expect(exchange->major == 1, "this torch speaks DLPack ", exchange->major,
           ", and 1 was expected: install a newer scratchnet");
  }
  static const Torch& get() {
    static const Torch* torch = new Torch;
    return *torch;
  }
};

inline Tensor read_tensor(py::handle from) {
  const Torch& torch = Torch::get();
  const auto said = [&](const char* attribute) {
    return py::str(from.attr(attribute)).cast<std::string>();
  };
  dlpack::Description found{};
  const bool described = torch.exchange->describe(from.ptr(), &found) == 0;
  if (!described) PyErr_Clear();
  Tensor tensor{static_cast<char*>(found.data) + found.byte_offset, Dtype::int64,
                Sizes(found.sizes, found.sizes + found.dim),
                Sizes(found.strides, found.strides + found.dim)};
  if (!described || found.device != dlpack::kCpu || (!found.data && tensor.numel() > 0)) {
    expect(false, "expected a dense (torch.strided) tensor in the memory of the CPU, got ",
           said("layout"), " on ", said("device"));
  }
  const py::object negates =
      py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(from.ptr(), torch.is_neg.ptr()));
  if (!negates) throw py::error_already_set();
  expect(negates.is(py::handle(Py_False)), "a view negates its elements: call .resolve_neg()");
  const bool is_float = found.dtype.code == dlpack::kFloat;
  if (is_float && found.dtype.bits == 32) {
    tensor.dtype = Dtype::float32;
  } else if (is_float && found.dtype.bits == 64) {
    tensor.dtype = Dtype::float64;
  } else if (found.dtype.code == dlpack::kSigned && found.dtype.bits == 32) {
    tensor.dtype = Dtype::int32;
  } else if (found.dtype.code != dlpack::kSigned || found.dtype.bits != 64) {
    expect(false, "expected float32, float64, int32 or int64, got ", said("dtype"));
  }
  return tensor;
}

// While it lives, other Python threads run, and this one has torch's number of threads.
struct WithoutGil {
  struct Count {
    Count() { threads() = Torch::get().num_threads().cast<int64_t>(); }
  } count;  // asked for before the GIL goes
  py::gil_scoped_release released{};
};

// Binds a function that reads and writes tensors; it runs without the GIL.
template <class Function, class... Extra>
void def(py::module_& module, const char* name, Function&& function, const Extra&... extra) {
  module.def(name, std::forward<Function>(function), py::call_guard<WithoutGil>(), extra...);
}

// Every file that binds something says so by SCRATCHNET_BIND(module) { def(module, ...); }
using Binder = void (*)(py::module_&);
inline std::vector<Binder>& binders() {
  static std::vector<Binder> list;
  return list;
}
struct RegisterBinder {
  explicit RegisterBinder(Binder binder) { binders().push_back(binder); }
};
#define SCRATCHNET_BIND(module)                                                    \
  static void scratchnet_bind(pybind11::module_& module);                          \
  static const ::scratchnet::RegisterBinder scratchnet_register(&scratchnet_bind); \
  static void scratchnet_bind(pybind11::module_& module)

}  // namespace scratchnet

namespace pybind11::detail {
template <>
struct type_caster<scratchnet::Tensor> {
  PYBIND11_TYPE_CASTER(scratchnet::Tensor, const_name("torch.Tensor"));
  bool load(handle from, bool) {
    if (!isinstance(from, scratchnet::Torch::get().tensor)) return false;
    value = scratchnet::read_tensor(from);
    return true;
  }
};
}  // namespace pybind11::detail
