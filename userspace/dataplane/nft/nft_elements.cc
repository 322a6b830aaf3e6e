// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/nft_elements.h"

#include <linux/netlink.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/netlink_socket.h"
#include "base/nft_objects.h"
#include "dataplane/nft/nft_batch.h"
#include "dataplane/nft/nft_table.h"

namespace npg::dataplane {
namespace {

// libnftnl keeps elements in the set they belong to.
base::NftnlSet ElementList(absl::string_view set) {
  base::NftnlSet list(nftnl_set_alloc());
  nftnl_set_set_str(list.get(), NFTNL_SET_TABLE, std::string(kNftTableName).c_str());
  nftnl_set_set_str(list.get(), NFTNL_SET_NAME, std::string(set).c_str());
  return list;
}

void AppendElements(NftBatch& batch, uint16_t type, uint16_t flags, const std::string& what,
                    const nftnl_set& list) {
  const std::unique_ptr<nftnl_set_elems_iter, base::NftnlFree<nftnl_set_elems_iter_destroy>>
      iterator(nftnl_set_elems_iter_create(&list));
  batch.Add(type, flags, what, [&](nlmsghdr* message) {
    return nftnl_set_elems_nlmsg_build_payload_iter(message, iterator.get()) > 0;
  });
}

}  // namespace

absl::StatusOr<std::vector<NftElement>> ReadNftElements(base::NetlinkSocket& socket,
                                                        absl::string_view set) {
  const base::NftnlSet filter = ElementList(set);
  std::array<char, 512> buffer{};
  nlmsghdr* request =
      nftnl_nlmsg_build_hdr(buffer.data(), NFT_MSG_GETSETELEM, NFPROTO_INET, NLM_F_DUMP, 0);
  nftnl_set_elems_nlmsg_build_payload(request, filter.get());
  std::vector<NftElement> elements;
  const auto visit = [&elements](const nlmsghdr& message) {
    const base::NftnlSet found(nftnl_set_alloc());
    if (nftnl_set_elems_nlmsg_parse(&message, found.get()) < 0) return;
    const auto collect = [](nftnl_set_elem* element, void* data) {
      uint32_t size = 0;
      const void* key = nftnl_set_elem_get(element, NFTNL_SET_ELEM_KEY, &size);
      auto& list = *static_cast<std::vector<NftElement>*>(data);
      list.push_back({std::string(static_cast<const char*>(key), size), 0, 0});
      if (nftnl_set_elem_is_set(element, NFTNL_SET_ELEM_TIMEOUT)) {
        list.back().timeout_ms = nftnl_set_elem_get_u64(element, NFTNL_SET_ELEM_TIMEOUT);
        list.back().expires_ms = nftnl_set_elem_get_u64(element, NFTNL_SET_ELEM_EXPIRATION);
      }
      return 0;
    };
    nftnl_set_elem_foreach(found.get(), collect, &elements);
  };
  const absl::Status status = socket.AskForEach(
      *request, absl::StrCat("read set ", set, " of nft table inet ", kNftTableName),
      [&elements] { elements.clear(); }, visit);
  if (!status.ok()) return status;
  return elements;
}

absl::StatusOr<bool> HasNftElement(base::NetlinkSocket& socket, absl::string_view set,
                                   const std::string& key) {
  const base::NftnlSet list = ElementList(set);
  nftnl_set_elem* wanted = nftnl_set_elem_alloc();  // the set owns it
  nftnl_set_elem_set(wanted, NFTNL_SET_ELEM_KEY, key.data(), static_cast<uint32_t>(key.size()));
  nftnl_set_elem_add(list.get(), wanted);
  std::array<char, 512> buffer{};
  nlmsghdr* request = nftnl_nlmsg_build_hdr(buffer.data(), NFT_MSG_GETSETELEM, NFPROTO_INET, 0, 0);
  nftnl_set_elems_nlmsg_build_payload(request, list.get());
  const absl::Status status = socket
                                  .Ask(*request, absl::StrCat("look up an entry of set ", set,
                                                              " of nft table inet ", kNftTableName))
                                  .status();
  if (absl::IsNotFound(status)) return false;
  if (!status.ok()) return status;
  return true;
}

void AddElements(NftBatch& batch, absl::string_view set, const std::vector<NftElement>& elements) {
  if (elements.empty()) return;
  const base::NftnlSet list = ElementList(set);
  for (const NftElement& element : elements) {
    nftnl_set_elem* added = nftnl_set_elem_alloc();  // the set owns it
    nftnl_set_elem_set(added, NFTNL_SET_ELEM_KEY, element.key.data(),
                       static_cast<uint32_t>(element.key.size()));
    if (element.timeout_ms != 0) {
      // The kernel reads 0 as "the full time", and refuses more than the timeout, which a
      // rule may have set.
      const uint64_t expires_ms = std::max<uint64_t>(element.expires_ms, 1);
      nftnl_set_elem_set_u64(added, NFTNL_SET_ELEM_TIMEOUT,
                             std::max(element.timeout_ms, expires_ms));
      nftnl_set_elem_set_u64(added, NFTNL_SET_ELEM_EXPIRATION, expires_ms);
    }
    nftnl_set_elem_add(list.get(), added);
  }
  AppendElements(batch, NFT_MSG_NEWSETELEM, NLM_F_CREATE, absl::StrCat("add entries to set ", set),
                 *list);
}

void DeleteElements(NftBatch& batch, absl::string_view set, const std::vector<std::string>& keys) {
  if (keys.empty()) return;
  const base::NftnlSet list = ElementList(set);
  for (const std::string& key : keys) {
    nftnl_set_elem* removed = nftnl_set_elem_alloc();
    nftnl_set_elem_set(removed, NFTNL_SET_ELEM_KEY, key.data(), static_cast<uint32_t>(key.size()));
    nftnl_set_elem_add(list.get(), removed);
  }
  AppendElements(batch, NFT_MSG_DELSETELEM, 0, absl::StrCat("remove entries from set ", set),
                 *list);
}

}  // namespace npg::dataplane
