#define SCRATCHNET_ISA avx512
#define SCRATCHNET_ISA_NAME "avx512"
#define SCRATCHNET_VECTOR_BYTES 64
#include "isa.h"
