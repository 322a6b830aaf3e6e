// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_PARSE_OBJECT_H_
#define NODEPORT_GUARD_KUBERNETES_PARSE_OBJECT_H_

#include <simdjson.h>

#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"
#include "kubernetes/json_value.h"

namespace npg::kubernetes {

// A parser keeps about six times the memory of its largest text. Above this it is
// replaced.
constexpr size_t kMaxKeptParser = size_t{256} << 10;

// The object of a document, for one walk; another walk needs a rewind().
inline absl::StatusOr<simdjson::ondemand::value> RootObject(
    simdjson::ondemand::document& document) {
  simdjson::ondemand::value object;
  if (const auto error = document.get_value().get(object); error) return JsonError(error);
  return object;
}

// Parses `json`, an object, and returns the StatusOr of `decode`. INVALID_ARGUMENT when
// it is not UTF-8. Frees memory after a large object.
template <typename Decode>
auto ParseObject(simdjson::ondemand::parser& parser, simdjson::padded_string_view json,
                 const Decode& decode)
    -> decltype(decode(std::declval<simdjson::ondemand::document&>())) {
  if (parser.capacity() > kMaxKeptParser) parser = simdjson::ondemand::parser();
  simdjson::ondemand::document document;
  if (const auto error = parser.iterate(json).get(document); error) return JsonError(error);
  return decode(document);
}

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_PARSE_OBJECT_H_
