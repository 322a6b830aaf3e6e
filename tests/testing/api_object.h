// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_OBJECT_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_OBJECT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::testing {

struct ServicePort {
  std::string name = {};  // empty: the member is left out
  int64_t port = 80;
  int64_t node_port = 0;  // 0: the member is left out
  std::string protocol = "TCP";
  std::string extra = {};   // members to add as they are: R"("nodePort":"x")"
  std::string target = {};  // targetPort, as JSON: R"("http")"; empty: the number of `port`
};

// The parts of a Service that a test sets; the rest has the defaults of an API server.
struct ServiceSpec {
  std::string ns = "default";
  std::string name = {};
  std::string type = "NodePort";
  std::vector<ServicePort> ports = {};
  int64_t health_check_node_port = 0;  // 0: the member is left out
  std::string extra_metadata = {};     // members to add: R"("annotations":{"a":"b"})"
  std::string extra_spec = {};
  std::string selector = {};  // as JSON; empty: one for the pods of the Service's name
};

// The Service as JSON on one line, its members in the order of a real server,
// without a resourceVersion.
std::string ServiceJson(const ServiceSpec& spec, absl::string_view uid);

// One version of one Service in the store: JSON text with a hole for the
// resourceVersion, which an event may have to replace. Only the few members below
// are parsed, so any garbage is kept unchanged.
class ApiObject {
 public:
  // Takes a JSON object that has metadata.namespace and .name. Drops kind and
  // apiVersion: lists omit them, events add them again. INVALID_ARGUMENT names what
  // is missing.
  static absl::StatusOr<ApiObject> Parse(absl::string_view json);

  // Keeps any `text` exactly; it is never stamped. No line feeds: a watch has an
  // object per line.
  static ApiObject Verbatim(absl::string_view ns, absl::string_view name, absl::string_view text);

  // The key by which a server sorts: "namespace/name".
  const std::string& key() const { return key_; }
  // spec.type, empty if there is none.
  const std::string& type() const { return type_; }
  // The original metadata.resourceVersion, in place of which there is the hole.
  const std::optional<uint64_t>& recorded_version() const { return recorded_version_; }

  // Append the object with `resource_version`: as an item of a list, and with kind and
  // apiVersion as in an event.
  void AppendItem(uint64_t resource_version, std::string& to) const;
  void AppendTyped(uint64_t resource_version, std::string& to) const;

 private:
  void AppendMembers(uint64_t resource_version, std::string& to) const;

  std::string key_;
  std::string type_;
  std::optional<uint64_t> recorded_version_;
  bool verbatim_ = false;
  std::string before_, after_;  // the members, around the hole
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_OBJECT_H_
