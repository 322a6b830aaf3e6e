// SPDX-License-Identifier: Apache-2.0
// Expressions that read and write bytes of the packet.
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "rules/nft_attributes.h"
#include "rules/nft_expressions.h"
#include "rules/nft_registers.h"
#include "rules/rule.h"

namespace npg::rules {
namespace {

// A field in a header, by its place there.
struct NftHeaderField {
  uint8_t offset = 0;
  uint8_t size = 0;
  Field field = Field::kUnknown;
};
constexpr std::array kIpv4Fields = {NftHeaderField{9, 1, Field::kProtocol},
                                    NftHeaderField{12, 4, Field::kSource},
                                    NftHeaderField{16, 4, Field::kDestination}};
constexpr std::array kIpv6Fields = {NftHeaderField{6, 1, Field::kProtocol},
                                    NftHeaderField{8, 16, Field::kSource},
                                    NftHeaderField{24, 16, Field::kDestination}};
constexpr std::array kTransportFields = {NftHeaderField{0, 2, Field::kSourcePort},
                                         NftHeaderField{2, 2, Field::kDestinationPort},
                                         NftHeaderField{13, 1, Field::kTcpFlags}};

absl::Span<const NftHeaderField> NftHeaderFields(uint32_t header, uint8_t family, uint32_t offset,
                                                 size_t size) {
  if (header == NFT_PAYLOAD_TRANSPORT_HEADER) return kTransportFields;
  if (header != NFT_PAYLOAD_NETWORK_HEADER) return {};
  if (family == NFPROTO_IPV4) return kIpv4Fields;
  if (family == NFPROTO_IPV6) return kIpv6Fields;
  // The rule does not say which family it is for, but a load of whole addresses does.
  const bool ipv4 = (offset == 12 && (size == 4 || size == 8)) || (offset == 16 && size == 4);
  const bool ipv6 = (offset == 8 && (size == 16 || size == 32)) || (offset == 24 && size == 16);
  if (ipv4) return kIpv4Fields;
  if (ipv6) return kIpv6Fields;
  return {};
}

absl::string_view NftHeaderName(uint32_t header) {
  constexpr std::array<absl::string_view, 5> kNames = {"link layer", "network", "transport",
                                                       "inner", "tunnel"};
  return header < kNames.size() ? kNames.at(header) : "header";
}

bool NftRangesOverlap(uint32_t offset, uint32_t size, uint32_t first, uint32_t end) {
  return offset < end && uint64_t{offset} + size > first;
}

}  // namespace

bool NftExpressions::Payload(const NftAttributes& attributes) {
  const std::optional<uint32_t> header = attributes.Number(NFTA_PAYLOAD_BASE);
  const std::optional<uint32_t> offset = attributes.Number(NFTA_PAYLOAD_OFFSET);
  const std::optional<uint32_t> size = attributes.Number(NFTA_PAYLOAD_LEN);
  if (!header || !offset || !size) return false;
  if (attributes.Has(NFTA_PAYLOAD_SREG)) return SetPayload(attributes);
  const std::optional<uint8_t> start = NftRegisters::Start(attributes.Number(NFTA_PAYLOAD_DREG));
  if (!start || *size == 0 || *size > NftRegisters::kSize - *start) return false;
  registers_.Forget(*start, *size);
  LoadHeader(*header, *offset, static_cast<uint8_t>(*size), *start);
  return true;
}

// Splits the load into fields and what is between them.
void NftExpressions::LoadHeader(uint32_t header, uint32_t offset, uint8_t size, uint8_t start) {
  size_t at = offset;
  const size_t end = size_t{offset} + size;
  for (const NftHeaderField& field : NftHeaderFields(header, network_family_, offset, size)) {
    const size_t field_end = size_t{field.offset} + field.size;
    const size_t first = std::max<size_t>(at, field.offset);
    const size_t last = std::min(end, field_end);
    if (first >= last) continue;
    LoadHeaderGap(header, at, first - at, start + at - offset);
    const auto loaded = static_cast<uint8_t>(last - first);
    NftLoad load;
    load.start = static_cast<uint8_t>(start + first - offset);
    load.size = loaded;
    load.shift = static_cast<uint8_t>(8 * (field_end - last));
    load.operand = FieldOperand(field.field, field.size);
    if (loaded < field.size) load.operand.mask = LowBits(8U * loaded) << int{load.shift};
    registers_.Add(std::move(load));
    at = last;
  }
  LoadHeaderGap(header, at, end - at, start + at - offset);
}

void NftExpressions::LoadHeaderGap(uint32_t header, size_t offset, size_t size, size_t start) {
  if (size == 0) return;
  registers_.Add(
      {.start = static_cast<uint8_t>(start),
       .size = static_cast<uint8_t>(size),
       .operand = UnknownOperand(
           absl::StrCat("payload ", NftHeaderName(header), " ", offset, "+", size), size)});
}

bool NftExpressions::SetPayload(const NftAttributes& attributes) {
  const uint32_t header = attributes.Number(NFTA_PAYLOAD_BASE).value_or(0);
  const uint32_t offset = attributes.Number(NFTA_PAYLOAD_OFFSET).value_or(0);
  const uint32_t size = attributes.Number(NFTA_PAYLOAD_LEN).value_or(0);
  const bool port = header == NFT_PAYLOAD_TRANSPORT_HEADER && NftRangesOverlap(offset, size, 2, 4);
  const bool ipv4 = network_family_ != NFPROTO_IPV6 && NftRangesOverlap(offset, size, 16, 20);
  const bool ipv6 = network_family_ != NFPROTO_IPV4 && NftRangesOverlap(offset, size, 24, 40);
  const bool address = header == NFT_PAYLOAD_NETWORK_HEADER && (ipv4 || ipv6);
  return port || address ? Divert("payload set") : true;
}

}  // namespace npg::rules
