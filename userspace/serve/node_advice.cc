// SPDX-License-Identifier: Apache-2.0
#include "serve/node_advice.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/random/bit_gen_ref.h"
#include "absl/random/distributions.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "kubernetes/http_client.h"
#include "serve/kube_event_answer.h"
#include "serve/kube_event_json.h"

namespace npg::serve {
namespace {

// Where Events about objects without a namespace are, as those of kubelet.
constexpr const char* kNodeNamespace = "default";

std::string AdviceJson(const std::string& node, const std::string& name, const std::string& text,
                       absl::Time now) {
  nlohmann::ordered_json json = KubeEventOf(node, now, absl::StrCat("Node ", node, ": ", text));
  json["metadata"] = {{"name", name}, {"namespace", kNodeNamespace}};
  json["action"] = "AdvisePortRange";
  json["reason"] = "NodePortRangeOverlap";
  // kubelet's Events have the node's name as uid, too: `kubectl describe node` selects by it.
  json["regarding"] = {{"apiVersion", "v1"}, {"kind", "Node"}, {"name", node}, {"uid", node}};
  return DumpKubeEvent(json);
}

}  // namespace

NodeAdvice::NodeAdvice(Options options, absl::BitGenRef random)
    : options_(std::move(options)), random_(random) {}

void NodeAdvice::Observe(const std::string& text, absl::Time now) {
  text_ = text;
  if (text_.empty() || scheduled_) return;
  scheduled_ = true;
  // A time in the future is of a clock that was set back since.
  const absl::Time last = std::min(options_.last_sent(), now);
  due_ = std::max(now, last + options_.period) + absl::Uniform(random_, 0.0, 1.0) * options_.spread;
}

std::optional<kubernetes::HttpRequest> NodeAdvice::Next(absl::Time now) {
  if (now < due()) return std::nullopt;
  under_way_ = true;
  // The same name until it is sent: an attempt without a response may have succeeded.
  if (name_.empty()) {
    name_ = absl::StrFormat("%s.%016x", options_.node, absl::ToUnixNanos(now));
  }
  kubernetes::HttpRequest request;
  request.method = "POST";
  request.target = KubeEventsPath(kNodeNamespace);
  request.body_type = "application/json";
  request.body = AdviceJson(options_.node, name_, text_, now);
  return request;
}

absl::Status NodeAdvice::OnAnswer(const KubeEventAnswer& answer, absl::Time now) {
  under_way_ = false;
  if (Successful(answer) || AlreadyExists(answer)) {
    name_.clear();
    due_ = now + options_.period;
    options_.sent(now);
    return absl::OkStatus();
  }
  due_ = now + options_.pause;
  if (answer.status == kHttpForbidden) return ForbiddenError(answer);
  if (Passing(answer)) return absl::UnavailableError(Reason(answer));
  return absl::InvalidArgumentError(Reason(answer));
}

}  // namespace npg::serve
