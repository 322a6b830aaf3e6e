// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_SERVICE_REF_H_
#define NODEPORT_GUARD_CORE_SERVICE_REF_H_

#include <compare>
#include <memory>
#include <ostream>
#include <string>

#include "absl/strings/string_view.h"

namespace npg::core {

// The name of a Service, "namespace/name", or empty. Immutable; copies share one text, so
// that snapshots, merged entries and differences do not repeat the ten thousand names of a
// cluster. Any thread may read and drop a copy.
class ServiceRef {
 public:
  ServiceRef() = default;
  // A text ends at its first NUL, as in the map `nodeports`. Implicit, so that callers can
  // pass plain text.
  ServiceRef(absl::string_view text);  // NOLINT(google-explicit-constructor)
  ServiceRef(const std::string& text)  // NOLINT(google-explicit-constructor)
      : ServiceRef(absl::string_view(text)) {}
  ServiceRef(const char* text)  // NOLINT(google-explicit-constructor)
      : ServiceRef(absl::string_view(text)) {}

  // Lives as long as any copy does. Followed by a NUL.
  absl::string_view text() const { return text_ ? absl::string_view(text_.get()) : ""; }
  bool empty() const { return text_ == nullptr; }

  // True when both are copies of one ServiceRef; equal texts need not be.
  bool Shares(const ServiceRef& other) const { return text_ == other.text_; }

  friend bool operator==(const ServiceRef& a, const ServiceRef& b) {
    return a.Shares(b) || a.text() == b.text();
  }
  friend std::strong_ordering operator<=>(const ServiceRef& a, const ServiceRef& b) {
    return a.Shares(b) ? std::strong_ordering::equal : a.text().compare(b.text()) <=> 0;
  }
  friend std::ostream& operator<<(std::ostream& out, const ServiceRef& ref) {
    return out << ref.text();
  }

 private:
  // One allocation for count and text. Null when empty.
  std::shared_ptr<const char[]> text_;  // NOLINT(modernize-avoid-c-arrays)
};

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_SERVICE_REF_H_
