// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_NFT_OBJECTS_H_
#define NODEPORT_GUARD_BASE_NFT_OBJECTS_H_

// The declarations of libnftnl and the kernel for nf_tables. Include this header only,
// because the order matters: glibc's in.h must precede linux/in.h, which then omits its
// own definitions, and libnftnl/expr.h needs stdio but does not include it.
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cstdio>

#include <libmnl/libmnl.h>

#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4.h>

#include <memory>

namespace npg::base {

// Owners of libnftnl's objects.
template <auto Free>
struct NftnlFree {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};

using NftnlTable = std::unique_ptr<nftnl_table, NftnlFree<nftnl_table_free>>;
using NftnlChain = std::unique_ptr<nftnl_chain, NftnlFree<nftnl_chain_free>>;
using NftnlRule = std::unique_ptr<nftnl_rule, NftnlFree<nftnl_rule_free>>;
using NftnlSet = std::unique_ptr<nftnl_set, NftnlFree<nftnl_set_free>>;
using NftnlObject = std::unique_ptr<nftnl_obj, NftnlFree<nftnl_obj_free>>;

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_NFT_OBJECTS_H_
