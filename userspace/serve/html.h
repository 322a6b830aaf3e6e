// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_HTML_H_
#define NODEPORT_GUARD_SERVE_HTML_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace npg::serve {

// `text` for HTML, in content and in quoted attributes; also escapes what
// base::Printable() escapes.
std::string EscapeHtml(absl::string_view text);

// Functions that return HTML escape their text arguments; arguments named html are HTML.

// "good", "bad", "warn": each also has a sign, for readers who do not see colours.
std::string Badge(absl::string_view tone, absl::string_view text);

// "3m ago", with the time itself as a tooltip.
std::string TimeAgo(absl::Time time, absl::Time now);

// A table whose rows become cards on a narrow screen. The first column is a row's heading.
class HtmlTable {
 public:
  struct Column {
    std::string title;
    bool number = false;
  };
  HtmlTable(std::string caption, std::vector<Column> columns)
      : caption_(std::move(caption)), columns_(std::move(columns)) {}

  void AddRow(const std::vector<std::string>& html_cells);
  std::string Html() const;

 private:
  std::string caption_;  // for screen readers
  std::vector<Column> columns_;
  std::string rows_;
};

// A list of names and values.
class HtmlFacts {
 public:
  // Omitted if `html` is empty.
  void Add(absl::string_view name, absl::string_view html);
  std::string Html() const;

 private:
  std::string items_;
};

// A part of the page, with its heading.
std::string Section(absl::string_view id, absl::string_view heading, absl::string_view html);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_HTML_H_
