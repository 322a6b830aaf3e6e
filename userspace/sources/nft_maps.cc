// SPDX-License-Identifier: Apache-2.0
#include "sources/nft_maps.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "core/port.h"
#include "core/service_name.h"
#include "core/service_ref.h"
#include "node/kube_proxy_table.h"
#include "node/nft_queries.h"
#include "sources/merge.h"
#include "sources/skipped_lines.h"
#include "sources/source.h"

namespace npg::sources {
namespace {

// nft and kube-proxy write a sequence of typed values (type, length, value) into an
// element's user data. Type 0 is the comment.
constexpr uint8_t kUserDataComment = 0;

// inet_proto . inet_service: every part of a key takes a multiple of 4 bytes.
constexpr size_t kKeyBytes = 8;
constexpr size_t kKeyPort = 4;

struct Element {
  absl::string_view key;
  absl::string_view chain;
  absl::string_view comment;
};

absl::string_view Comment(absl::string_view user_data) {
  while (user_data.size() >= 2) {
    const auto type = static_cast<uint8_t>(user_data[0]);
    const size_t length = static_cast<uint8_t>(user_data[1]);
    const absl::string_view value = user_data.substr(2, length);
    if (type == kUserDataComment) return base::TextOf(value);
    user_data.remove_prefix(2 + value.size());
  }
  return "";
}

Element ParseElement(absl::string_view attributes) {
  const absl::string_view key = base::FindAttribute(attributes, NFTA_SET_ELEM_KEY);
  const absl::string_view data = base::FindAttribute(attributes, NFTA_SET_ELEM_DATA);
  const absl::string_view verdict = base::FindAttribute(data, NFTA_DATA_VERDICT);
  return {base::FindAttribute(key, NFTA_DATA_VALUE),
          base::TextOf(base::FindAttribute(verdict, NFTA_VERDICT_CHAIN)),
          Comment(base::FindAttribute(attributes, NFTA_SET_ELEM_USERDATA))};
}

// "external-SUSTUHLJ-default/web/tcp/http" is of "default/web".
std::string ServiceOfChain(absl::string_view chain) {
  for (int dashes = 0; dashes < 2; ++dashes) {
    const size_t dash = chain.find('-');
    if (dash == absl::string_view::npos) return "";
    chain.remove_prefix(dash + 1);
  }
  const size_t slash = chain.find('/');
  if (slash == absl::string_view::npos) return "";
  const absl::string_view service = chain.substr(0, chain.find('/', slash + 1));
  return core::IsServiceName(service) ? std::string(service) : "";
}

void AddElement(const Element& element, core::PortSnapshot& ports, SkippedLines& skipped) {
  if (element.key.size() != kKeyBytes) {
    return skipped.Add(absl::StrCat("element with a key of ", element.key.size(), " bytes"));
  }
  const auto protocol = static_cast<uint8_t>(element.key[0]);
  uint16_t port = 0;
  std::memcpy(&port, element.key.data() + kKeyPort, sizeof(port));
  port = ntohs(port);
  if (protocol == IPPROTO_SCTP) return;
  if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) {
    return skipped.Add(absl::StrCat("port ", port, " of protocol number ", protocol));
  }
  if (port == 0) return skipped.Add("port 0 is outside 1-65535");
  core::ServiceRef& entry = ports[core::PortKey{port, static_cast<core::Protocol>(protocol)}];
  if (entry.empty()) entry = ServiceOfChain(element.chain);
  if (entry.empty()) entry = core::ServiceOfComment(element.comment);
}

absl::StatusOr<Reading> ReadMap(uint8_t family, absl::string_view map) {
  MapDecoder decoder;
  const absl::Status status = node::ListMap(
      family, node::kKubeProxyTable, map, [&decoder] { decoder = MapDecoder(); },
      [&decoder](const nlmsghdr& message) { decoder.Add(base::ViewOf(message)); });
  if (absl::IsNotFound(status)) return NothingSeen();
  if (!status.ok()) return status;
  Reading reading = std::move(decoder).Take();
  for (std::string& line : reading.skipped) {
    line = absl::StrCat(node::MapText(family, node::kKubeProxyTable, map), ": ", line);
  }
  return reading;
}

}  // namespace

void MapDecoder::Add(const base::NetlinkMessage& message) {
  if (message.type != ((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_NEWSETELEM)) return;
  absl::string_view list = base::FindAttribute(base::ParseNftMessage(message.payload).attributes,
                                               NFTA_SET_ELEM_LIST_ELEMENTS);
  for (base::NetlinkAttribute element; base::NextAttribute(list, element);) {
    AddElement(ParseElement(element.payload), ports_, skipped_);
  }
}

Reading MapDecoder::Take() && { return {std::move(ports_), std::move(skipped_).Take()}; }

absl::StatusOr<Reading> ReadKubeProxyMaps() {
  Reading all = NothingSeen();
  for (const uint8_t family : {uint8_t{AF_INET}, uint8_t{AF_INET6}}) {
    for (const absl::string_view map : {"service-nodeports", "no-endpoint-nodeports"}) {
      absl::StatusOr<Reading> reading = ReadMap(family, map);
      if (!reading.ok()) return reading;
      Merge(all.ports, reading->ports);
      all.coverage = std::min(all.coverage, reading->coverage);
      for (std::string& line : reading->skipped) all.skipped.push_back(std::move(line));
    }
  }
  return all;
}

}  // namespace npg::sources
