// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_KUBECONFIG_SECTION_H_
#define NODEPORT_GUARD_KUBERNETES_KUBECONFIG_SECTION_H_

#include <simdjson.h>

#include <optional>
#include <string>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::kubernetes {

// One mapping of a kubeconfig, with its name for messages. Values of the wrong kind are
// errors (INVALID_ARGUMENT); absent, null and empty ones are not. No message quotes a
// value, because any may be a secret. Lives as long as the parser's document.
class Section {
 public:
  // `where` is `user "admin"`, or empty for the file itself. Null is a mapping without
  // keys. An error when it is no mapping or a key is repeated, because parsers differ in
  // which one counts.
  static absl::StatusOr<Section> Of(simdjson::dom::element value, std::string where);

  // The member's text; "" when it is absent. An error when it is no text, or
  // has a control character.
  absl::StatusOr<std::string> Text(absl::string_view key) const;

  // The bytes that the member holds in base64; "" when it is absent.
  absl::StatusOr<std::string> Base64(absl::string_view key) const;

  // Whether the member is true; false when it is absent.
  absl::StatusOr<bool> IsTrue(absl::string_view key) const;

  // True when the member is present and not null, "", [] or {}.
  bool Has(absl::string_view key) const;

  // The list under `list`, whose items are {name: NAME, `item`: {...}}, by name.
  // An error when an item is no mapping, has no name, or repeats a name.
  absl::StatusOr<absl::btree_map<std::string, Section>> Named(absl::string_view list,
                                                              absl::string_view item) const;

  // INVALID_ARGUMENT `what`, after the name of the section.
  absl::Status Error(absl::string_view what) const;

 private:
  Section(std::optional<simdjson::dom::object> object, std::string where);

  std::optional<simdjson::dom::element> Get(absl::string_view key) const;
  // The member as written; the caller refuses control characters.
  absl::StatusOr<absl::string_view> RawText(absl::string_view key) const;

  std::optional<simdjson::dom::object> object_;  // nullopt: null
  std::string where_;
};

using NamedSections = absl::btree_map<std::string, Section>;

// `"admin"`: a name for a message.
std::string QuotedName(absl::string_view name);

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_KUBECONFIG_SECTION_H_
