// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_QUERY_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_QUERY_H_

#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace npg::testing {

// The parameters of a request, decoded. Of a parameter that is given twice the
// first counts, as in Go's url.Values.Get().
using ApiQuery = std::map<std::string, std::string>;

// A request target, "/api/v1/services?limit=500&watch=1", in its parts.
struct ApiTarget {
  std::string path;  // as sent, not decoded
  ApiQuery query;
};

ApiTarget ParseTarget(absl::string_view target);

// The value of `name`, empty when it is not given.
std::string QueryValue(const ApiQuery& query, const std::string& name);

// True when it is given as "1", "t" or "true", in any case.
bool QueryFlag(const ApiQuery& query, const std::string& name);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_QUERY_H_
