// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/kubeconfig.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "core/service_name.h"
#include "kubernetes/cluster_access.h"
#include "kubernetes/kubeconfig_section.h"
#include "kubernetes/server_url.h"
#include "kubernetes/yaml_to_json.h"

namespace npg::kubernetes {
namespace {

struct Refusal {
  absl::string_view key;
  absl::string_view what;
};

constexpr absl::string_view kInstead =
    "give the user a tokenFile, a token, or a client-certificate and client-key instead";

constexpr std::array<Refusal, 8> kRefusedOfUser = {{
    {"exec", "plugins are not run"},
    {"auth-provider", "is not supported, as in kubectl itself since 1.26"},
    {"username", "and password are not supported, as in API servers since 1.19"},
    {"password", "and username are not supported, as in API servers since 1.19"},
    {"as", "(impersonation) is not supported"},
    {"as-uid", "(impersonation) is not supported"},
    {"as-groups", "(impersonation) is not supported"},
    {"as-user-extra", "(impersonation) is not supported"},
}};

// Parses into `parser`, which owns what is returned.
absl::StatusOr<simdjson::dom::element> Parse(const std::string& text,
                                             simdjson::dom::parser& parser) {
  simdjson::dom::element root;
  const size_t start = text.find_first_not_of(" \t\r\n");
  // YAML does not allow all of JSON (tabs, some escapes): JSON is tried as JSON first.
  if (start != std::string::npos && text[start] == '{' &&
      parser.parse(text).get(root) == simdjson::SUCCESS) {
    return root;
  }
  const absl::StatusOr<std::vector<std::string>> documents = YamlToJson(text);
  if (!documents.ok()) return documents.status();
  if (documents->empty()) return absl::InvalidArgumentError("is empty; name a kubeconfig");
  if (documents->size() > 1) {
    return absl::InvalidArgumentError(
        "holds more than one YAML document; keep the one that is meant");
  }
  const simdjson::error_code error = parser.parse(documents->front()).get(root);
  if (error == simdjson::SUCCESS) return root;
  return absl::InvalidArgumentError(error == simdjson::UTF8_ERROR
                                        ? "is not UTF-8; write it anew"
                                        : "is nested too deeply, or no kubeconfig at all");
}

// A member that is present must have the expected value.
absl::Status Expect(const Section& root, absl::string_view key, absl::string_view expected) {
  const absl::StatusOr<std::string> value = root.Text(key);
  if (!value.ok()) return value.status();
  if (value->empty() || *value == expected) return absl::OkStatus();
  return root.Error(absl::StrCat(key, " is not ", expected, "; name a kubeconfig"));
}

// One file, parsed.
struct ConfigFile {
  std::string path;
  std::filesystem::path folder;                   // absolute: relative names are relative to it
  std::unique_ptr<simdjson::dom::parser> parser;  // owns what `root` refers to
  std::optional<Section> root;                    // set once parsed
};
using ConfigFiles = std::vector<ConfigFile>;

absl::Status InFile(const ConfigFile& file, const absl::Status& status) {
  return base::Annotate(status, absl::StrCat("kubeconfig ", file.path));
}

// "kubeconfig /a:/b": all of them, for an error about what none of them has.
std::string TitleOf(const ConfigFiles& files) {
  return absl::StrCat("kubeconfig ",
                      absl::StrJoin(files, ":", [](std::string* out, const ConfigFile& file) {
                        absl::StrAppend(out, file.path);
                      }));
}

// A cluster, user or context, and the file that it is from.
struct FoundSection {
  Section section;
  const ConfigFile* file = nullptr;
};
using FoundSections = absl::btree_map<std::string, FoundSection>;

// The first file that has a name counts for it, with all of its section.
absl::StatusOr<FoundSections> MergeNamed(const ConfigFiles& files, absl::string_view list,
                                         absl::string_view item) {
  FoundSections merged;
  for (const ConfigFile& file : files) {
    const absl::StatusOr<NamedSections> sections = file.root->Named(list, item);
    if (!sections.ok()) return InFile(file, sections.status());
    for (const auto& [name, section] : *sections)
      merged.try_emplace(name, FoundSection{section, &file});
  }
  return merged;
}

// `"a", "b"`: the available names.
std::string NamesOf(const FoundSections& sections) {
  constexpr size_t kMax = 10;
  if (sections.empty()) return "it has none";
  std::vector<std::string> names;
  for (const auto& [name, section] : sections) {
    if (names.size() == kMax) {
      names.push_back(absl::StrCat("and ", sections.size() - kMax, " more"));
      break;
    }
    names.push_back(QuotedName(name));
  }
  return absl::StrCat("it has ", absl::StrJoin(names, ", "));
}

// The parts that a context selects.
struct Chosen {
  std::string context;
  std::optional<FoundSection> cluster;
  std::optional<FoundSection> user;  // nullopt: the context names none
};

absl::StatusOr<std::optional<FoundSection>> Find(const ConfigFiles& files,
                                                 const FoundSection& context,
                                                 absl::string_view item) {
  const absl::StatusOr<std::string> name = context.section.Text(item);
  if (!name.ok()) return InFile(*context.file, name.status());
  const absl::StatusOr<FoundSections> sections = MergeNamed(files, absl::StrCat(item, "s"), item);
  if (!sections.ok()) return sections.status();
  if (name->empty()) return std::optional<FoundSection>();
  const auto found = sections->find(*name);
  if (found != sections->end()) return std::optional<FoundSection>(found->second);
  return InFile(*context.file,
                context.section.Error(absl::StrCat("there is no ", item, " ", QuotedName(*name),
                                                   "; ", NamesOf(*sections))));
}

// The current-context of the first file that has one.
absl::StatusOr<std::string> CurrentContext(const ConfigFiles& files) {
  std::string current;
  for (const ConfigFile& file : files) {
    absl::StatusOr<std::string> text = file.root->Text("current-context");
    if (!text.ok()) return InFile(file, text.status());
    if (current.empty()) current = *std::move(text);
  }
  return current;
}

absl::StatusOr<Chosen> Choose(const ConfigFiles& files, const std::string& wanted) {
  const absl::StatusOr<FoundSections> contexts = MergeNamed(files, "contexts", "context");
  if (!contexts.ok()) return contexts.status();
  const absl::StatusOr<std::string> current = CurrentContext(files);
  if (!current.ok()) return current.status();
  Chosen chosen{wanted.empty() ? *current : wanted, {}, {}};
  if (chosen.context.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(TitleOf(files), ": has no current-context; choose with --kube-context (",
                     NamesOf(*contexts), ")"));
  }
  const auto context = contexts->find(chosen.context);
  if (context == contexts->end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(TitleOf(files), ": has no context ", QuotedName(chosen.context),
                     "; choose with --kube-context (", NamesOf(*contexts), ")"));
  }
  auto cluster = Find(files, context->second, "cluster");
  if (!cluster.ok()) return cluster.status();
  auto user = Find(files, context->second, "user");
  if (!user.ok()) return user.status();
  if (!cluster->has_value()) {
    return InFile(*context->second.file,
                  context->second.section.Error("names no cluster; add cluster: NAME"));
  }
  chosen.cluster = *std::move(cluster);
  chosen.user = *std::move(user);
  return chosen;
}

