// Scratch memory.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

namespace scratchnet {

// Uninitialised memory, aligned to a cache line. Blocks are kept and used again, because memory
// fresh from the system costs a page fault every 4 KiB, more than the arithmetic done on it.
class Block {
 public:
  explicit Block(int64_t bytes) : bytes_(bytes) {
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
  ~Block() {
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
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void* data() const { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  static constexpr int64_t kKeptBytes = 64 << 20;  // of all free blocks together
  struct Free {
    void* data;
    int64_t bytes;
  };
  struct Store {
    std::mutex mutex;
    std::vector<Free> blocks;
    int64_t bytes = 0;
  };
  static Store& store() {
    static Store* store = new Store;  // never destroyed: threads may outlive static objects
    return *store;
  }

  void* data_ = nullptr;
  int64_t bytes_;
};

template <class T>
class Buffer : Block {
 public:
  explicit Buffer(int64_t size) : Block(size * static_cast<int64_t>(sizeof(T))) {}
  T* data() const { return static_cast<T*>(Block::data()); }
};

// Memory of the calling thread, for use until it asks again: a task's, which finds it in the cache.
template <class T>
T* thread_scratch(int64_t size) {
  thread_local std::unique_ptr<Block> block;
  thread_local int64_t bytes = 0;
  const int64_t wanted = size * static_cast<int64_t>(sizeof(T));
  if (wanted > bytes) {
    block.reset();
    block = std::make_unique<Block>(wanted);
    bytes = wanted;
  }
  return static_cast<T*>(block->data());
}

// Sizes of parts of a buffer, rounded up so that each starts on a cache line.
inline int64_t aligned_size(int64_t elements) { return (elements + 15) / 16 * 16; }

}  // namespace scratchnet
