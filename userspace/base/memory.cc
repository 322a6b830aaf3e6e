// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"

#include <malloc.h>

namespace npg::base {

void ReleaseUnusedMemory() { malloc_trim(0); }

}  // namespace npg::base
