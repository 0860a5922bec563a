#include "buffer.h"

#include <mutex>
#include <new>
#include <vector>

namespace scratchnet {
namespace {

constexpr std::align_val_t kAlignment{64};
constexpr int64_t kKeptBytes = 64 << 20;  // of all free blocks together

struct Free {
  void* data;
  int64_t bytes;
};

struct Store {
  std::mutex mutex;
  std::vector<Free> blocks;
  int64_t bytes = 0;
};

Store& store() {
  static Store* store = new Store;  // never destroyed: threads may outlive static objects
  return *store;
}

}  // namespace

Block::Block(int64_t bytes) : data_(nullptr), bytes_(bytes) {
  Store& free = store();
  {
    const std::lock_guard<std::mutex> lock(free.mutex);
    for (Free& block : free.blocks) {
      if (block.bytes != bytes) continue;
      data_ = block.data;
      free.bytes -= bytes;
      block = free.blocks.back();
      free.blocks.pop_back();
      return;
    }
  }
  data_ = ::operator new(static_cast<size_t>(bytes), kAlignment);
}

Block::~Block() {
  Store& free = store();
  std::vector<Free> dropped;
  {
    const std::lock_guard<std::mutex> lock(free.mutex);
    free.blocks.push_back({data_, bytes_});
    free.bytes += bytes_;
    // The oldest go first: nobody may ask for their size again.
    while (free.bytes > kKeptBytes) {
      dropped.push_back(free.blocks.front());
      free.bytes -= free.blocks.front().bytes;
      free.blocks.erase(free.blocks.begin());
    }
  }
  for (const Free& block : dropped) ::operator delete(block.data, kAlignment);
}

}  // namespace scratchnet
