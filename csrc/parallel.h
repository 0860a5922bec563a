// Running tasks on the caller's threads. The kernels know no thread library: whoever calls them
// passes a Pool.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

namespace scratchnet {

struct Pool {
  int64_t threads;
  // Calls body(context, t) for every t in 0 .. threads - 1, at the same time where it can.
  void (*run)(int64_t threads, void (*body)(void* context, int64_t thread), void* context);
};

// The pool itself, or a single thread where `elements` of memory to go through are too few to be
// worth waking the others.
inline Pool pool_for(const Pool& pool, int64_t elements) {
  constexpr int64_t kWorthwhile = 1 << 14;
  return elements < kWorthwhile ? Pool{1, nullptr} : pool;
}

enum class Order { rising, falling };

// Calls task(i, thread) for every i in 0 .. tasks - 1 and returns when all are done. Every thread
// has a share of neighbouring tasks, the same one whenever there are as many of both, so that it
// finds in its cache what it wrote there before: soonest what it wrote last, if the order is
// reversed. When its share is done it helps with the others', so what a task computes must depend
// neither on its thread nor on the other tasks.
template <class Task>
void run_tasks(const Pool& pool, int64_t tasks, Task&& task, Order order = Order::rising) {
  struct alignas(64) Share {  // a cache line of its own: threads count at the same time
    std::atomic<int64_t> taken{0};
    int64_t begin, end;
  };
  struct Shared {
    Task& task;
    Order order;
    std::vector<Share> shares;
  } shared{task, order, std::vector<Share>(std::clamp<int64_t>(tasks, 1, pool.threads))};
  const auto threads = static_cast<int64_t>(shared.shares.size());
  for (int64_t t = 0; t < threads; ++t) {
    shared.shares[t].begin = tasks * t / threads;
    shared.shares[t].end = tasks * (t + 1) / threads;
  }
  auto body = [](void* context, int64_t thread) {
    auto& [task, order, shares] = *static_cast<Shared*>(context);
    const auto threads = static_cast<int64_t>(shares.size());
    for (int64_t t = 0; t < threads; ++t) {
      Share& share = shares[(thread + t) % threads];
      const int64_t size = share.end - share.begin;
      for (int64_t i; (i = share.taken.fetch_add(1, std::memory_order_relaxed)) < size;) {
        task(order == Order::rising ? share.begin + i : share.end - 1 - i, thread);
      }
    }
  };
  if (threads == 1) {
    body(&shared, 0);
  } else {
    pool.run(threads, body, &shared);
  }
}

}  // namespace scratchnet
