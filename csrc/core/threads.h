// Running tasks on torch's thread pool.
#pragma once

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace scratchnet {

// The OpenMP runtime that torch's own loops run on, found among the loaded libraries: two of them
// in a process would spin against each other. So nothing here may be linked with another.
struct OpenMP {
  void (*parallel)(void (*body)(void*), void* context, unsigned threads, unsigned flags) = nullptr;
  int (*thread_num)() = nullptr;
  int (*num_threads)() = nullptr;
  std::string path;  // of the library; empty if there is none: then there is one thread
};

inline const OpenMP& openmp() {
  static const OpenMP found = [] {
    OpenMP openmp;
    // What torch's symbols are bound to: the global ones, which a preloaded library may provide,
    // and then those of the libraries that it depends on.
    void* torch = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD);
    const auto find = [torch](const char* name) {
      void* symbol = dlsym(RTLD_DEFAULT, name);
      return symbol || !torch ? symbol : dlsym(torch, name);
    };
    void* parallel = find("GOMP_parallel");
    void* thread_num = find("omp_get_thread_num");
    void* num_threads = find("omp_get_num_threads");
    Dl_info info;
    if (parallel && thread_num && num_threads && dladdr(parallel, &info)) {
      openmp.parallel = reinterpret_cast<decltype(openmp.parallel)>(parallel);
      openmp.thread_num = reinterpret_cast<decltype(openmp.thread_num)>(thread_num);
      openmp.num_threads = reinterpret_cast<decltype(openmp.num_threads)>(num_threads);
      openmp.path = info.dli_fname;
    }
    return openmp;
  }();
  return found;
}

// As many threads as torch was told to use when this thread called from Python (binding.h sets it).
inline int64_t& threads() {
  thread_local int64_t threads = 1;
  return threads;
}

// One thread where `elements` of memory to go through are too few to be worth waking the others.
inline int64_t threads_for(int64_t elements) {
  constexpr int64_t kWorthwhile = 1 << 14;
  return elements < kWorthwhile ? 1 : threads();
}

enum class Order { rising, falling };

// Calls task(i, thread) for every i in 0 .. tasks - 1 on `threads` threads, and returns when all
// are done. Every thread has a share of neighbouring tasks, the same one whenever there are as many
// of both, so that it finds in its cache what it wrote there before: soonest what it wrote last, if
// the order is reversed. When its share is done it helps with the others', so what a task computes
// must depend neither on its thread nor on the other tasks. A task must not throw.
template <class Task>
void run_tasks(int64_t threads, int64_t tasks, Task&& task, Order order = Order::rising) {
  struct alignas(64) Share {  // a cache line of its own: threads count at the same time
    std::atomic<int64_t> taken{0};
    int64_t begin, end;
  };
  struct Shared {
    Task& task;
    Order order;
    std::vector<Share> shares;
    void work(int64_t thread) {
      const auto threads = static_cast<int64_t>(shares.size());
      for (int64_t t = 0; t < threads; ++t) {
        Share& share = shares[(thread + t) % threads];
        const int64_t size = share.end - share.begin;
        for (int64_t i; (i = share.taken.fetch_add(1, std::memory_order_relaxed)) < size;) {
          task(order == Order::rising ? share.begin + i : share.end - 1 - i, thread);
        }
      }
    }
  } shared{task, order, std::vector<Share>(std::clamp<int64_t>(tasks, 1, threads))};
  threads = static_cast<int64_t>(shared.shares.size());
  for (int64_t t = 0; t < threads; ++t) {
    shared.shares[t].begin = tasks * t / threads;
    shared.shares[t].end = tasks * (t + 1) / threads;
  }
  if (threads == 1 || openmp().path.empty()) return shared.work(0);
  openmp().parallel(
      [](void* context) {
        Shared& shared = *static_cast<Shared*>(context);
        shared.work(openmp().thread_num());
      },
      &shared, static_cast<unsigned>(threads), 0);
}

// The same for the numbers 0 .. size - 1 in stretches of at most `grain`: body(begin, end).
template <class Body>
void run_stretches(int64_t size, int64_t grain, Body&& body) {
  run_tasks(threads_for(size), (size + grain - 1) / grain,
            [&](int64_t i, int64_t) { body(i * grain, std::min((i + 1) * grain, size)); });
}

}  // namespace scratchnet
