// Running tasks on the caller's threads. The kernels know no thread library: whoever calls them
// passes a Pool.
#pragma once

#include <atomic>
#include <cstdint>

namespace scratchnet {

struct Pool {
  int64_t threads;
  // Calls body(context, t) for every t in 0 .. threads - 1, at the same time where it can.
  void (*run)(int64_t threads, void (*body)(void* context, int64_t thread), void* context);
};

// The pool itself, or a single thread where `elements` of memory to go through are too few to be
// worth waking the others.
inline Pool pool_for(const Pool& pool, int64_t elements) {
  constexpr int64_t kWorthwhile = 1 << 16;
  return elements < kWorthwhile ? Pool{1, nullptr} : pool;
}

// Calls task(i, thread) for every i in 0 .. tasks - 1, in no particular order, and returns when all
// are done. Free threads take the next task, so what a task computes must depend neither on its
// thread nor on the other tasks.
template <class Task>
void run_tasks(const Pool& pool, int64_t tasks, Task&& task) {
  struct Shared {
    Task& task;
    int64_t tasks;
    std::atomic<int64_t> next{0};
  } shared{task, tasks};
  auto body = [](void* context, int64_t thread) {
    auto& mine = *static_cast<Shared*>(context);
    for (int64_t i; (i = mine.next.fetch_add(1, std::memory_order_relaxed)) < mine.tasks;)
      mine.task(i, thread);
  };
  const int64_t threads = pool.threads < tasks ? pool.threads : tasks;
  if (threads <= 1) {
    body(&shared, 0);
  } else {
    pool.run(threads, body, &shared);
  }
}

}  // namespace scratchnet
