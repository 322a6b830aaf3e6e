// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_SAVE_PARSER_H_
#define NODEPORT_GUARD_RULES_SAVE_PARSER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "rules/rule.h"
#include "rules/save_words.h"

namespace npg::rules {

// Parses the output of iptables-legacy-save or ip6tables-legacy-save, line by line as it comes, in
// memory that does not grow with it, with or without counters.
class SaveParser {
 public:
  // What a table consists of.
  class Sink {
   public:
    virtual ~Sink() = default;
    // ":CHAIN POLICY [0:0]".
    virtual void Chain(const ChainName& chain) = 0;
    virtual void Append(const ChainName& chain, const Rule& rule) = 0;
  };

  // `family`: NFPROTO_IPV4 or NFPROTO_IPV6. `sink` outlives the parser.
  SaveParser(uint8_t family, Sink& sink) : family_(family), sink_(sink) {}

  // Takes the next bytes, split anywhere.
  void Feed(absl::string_view piece);
  // INVALID_ARGUMENT: the output ended within a table.
  absl::Status Finish();

  // Base chains of the tables seen, with the kernel's hooks and priorities for those of the
  // tables raw, mangle, nat, filter, security at local output and input.
  const std::vector<BaseChain>& base_chains() const { return base_chains_; }
  // Lines that are not what iptables-save writes, by number and content; the rest applies. The
  // first hundred, and how many more there are.
  const std::vector<std::string>& skipped() const { return skipped_; }

 private:
  void Keep(absl::string_view part_of_line);
  void ParseLine(absl::string_view line);
  void ParseChain(absl::string_view line);
  void ParseRule(absl::string_view line);
  TableId Table() const;
  void Skip(absl::string_view line, absl::string_view why);

  const uint8_t family_;
  Sink& sink_;
  std::string pending_;  // the beginning of a line whose end has not come
  size_t line_ = 0;
  std::string table_;  // empty between tables
  // The number of the last rule, for each chain of the table.
  absl::flat_hash_map<std::string, uint64_t> numbers_;
  std::vector<BaseChain> base_chains_;
  std::vector<std::string> skipped_;
  size_t skipped_lines_ = 0;
  // Of the last rule: they keep their memory from one rule to the next.
  ChainName chain_;
  SaveWords words_;
  Rule rule_;
};

// The rule in the words behind "-A CHAIN", as iptables-save prints them. Matches and options that
// are not known become operands that name them ("match u32"), and targets that are neither known
// nor chains a Verdict kDivert ("target TPROXY"). nullopt: not words of iptables-save.
// `is_chain`: whether the table has a user-defined chain of that name. `family` as of SaveParser.
std::optional<Rule> ParseSavedRule(uint8_t family, absl::Span<const absl::string_view> words,
                                   absl::FunctionRef<bool(absl::string_view name)> is_chain);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_SAVE_PARSER_H_
