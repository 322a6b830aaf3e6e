// SPDX-License-Identifier: Apache-2.0
#include "core/service_ref.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/string_view.h"

namespace npg::core {

ServiceRef::ServiceRef(absl::string_view text) {
  text = text.substr(0, text.find('\0'));
  if (text.empty()) return;
  // Zeroed, so the text is NUL-terminated.
  auto copy = std::make_shared<char[]>(text.size() + 1);  // NOLINT(modernize-avoid-c-arrays)
  std::copy(text.begin(), text.end(), copy.get());
  text_ = std::move(copy);
}

}  // namespace npg::core
