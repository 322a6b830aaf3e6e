// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_CLUSTER_H_
#define NODEPORT_GUARD_TESTS_BENCH_CLUSTER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "testing/api_server.h"

namespace npg::bench {

// An API server with NodePort Services as large as real ones: recorded, with
// the fields of two managers and what kubectl apply leaves.
class Cluster {
 public:
  // Without a Service.
  static absl::StatusOr<Cluster> Start();

  testing::ApiServer& server() { return *server_; }

  // Creates or replaces Services of one TCP NodePort each, "load-30000" for
  // port 30000.
  absl::Status Add(uint16_t first_port, size_t count);
  absl::Status Remove(uint16_t port);
  // The same without a NodePort, of type ClusterIP: "app-0" for number 0.
  absl::Status AddClusterIps(size_t first, size_t count);
  absl::Status RemoveClusterIp(size_t number);

  // Bytes of the bodies sent so far.
  uint64_t BytesSent() const;

 private:
  Cluster(std::unique_ptr<testing::ApiServer> server, std::string model)
      : server_(std::move(server)), template_(std::move(model)) {}

  std::unique_ptr<testing::ApiServer> server_;
  std::string template_;
};

// The rules of kube-proxy 1.36 for as many Services of one TCP NodePort each, with a cluster IP and
// an endpoint, as Cluster::Add() names them: for iptables-restore, and of its nftables mode, for
// nft -f, with NodePorts on 127.0.0.1, too.
std::string IptablesRules(uint16_t first_port, uint16_t services);
std::string NftablesRules(uint16_t first_port, uint16_t services);

// The pinned map of NodePorts, open.
class NodePortsMap {
 public:
  static absl::StatusOr<NodePortsMap> Open(const std::string& bpffs);

  bool HasTcp(uint16_t port) const;
  size_t Size() const;
  absl::Status Clear() const;

 private:
  explicit NodePortsMap(base::UniqueFd fd) : fd_(std::move(fd)) {}

  base::UniqueFd fd_;
};

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_CLUSTER_H_
