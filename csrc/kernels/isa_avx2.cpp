#define SCRATCHNET_ISA avx2
#define SCRATCHNET_ISA_NAME "avx2"
#define SCRATCHNET_VECTOR_BYTES 32
#include "isa.h"
