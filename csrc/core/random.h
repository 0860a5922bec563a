// Random bits that are a function of a seed and of a place: see scratchnet/ops/dropout.py, whose
// reference says the same in Python. No include guard: for the part of a file that each_isa.h reads
// once for each instruction set.

SCRATCHNET_INLINE uint32_t mixed(uint32_t bits) {
  bits = (bits ^ (bits >> 16)) * 0x7FEB352Du;
  bits = (bits ^ (bits >> 15)) * 0x846CA68Bu;
  return bits ^ (bits >> 16);
}

// Random bits of the places first .. first + size - 1. A loop that the compiler makes vectors of.
SCRATCHNET_INLINE void random_bits(uint64_t seed, uint64_t first, int64_t size, uint32_t* bits) {
  const auto low = static_cast<uint32_t>(seed), high = static_cast<uint32_t>(seed >> 32);
  const auto carried = static_cast<uint32_t>(first >> 32), begin = static_cast<uint32_t>(first);
  if (begin + static_cast<uint64_t>(size) > UINT32_MAX) {  // the upper half of a place changes
    for (int64_t i = 0; i < size; ++i) {
      const uint64_t place = first + static_cast<uint64_t>(i);
      bits[i] = mixed(mixed(static_cast<uint32_t>(place) ^ low) ^
                      (high + static_cast<uint32_t>(place >> 32)));
    }
    return;
  }
  for (int64_t i = 0; i < size; ++i) {
    bits[i] = mixed(mixed((begin + static_cast<uint32_t>(i)) ^ low) ^ (high + carried));
  }
}
