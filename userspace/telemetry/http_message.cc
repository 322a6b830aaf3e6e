// SPDX-License-Identifier: Apache-2.0
#include "telemetry/http_message.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"

namespace npg::telemetry {
namespace {

constexpr absl::string_view kLineEnd = "\r\n";
constexpr size_t kMaxHeaders = 64;

absl::string_view Reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 421:
      return "Misdirected Request";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Unknown";
  }
}

bool IsToken(absl::string_view text) {
  constexpr absl::string_view kMarks = "!#$%&'*+-.^_`|~";
  for (const char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) &&
        kMarks.find(c) == absl::string_view::npos) {
      return false;
    }
  }
  return !text.empty();
}

// Nothing but what can be seen, blanks and tabs; bytes above ASCII are opaque.
bool IsFieldText(absl::string_view text) {
  for (const char c : text) {
    if (c != '\t' && absl::ascii_iscntrl(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

bool HasListItem(absl::string_view list, absl::string_view item) {
  for (const absl::string_view entry : absl::StrSplit(list, ',')) {
    if (absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(entry), item)) return true;
  }
  return false;
}

bool AcceptsJson(absl::string_view accept) {
  for (const absl::string_view range : absl::StrSplit(accept, ',')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(range, ';');
    if (!absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(parts[0]), "application/json")) continue;
    for (size_t i = 1; i < parts.size(); ++i) {
      const absl::string_view weight = absl::StripAsciiWhitespace(parts[i]);
      if (weight == "q=0" || weight == "q=0.0") return false;
    }
    return true;
  }
  return false;
}

// "127.0.0.1:9829" is "127.0.0.1", "[::1]:9829" is "::1".
absl::string_view WithoutPort(absl::string_view host) {
  if (absl::ConsumePrefix(&host, "[")) return host.substr(0, host.find(']'));
  return host.substr(0, host.find(':'));
}

HttpResponse BadRequest(absl::string_view what) {
  return TextResponse(400, absl::StrCat("bad request: ", what));
}

// Of a head, what decides.
struct Fields {
  std::optional<std::string> host;
  bool body = false;
  bool close = false;
  bool keep_alive = false;
  bool json = false;
};

std::optional<HttpResponse> ReadField(absl::string_view line, Fields& fields) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(line, absl::MaxSplits(':', 1));
  const absl::string_view name = parts.first;
  const absl::string_view value = absl::StripAsciiWhitespace(parts.second);
  if (name.size() == line.size() || !IsToken(name) || !IsFieldText(line)) {
    return BadRequest("a header that is none");
  }
  if (absl::EqualsIgnoreCase(name, "Host")) {
    if (fields.host) return BadRequest("more than one Host");
    fields.host = std::string(WithoutPort(value));
  } else if (absl::EqualsIgnoreCase(name, "Content-Length")) {
    fields.body = fields.body || value != "0";
  } else if (absl::EqualsIgnoreCase(name, "Transfer-Encoding")) {
    fields.body = true;
  } else if (absl::EqualsIgnoreCase(name, "Connection")) {
    fields.close = fields.close || HasListItem(value, "close");
    fields.keep_alive = fields.keep_alive || HasListItem(value, "keep-alive");
  } else if (absl::EqualsIgnoreCase(name, "Accept")) {
    fields.json = fields.json || AcceptsJson(value);
  }
  return std::nullopt;
}

}  // namespace

HttpResponse TextResponse(int status, absl::string_view line) {
  HttpResponse response;
  response.status = status;
  response.body = std::make_shared<const std::string>(absl::StrCat(line, "\n"));
  return response;
}

std::variant<HttpRequest, HttpResponse> ParseHttpHead(absl::string_view head) {
  std::vector<absl::string_view> lines = absl::StrSplit(head, kLineEnd);
  // What follows the last line, and the empty line.
  if (lines.size() < 3 || !lines.back().empty() || !lines[lines.size() - 2].empty()) {
    return BadRequest("not ended by an empty line");
  }
  lines.resize(lines.size() - 2);
  if (lines.size() > kMaxHeaders + 1) return TextResponse(431, "more than 64 headers");

  const std::vector<absl::string_view> words = absl::StrSplit(lines[0], ' ');
  if (words.size() != 3 || !IsToken(words[0]) || !IsFieldText(lines[0])) {
    return BadRequest("not a request of HTTP");
  }
  const absl::string_view version = words[2];
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    if (absl::StartsWith(version, "HTTP/")) return TextResponse(505, "this is HTTP/1.1");
    return BadRequest("not a request of HTTP");
  }
  Fields fields;
  for (size_t i = 1; i < lines.size(); ++i) {
    if (std::optional<HttpResponse> refused = ReadField(lines[i], fields)) return *refused;
  }
  if (version == "HTTP/1.1" && !fields.host) return BadRequest("no Host");
  if (words[0] != "GET" && words[0] != "HEAD") {
    HttpResponse response = TextResponse(405, "only GET and HEAD: nothing can be changed here");
    response.allow = "GET, HEAD";
    return response;
  }
  if (fields.body) return TextResponse(413, "a request with a body; none is read here");
  if (!absl::StartsWith(words[1], "/")) return BadRequest("the target is not a path");

  HttpRequest request;
  request.path = std::string(words[1].substr(0, words[1].find('?')));
  request.host = fields.host.value_or("");
  request.head = words[0] == "HEAD";
  request.keep_alive = !fields.close && (version == "HTTP/1.1" || fields.keep_alive);
  request.wants_json = fields.json;
  return request;
}

std::string HttpHead(const HttpResponse& response, bool keep_alive, absl::Time now) {
  std::string head = absl::StrCat(
      "HTTP/1.1 ", response.status, " ", Reason(response.status),
      "\r\nDate: ", absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT", now, absl::UTCTimeZone()),
      "\r\nContent-Type: ", response.content_type, "\r\nContent-Length: ", response.body->size(),
      "\r\n");
  absl::StrAppend(&head, "Content-Security-Policy: ", response.security_policy,
                  "\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
                  "Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n");
  if (!response.allow.empty()) absl::StrAppend(&head, "Allow: ", response.allow, "\r\n");
  if (!response.retry_after.empty()) {
    absl::StrAppend(&head, "Retry-After: ", response.retry_after, "\r\n");
  }
  absl::StrAppend(&head, "Connection: ", keep_alive ? "keep-alive" : "close", "\r\n\r\n");
  return head;
}

bool IsTrustedHost(absl::string_view host) {
  if (host.empty() || absl::EqualsIgnoreCase(host, "localhost")) return true;
  in6_addr address{};
  const std::string text(host);
  return inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

}  // namespace npg::telemetry
