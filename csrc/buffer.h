// Scratch memory.
#pragma once

#include <cstdint>

namespace scratchnet {

// Uninitialised memory, aligned to a cache line. Blocks are kept and used again, because memory
// fresh from the system costs a page fault every 4 KiB, more than the arithmetic done on it.
class Block {
 public:
  explicit Block(int64_t bytes);
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void* data() const { return data_; }

 private:
  void* data_;
  int64_t bytes_;
};

template <class T>
class Buffer : Block {
 public:
  explicit Buffer(int64_t size) : Block(size * static_cast<int64_t>(sizeof(T))) {}
  T* data() const { return static_cast<T*>(Block::data()); }
};

// Sizes of parts of a buffer, rounded up so that each starts on a cache line.
inline int64_t aligned_size(int64_t elements) { return (elements + 15) / 16 * 16; }

}  // namespace scratchnet
