// SPDX-License-Identifier: Apache-2.0
#include "sources/ports_text.h"

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"
#include "core/bind_facts.h"
#include "kubernetes/yaml_to_json.h"
#include "sources/ports_decoder.h"
#include "sources/source.h"

namespace npg::sources {
namespace {

constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Above this, text that starts like JSON and is invalid is not parsed as YAML: large files
// are generated, and would take seconds.
constexpr size_t kMaxFlowYaml = size_t{1} << 20;

// YAML is parsed at about 10 MB a second, JSON far faster.
constexpr size_t kMaxYaml = size_t{32} << 20;

// Ignores all values, and records the position of the error.
class ErrorPosition : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return true; }
  bool boolean(bool /*value*/) override { return true; }
  bool number_integer(number_integer_t /*value*/) override { return true; }
  bool number_unsigned(number_unsigned_t /*value*/) override { return true; }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return true; }
  bool string(string_t& /*value*/) override { return true; }
  bool binary(binary_t& /*value*/) override { return true; }
  bool start_object(size_t /*elements*/) override { return true; }
  bool key(string_t& /*value*/) override { return true; }
  bool end_object() override { return true; }
  bool start_array(size_t /*elements*/) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string& /*last_token*/,
                   const nlohmann::json::exception& /*error*/) override {
    position_ = position;
    return false;
  }

  size_t position() const { return position_; }

 private:
  size_t position_ = 0;
};

// The line, counted from 1, of the first error in `json`; 0 if it is valid. The fast
// parser does not report it, so a slow one runs after an error.
size_t ErrorLine(absl::string_view json) {
  ErrorPosition end;
  if (nlohmann::json::sax_parse(json.begin(), json.end(), &end)) return 0;
  const auto length = static_cast<std::ptrdiff_t>(std::min(end.position(), json.size()));
  return 1 + static_cast<size_t>(std::count(json.begin(), json.begin() + length, '\n'));
}

Reading TakeWithFacts(PortsDecoder decoder, core::BindFacts* facts) {
  if (facts != nullptr) *facts = decoder.bind_facts();
  return std::move(decoder).Take();
}

absl::StatusOr<Reading> DecodeJson(absl::string_view json, core::BindFacts* facts) {
  PortsDecoder decoder;
  NPG_RETURN_IF_ERROR(decoder.AddDocument(json));
  return TakeWithFacts(std::move(decoder), facts);
}

absl::StatusOr<Reading> DecodeYaml(const std::string& yaml, core::BindFacts* facts) {
  if (yaml.size() > kMaxYaml) {
    return absl::ResourceExhaustedError(absl::StrCat("is ", yaml.size() >> 20,
                                                     " MiB of YAML, more than the ", kMaxYaml >> 20,
                                                     " MiB that are read; write JSON"));
  }
  const absl::StatusOr<std::vector<std::string>> documents = kubernetes::YamlToJson(yaml);
  if (!documents.ok()) return documents.status();
  if (documents->empty()) {
    return absl::InvalidArgumentError("holds nothing (\"[]\" stands for no ports)");
  }
  PortsDecoder decoder;
  for (size_t i = 0; i < documents->size(); ++i) {
    const absl::Status status = decoder.AddDocument((*documents)[i]);
    if (status.ok()) continue;
    if (documents->size() == 1) return status;
    return base::Annotate(status, absl::StrCat("document ", i + 1));
  }
  return TakeWithFacts(std::move(decoder), facts);
}

}  // namespace

absl::StatusOr<Reading> DecodePortsText(const std::string& text, core::BindFacts* facts) {
  const absl::string_view json = absl::StripPrefix(text, kByteOrderMark);
  const size_t start = json.find_first_not_of(" \t\r\n");
  if (start == absl::string_view::npos || (json[start] != '[' && json[start] != '{')) {
    return DecodeYaml(text, facts);
  }
  absl::StatusOr<Reading> reading = DecodeJson(json, facts);
  if (reading.ok()) return reading;
  const size_t line = ErrorLine(json);
  if (line == 0) return reading;  // valid JSON, but not a list of ports
  if (json.size() <= kMaxFlowYaml) {
    // [30080, 30081/udp] is YAML.
    absl::StatusOr<Reading> flow = DecodeYaml(text, facts);
    if (flow.ok()) return flow;
  }
  return base::Annotate(reading.status(), absl::StrCat("line ", line));
}

}  // namespace npg::sources
