// SPDX-License-Identifier: Apache-2.0
#include "core/flow.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "core/listener.h"
#include "core/port.h"

namespace npg::core {

std::string ToString(const Flow& flow) {
  return absl::StrCat(AddressText(flow.client_address), ":", flow.client_port, " -> ",
                      AddressText(flow.server_address), ":", flow.server_port, "/",
                      ProtocolName(static_cast<Protocol>(flow.protocol)));
}

}  // namespace npg::core
