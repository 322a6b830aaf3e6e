// SPDX-License-Identifier: Apache-2.0
#include "bench/cluster.h"

#include <bpf/bpf.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "guard_abi.h"
#include "nlohmann/json.hpp"
#include "testing/api_model.h"
#include "testing/api_server.h"
#include "testing/api_traffic.h"
#include "testing/paths.h"

namespace npg::bench {
namespace {

using Document = nlohmann::ordered_json;

// The name and the port in the template, to replace by those of a Service.
constexpr const char* kRecordedName = "load-0";
constexpr const char* kRecordedPort = "35924";

// The recorded Service as it is after kubectl apply, on one line.
absl::StatusOr<std::string> Template() {
  const std::string path = testing::TestdataPath("services-list.json");
  std::ifstream file(path);
  const Document list = Document::parse(file, nullptr, /*allow_exceptions=*/false);
  if (list.is_discarded()) return absl::NotFoundError(absl::StrCat("read ", path, ": no JSON"));
  for (Document item : list.value("items", Document::array())) {
    if (item["metadata"].value("name", "") != kRecordedName) continue;
    Document applied = {{"apiVersion", "v1"},
                        {"kind", "Service"},
                        {"metadata",
                         {{"annotations", Document::object()},
                          {"labels", item["metadata"]["labels"]},
                          {"name", kRecordedName},
                          {"namespace", item["metadata"]["namespace"]}}},
                        {"spec", item["spec"]}};
    item["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
        applied.dump() + "\n";
    Document& managers = item["metadata"]["managedFields"];
    Document other = managers.at(0);
    other["manager"] = "kubectl-client-side-apply";
    managers.push_back(std::move(other));
    return item.dump();
  }
  return absl::NotFoundError(absl::StrCat(path, " has no Service ", kRecordedName));
}

std::string NameOf(uint16_t port) { return absl::StrCat("load-", port); }

npg_port_key TcpKey(uint16_t port) { return {port, IPPROTO_TCP, 0}; }

}  // namespace

absl::StatusOr<Cluster> Cluster::Start() {
  absl::StatusOr<std::string> model = Template();
  if (!model.ok()) return model.status();
  auto server = testing::ApiServer::Start();
  if (!server.ok()) return server.status();
  return Cluster(*std::move(server), *std::move(model));
}

absl::Status Cluster::Add(uint16_t first_port, size_t count) {
  absl::Status status;
  server_->Change([&](testing::ApiModel& model) {
    for (size_t i = 0; i < count; ++i) {
      const auto port = static_cast<uint16_t>(first_port + i);
      status.Update(
          model
              .PutJson(absl::StrReplaceAll(
                  template_, {{kRecordedName, NameOf(port)}, {kRecordedPort, absl::StrCat(port)}}))
              .status());
    }
  });
  return status;
}

absl::Status Cluster::Remove(uint16_t port) {
  absl::Status status;
  server_->Change(
      [&](testing::ApiModel& model) { status = model.Delete("default", NameOf(port)).status(); });
  return status;
}

uint64_t Cluster::BytesSent() const {
  uint64_t bytes = 0;
  for (const testing::RecordedRequest& request : server_->traffic().requests) {
    bytes += request.body_bytes;
  }
  return bytes;
}

absl::StatusOr<NodePortsMap> NodePortsMap::Open(const std::string& bpffs) {
  const std::string pin = absl::StrCat(bpffs, "/nodeport-guard/maps/nodeports");
  base::UniqueFd fd(bpf_obj_get(pin.c_str()));
  if (!fd) return base::ErrnoStatus(errno, absl::StrCat("open pin ", pin));
  return NodePortsMap(std::move(fd));
}

bool NodePortsMap::HasTcp(uint16_t port) const {
  const npg_port_key key = TcpKey(port);
  npg_nodeport value{};
  return bpf_map_lookup_elem(fd_.get(), &key, &value) == 0;
}

size_t NodePortsMap::Size() const {
  size_t size = 0;
  npg_port_key key{};
  for (const void* last = nullptr; bpf_map_get_next_key(fd_.get(), last, &key) == 0; last = &key) {
    ++size;
  }
  return size;
}

absl::Status NodePortsMap::Clear() const {
  npg_port_key key{};
  while (bpf_map_get_next_key(fd_.get(), nullptr, &key) == 0) {
    if (bpf_map_delete_elem(fd_.get(), &key) != 0) {
      return base::ErrnoStatus(errno, "empty the map nodeports");
    }
  }
  return absl::OkStatus();
}

}  // namespace npg::bench
