// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_QUERY_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_QUERY_H_

#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace npg::testing {

// The parameters of a request, decoded. The first of two equal ones counts, as in
// url.Values.Get() of Go.
using ApiQuery = std::map<std::string, std::string>;

// A request target, "/api/v1/services?limit=500&watch=1", in its parts.
struct ApiTarget {
  std::string path;  // as sent, not decoded
  ApiQuery query;
};

ApiTarget ParseTarget(absl::string_view target);

// The value of `name`, empty if it is missing.
std::string QueryValue(const ApiQuery& query, const std::string& name);

// True if its value is "1", "t" or "true", in any case.
bool QueryFlag(const ApiQuery& query, const std::string& name);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_QUERY_H_
