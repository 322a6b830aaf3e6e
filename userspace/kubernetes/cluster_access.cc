// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/cluster_access.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "kubernetes/server_url.h"

namespace npg::kubernetes {
namespace {

// The remedy for a token file that could not be read.
absl::string_view Remedy(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kPermissionDenied:
      return "let the user that nodeport-guard runs as read it";
    case absl::StatusCode::kResourceExhausted:
      return "no token is that long, name another file";
    default:
      return "put the token there, or name another file";
  }
}

// Extracts the token from `text` and checks it.
absl::StatusOr<std::string> TokenIn(absl::string_view text) {
  const absl::string_view token = absl::StripAsciiWhitespace(text);
  NPG_RETURN_IF_ERROR(CheckToken(token));
  return std::string(token);
}

}  // namespace

absl::Status CheckToken(absl::string_view token) {
  if (token.empty()) return absl::InvalidArgumentError("is empty; write the token there");
  if (token.size() > kMaxTokenBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("is larger than ", kMaxTokenBytes >> 10, " KiB; no token is that long"));
  }
  if (!std::all_of(token.begin(), token.end(),
                   [](char c) { return absl::ascii_isgraph(static_cast<unsigned char>(c)); })) {
    return absl::InvalidArgumentError(
        "has a blank, a control character or one that is not ASCII within the token; write the "
        "token alone, on one line");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadToken(const ClusterAccess& access) {
  if (access.token_file.empty()) {
    if (access.token.empty()) return "";
    absl::StatusOr<std::string> token = TokenIn(access.token);
    if (token.ok()) return token;
    return base::Annotate(token.status(), absl::StrCat(access.origin, ": token"));
  }
  const absl::StatusOr<std::string> text = base::ReadSmallFile(access.token_file, kMaxTokenBytes);
  if (!text.ok()) {
    return absl::Status(text.status().code(),
                        absl::StrCat("token file ", text.status().message(), "; ",
                                     Remedy(text.status()), " (", access.origin, ")"));
  }
  absl::StatusOr<std::string> token = TokenIn(*text);
  if (token.ok()) return token;
  return base::Annotate(token.status(), absl::StrCat("token file ", access.token_file));
}

absl::StatusOr<ClusterAccess> WithServer(ClusterAccess access, absl::string_view url) {
  absl::StatusOr<std::string> server = CheckServerUrl(url);
  if (!server.ok()) return server.status();
  access.server = *std::move(server);
  // It belongs to the other server; kubectl --server drops it, too.
  access.tls_server_name.clear();
  return access;
}

}  // namespace npg::kubernetes