std::string Resolve(const std::filesystem::path& folder, const std::string& file) {
  if (file.empty()) return file;
  return (folder / file).lexically_normal();  // keeps an absolute name
}

// `block` is how the PEM block ends its first line: "CERTIFICATE-----".
absl::StatusOr<Pem> ReadPem(const Section& section, absl::string_view key, absl::string_view block,
                            const std::filesystem::path& folder) {
  const std::string data_key = absl::StrCat(key, "-data");
  absl::StatusOr<std::string> data = section.Base64(data_key);
  if (!data.ok()) return data.status();
  const absl::StatusOr<std::string> file = section.Text(key);
  if (!file.ok()) return file.status();
  if (data->empty()) return Pem{Resolve(folder, *file), ""};
  if (absl::StrContains(*data, "-----BEGIN ") && absl::StrContains(*data, block)) {
    return Pem{"", *std::move(data)};
  }
  return section.Error(absl::StrCat(data_key, " holds no ", block.substr(0, block.find('-')),
                                    " in PEM; encode the PEM file with base64 -w0"));
}

absl::Status TakeCluster(const Section& cluster, const std::filesystem::path& folder,
                         ClusterAccess& access) {
  const absl::StatusOr<bool> insecure = cluster.IsTrue("insecure-skip-tls-verify");
  if (!insecure.ok()) return insecure.status();
  if (*insecure) {
    return cluster.Error(
        "insecure-skip-tls-verify is not supported, TLS is always verified; remove it, and give "
        "the certificate-authority (and tls-server-name, if the certificate has another name)");
  }
  const absl::StatusOr<std::string> url = cluster.Text("server");
  if (!url.ok()) return url.status();
  absl::StatusOr<std::string> server = CheckServerUrl(*url);
  if (!server.ok()) return cluster.Error(absl::StrCat("server ", server.status().message()));
  access.server = *std::move(server);

  absl::StatusOr<std::string> name = cluster.Text("tls-server-name");
  if (!name.ok()) return name.status();
  access.tls_server_name = *std::move(name);
  if (!access.tls_server_name.empty()) {
    const absl::Status status = CheckHostName(access.tls_server_name);
    if (!status.ok()) return cluster.Error(absl::StrCat("tls-server-name ", status.message()));
  }
  absl::StatusOr<std::string> proxy = cluster.Text("proxy-url");
  if (!proxy.ok()) return proxy.status();
  access.proxy_url = *std::move(proxy);
  if (!access.proxy_url.empty()) {
    const absl::Status status = CheckProxyUrl(access.proxy_url);
    if (!status.ok()) return cluster.Error(absl::StrCat("proxy-url ", status.message()));
  }
  absl::StatusOr<Pem> ca = ReadPem(cluster, "certificate-authority", "CERTIFICATE-----", folder);
  if (!ca.ok()) return ca.status();
  access.ca = *std::move(ca);
  return absl::OkStatus();
}

