// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_JSON_H_
#define NODEPORT_GUARD_INSPECT_JSON_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/string_view.h"
#include "core/workload.h"
#include "inspect/guard_facts.h"
#include "inspect/status.h"

// The documents of `-o json` and of /api/v1/status; docs/status.schema.json has their fields.

namespace npg::inspect {

using Json = nlohmann::ordered_json;

// Null where the text is empty.
Json TextOrNull(const std::string& text);

// Adds unit, pod_uid, container_id and container_runtime, null where unknown.
void AddWorkload(const core::Workload& workload, Json& json);

Json OwnerJson(const core::Listener& listener, const OwnerName& name);
Json ConflictJson(const Conflict& conflict);
Json GuardJson(const Status& status);
Json StatusJson(const Status& status);

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_JSON_H_
