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
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
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

std::string ClusterIpNameOf(size_t number) { return absl::StrCat("app-", number); }

npg_port_key TcpKey(uint16_t port) { return {port, IPPROTO_TCP, 0}; }

}  // namespace

std::string IptablesRules(uint16_t first_port, uint16_t services) {
  std::string chains =
      "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
      ":POSTROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n"
      ":KUBE-MARK-MASQ - [0:0]\n";
  std::string rules =
      "-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n"
      "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n";
  for (uint16_t i = 0; i < services; ++i) {
    const std::string id = absl::StrFormat("%016X", i * 7919);
    const std::string name =
        absl::StrCat("default/", NameOf(static_cast<uint16_t>(first_port + i)), ":http");
    const std::string host = absl::StrCat(i / 250, ".", i % 250 + 1);
    const std::string service = absl::StrCat("10.96.", host);
    const std::string endpoint = absl::StrCat("10.244.", host);
    for (const absl::string_view kind : {"EXT", "SVC", "SEP"}) {
      absl::StrAppend(&chains, ":KUBE-", kind, "-", id, " - [0:0]\n");
    }
    absl::StrAppend(&rules, "-A KUBE-SERVICES -d ", service, "/32 -p tcp -m comment --comment \"",
                    name, " cluster IP\" -m tcp --dport 80 -j KUBE-SVC-", id,
                    "\n-A KUBE-NODEPORTS -p tcp -m comment --comment \"", name,
                    "\" -m tcp --dport ", first_port + i, " -j KUBE-EXT-", id, "\n");
    absl::StrAppend(&rules, "-A KUBE-EXT-", id, " -m comment --comment \"masquerade traffic for ",
                    name, " external destinations\" -j KUBE-MARK-MASQ\n-A KUBE-EXT-", id,
                    " -j KUBE-SVC-", id, "\n");
    absl::StrAppend(&rules, "-A KUBE-SVC-", id, " ! -s 10.244.0.0/16 -d ", service,
                    "/32 -p tcp -m comment --comment \"", name,
                    " cluster IP\" -m tcp --dport 80 -j KUBE-MARK-MASQ\n-A KUBE-SVC-", id,
                    " -m comment --comment \"", name, " -> ", endpoint, ":8080\" -j KUBE-SEP-", id,
                    "\n");
    absl::StrAppend(&rules, "-A KUBE-SEP-", id, " -s ", endpoint, "/32 -m comment --comment \"",
                    name, "\" -j KUBE-MARK-MASQ\n-A KUBE-SEP-", id,
                    " -p tcp -m comment --comment \"", name, "\" -m tcp -j DNAT --to-destination ",
                    endpoint, ":8080\n");
  }
  return absl::StrCat(chains, rules,
                      "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT\n");
}

std::string NftablesRules(uint16_t first_port, uint16_t services) {
  std::string addresses, service_ips, nodeports, chains;
  for (uint16_t i = 0; i < services; ++i) {
    const auto port = static_cast<uint16_t>(first_port + i);
    const std::string host = absl::StrCat(i / 250, ".", i % 250 + 1);
    const std::string name =
        absl::StrCat(absl::StrFormat("%08X", i * 7919), "-default/", NameOf(port), "/tcp/http");
    const std::string service = absl::StrCat("service-", name);
    absl::StrAppend(&addresses, "10.96.", host, ",");
    absl::StrAppend(&service_ips, "10.96.", host, " . tcp . 80 : goto ", service, ",");
    absl::StrAppend(&nodeports, "tcp . ", port, " : goto external-", name, ",");
    absl::StrAppend(&chains, "chain ", service,
                    " {\nmeta l4proto tcp dnat ip to numgen random mod 1 map { 0 : 10.244.", host,
                    " . 8080 }\n}\nchain external-", name,
                    " {\nmeta mark set meta mark | 0x00004000\ngoto ", service, "\n}\n");
  }
  constexpr absl::string_view kByPort = "type inet_proto . inet_service : verdict\nelements = { ";
  return absl::StrCat(
      "table ip kube-proxy {\nset cluster-ips {\ntype ipv4_addr\nelements = { ", addresses,
      " }\n}\nset nodeport-ips {\ntype ipv4_addr\nelements = { 127.0.0.1 }\n}\n",
      "map service-ips {\ntype ipv4_addr . inet_proto . inet_service : verdict\nelements = { ",
      service_ips, " }\n}\nmap service-nodeports {\n", kByPort, nodeports, " }\n}\n", chains,
      "chain services {\nip daddr @cluster-ips ip saddr != 10.244.0.0/16 meta mark set meta mark | "
      "0x00004000\nip daddr . meta l4proto . th dport vmap @service-ips\nip daddr @nodeport-ips "
      "meta l4proto . th dport vmap @service-nodeports\n}\nchain nat-output {\ntype nat hook "
      "output "
      "priority -100; policy accept;\njump services\n}\n}\n");
}

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

absl::Status Cluster::AddClusterIps(size_t first, size_t count) {
  // In the object, and in the annotation of kubectl apply, where the quotes are escaped.
  const std::string model =
      absl::StrReplaceAll(template_, {{absl::StrCat(R"(,"nodePort":)", kRecordedPort), ""},
                                      {absl::StrCat(R"(,\"nodePort\":)", kRecordedPort), ""},
                                      {R"("type":"NodePort")", R"("type":"ClusterIP")"},
                                      {R"(\"type\":\"NodePort\")", R"(\"type\":\"ClusterIP\")"},
                                      {R"("f:externalTrafficPolicy":{},)", ""},
                                      {R"(,"externalTrafficPolicy":"Cluster")", ""},
                                      {R"(,\"externalTrafficPolicy\":\"Cluster\")", ""}});
  absl::Status status;
  server_->Change([&](testing::ApiModel& services) {
    for (size_t i = first; i < first + count; ++i) {
      status.Update(
          services.PutJson(absl::StrReplaceAll(model, {{kRecordedName, ClusterIpNameOf(i)}}))
              .status());
    }
  });
  return status;
}

absl::Status Cluster::RemoveClusterIp(size_t number) {
  absl::Status status;
  server_->Change([&](testing::ApiModel& model) {
    status = model.Delete("default", ClusterIpNameOf(number)).status();
  });
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
