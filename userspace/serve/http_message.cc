// SPDX-License-Identifier: Apache-2.0
#include "serve/http_message.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace npg::serve {
namespace {

absl::string_view WithoutPort(absl::string_view host) {
  if (absl::StartsWith(host, "[")) {
    const size_t end = host.find(']');
    return end == absl::string_view::npos ? host : host.substr(1, end - 1);
  }
  return host.substr(0, host.find(':'));
}

}  // namespace

HttpResponse TextResponse(int status, absl::string_view line) {
  HttpResponse response;
  response.status = status;
  response.body = absl::StrCat(line, "\n");
  return response;
}

bool IsTrustedHost(absl::string_view host) {
  const std::string name(WithoutPort(host));
  if (name.empty() || absl::EqualsIgnoreCase(name, "localhost")) return true;
  in6_addr address{};
  return inet_pton(AF_INET, name.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, name.c_str(), &address) == 1;
}

}  // namespace npg::serve
