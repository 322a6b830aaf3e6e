// SPDX-License-Identifier: Apache-2.0
#include "doctor/listed.h"

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace npg::doctor {
namespace {

// Enough to know what is meant.
constexpr size_t kMostNamed = 8;

}  // namespace

std::string Listed(const std::vector<std::string>& items, absl::string_view separator) {
  std::vector<std::string> named;
  size_t next = 0;
  while (next < items.size() && named.size() < kMostNamed) {
    const std::string& item = items[next];
    size_t times = 1;
    while (next + times < items.size() && items[next + times] == item) ++times;
    named.push_back(times == 1 ? item : absl::StrCat(item, " (", times, " times)"));
    next += times;
  }
  return absl::StrCat(
      absl::StrJoin(named, separator),
      next < items.size() ? absl::StrCat(separator, items.size() - next, " more") : "");
}

}  // namespace npg::doctor