absl::Status TakeCertificate(const Section& user, const std::filesystem::path& folder,
                             ClusterAccess& access) {
  absl::StatusOr<Pem> certificate = ReadPem(user, "client-certificate", "CERTIFICATE-----", folder);
  if (!certificate.ok()) return certificate.status();
  absl::StatusOr<Pem> key = ReadPem(user, "client-key", "PRIVATE KEY-----", folder);
  if (!key.ok()) return key.status();
  if (certificate->empty() && !key->empty()) {
    return user.Error("has a client-key without a client-certificate; add it");
  }
  if (!certificate->empty() && key->empty()) {
    return user.Error(
        "has a client-certificate without a client-key; add it (the same file, if that holds "
        "both)");
  }
  access.client_certificate = *std::move(certificate);
  access.client_key = *std::move(key);
  return absl::OkStatus();
}

absl::Status TakeUser(const Section& user, const std::filesystem::path& folder,
                      ClusterAccess& access) {
  for (const Refusal& refusal : kRefusedOfUser) {
    if (!user.Has(refusal.key)) continue;
    return user.Error(absl::StrCat(refusal.key, " ", refusal.what, "; ", kInstead));
  }
  NPG_RETURN_IF_ERROR(TakeCertificate(user, folder, access));
  const absl::StatusOr<std::string> token_file = user.Text("tokenFile");
  if (!token_file.ok()) return token_file.status();
  access.token_file = Resolve(folder, *token_file);
  absl::StatusOr<std::string> token = user.Text("token");
  if (!token.ok()) return token.status();
  if (token->empty()) return absl::OkStatus();
  if (const absl::Status status = CheckToken(*token); !status.ok()) {
    return user.Error(absl::StrCat("token ", status.message()));
  }
  access.token = *std::move(token);
  return absl::OkStatus();
}

