#define SCRATCHNET_ISA generic
#define SCRATCHNET_ISA_NAME "generic"
#define SCRATCHNET_VECTOR_BYTES 16
#include "isa.h"
