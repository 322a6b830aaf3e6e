// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTING_BYTE_STEP_H_
#define NODEPORT_GUARD_TESTING_BYTE_STEP_H_

#include <cstddef>

namespace npg::testing {

// The distance between the positions at which a test damages or cuts its input, or between the
// values that it writes to each. A plain build tries all of them. Under a sanitizer the same takes
// minutes, and shows invalid accesses, which a sample meets as well. A prime: the inputs are full
// of periods.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr size_t kByteStep = 7;
#else
inline constexpr size_t kByteStep = 1;
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr size_t kByteStep = 7;
#else
inline constexpr size_t kByteStep = 1;
#endif

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTING_BYTE_STEP_H_
