// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_SKIPPED_LINES_H_
#define NODEPORT_GUARD_SOURCES_SKIPPED_LINES_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/service_name.h"

namespace npg::sources {

// Collects what a decoder skipped, one line each. Hostile input may have a million
// errors: keeps the first hundred, and counts the rest.
class SkippedLines {
 public:
  static constexpr size_t kNamed = 100;

  void Add(std::string line) {
    if (++count_ <= kNamed) lines_.push_back(core::OneLine(std::move(line)));
  }

  std::vector<std::string> Take() && {
    if (count_ > kNamed) lines_.push_back(absl::StrCat("and ", count_ - kNamed, " more"));
    return std::move(lines_);
  }

 private:
  std::vector<std::string> lines_;
  size_t count_ = 0;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_SKIPPED_LINES_H_