// Fills in what follows from the text.
absl::Status ParseFile(const std::string& text, ConfigFile& file) {
  file.parser = std::make_unique<simdjson::dom::parser>();
  const absl::StatusOr<simdjson::dom::element> document = Parse(text, *file.parser);
  if (!document.ok()) return document.status();
  absl::StatusOr<Section> root = Section::Of(*document, "");
  if (!root.ok()) return root.status();
  NPG_RETURN_IF_ERROR(Expect(*root, "kind", "Config"));
  NPG_RETURN_IF_ERROR(Expect(*root, "apiVersion", "v1"));
  file.root = *std::move(root);
  return absl::OkStatus();
}

absl::StatusOr<ConfigFile> ReadConfigFile(const std::string& path) {
  const absl::StatusOr<std::string> text = base::ReadSmallFile(path, kMaxKubeconfigBytes);
  if (!text.ok()) {
    const bool forbidden = absl::IsPermissionDenied(text.status());
    return absl::Status(text.status().code(),
                        absl::StrCat("kubeconfig ", text.status().message(), "; ",
                                     forbidden ? "let the user that nodeport-guard runs as read it"
                                               : "name a kubeconfig with --kubeconfig"));
  }
  ConfigFile file;
  file.path = path;
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return InFile(file, absl::InternalError(error.message()));
  file.folder = absolute.parent_path();
  if (const absl::Status status = ParseFile(*text, file); !status.ok()) return InFile(file, status);
  return file;
}

// `files` is not empty.
absl::StatusOr<ClusterAccess> Decode(const ConfigFiles& files, const std::string& context) {
  const absl::StatusOr<Chosen> chosen = Choose(files, context);
  if (!chosen.ok()) return chosen.status();
  ClusterAccess access;
  access.origin = absl::StrCat(TitleOf(files), ", context ", core::Printable(chosen->context));
  const FoundSection& cluster = *chosen->cluster;
  if (const absl::Status status = TakeCluster(cluster.section, cluster.file->folder, access);
      !status.ok()) {
    return InFile(*cluster.file, status);
  }
  if (!chosen->user) return access;
  const FoundSection& user = *chosen->user;
  if (const absl::Status status = TakeUser(user.section, user.file->folder, access); !status.ok()) {
    return InFile(*user.file, status);
  }
  return access;
}

}  // namespace

absl::StatusOr<ClusterAccess> LoadKubeconfig(const std::string& path, const std::string& context) {
  absl::StatusOr<ConfigFile> file = ReadConfigFile(path);
  if (!file.ok()) return file.status();
  ConfigFiles files;
  files.push_back(*std::move(file));
  return Decode(files, context);
}

absl::StatusOr<ClusterAccess> LoadKubeconfigs(absl::string_view paths, const std::string& context) {
  ConfigFiles files;
  absl::Status missing = absl::NotFoundError("KUBECONFIG names no file");
  absl::btree_set<std::string> seen;
  for (const absl::string_view path : absl::StrSplit(paths, ':', absl::SkipEmpty())) {
    if (!seen.insert(std::string(path)).second) continue;
    absl::StatusOr<ConfigFile> file = ReadConfigFile(std::string(path));
    if (file.ok()) {
      files.push_back(*std::move(file));
    } else if (absl::IsNotFound(file.status())) {
      missing = file.status();
    } else {
      return file.status();
    }
  }
  if (files.empty()) return missing;
  return Decode(files, context);
}

}  // namespace npg::kubernetes
