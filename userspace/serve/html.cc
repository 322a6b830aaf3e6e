// SPDX-License-Identifier: Apache-2.0
#include "serve/html.h"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "base/short_duration.h"
#include "base/text.h"

namespace npg::serve {
std::string EscapeHtml(absl::string_view text) {
  return absl::StrReplaceAll(
      base::Printable(text),
      {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

std::string Badge(absl::string_view tone, absl::string_view text) {
  const absl::string_view sign = tone == "good" ? "&#10003;" : tone == "bad" ? "&#10005;" : "!";
  return absl::StrCat("<span class=\"badge ", tone, R"("><span aria-hidden="true">)", sign,
                      "</span> ", EscapeHtml(text), "</span>");
}

std::string TimeAgo(absl::Time time, absl::Time now) {
  const std::string text = base::UtcTime(time);
  return absl::StrCat("<time datetime=\"", text, "\" title=\"", text, "\">",
                      base::ShortDuration(now - time), " ago</time>");
}

void HtmlTable::AddRow(const std::vector<std::string>& html_cells) {
  rows_ += "<tr>";
  for (size_t i = 0; i < html_cells.size() && i < columns_.size(); ++i) {
    if (i == 0) {
      absl::StrAppend(&rows_, "<th scope=\"row\">", html_cells[i], "</th>");
      continue;
    }
    absl::StrAppend(&rows_, "<td data-label=\"", EscapeHtml(columns_[i].title), "\"",
                    columns_[i].number ? " class=\"number\"" : "", "><span>", html_cells[i],
                    "</span></td>");
  }
  rows_ += "</tr>\n";
}

std::string HtmlTable::Html() const {
  std::string html = absl::StrCat("<table aria-label=\"", EscapeHtml(caption_), "\">\n<thead><tr>");
  for (const Column& column : columns_) {
    absl::StrAppend(&html, "<th scope=\"col\"", column.number ? " class=\"number\"" : "", ">",
                    EscapeHtml(column.title), "</th>");
  }
  absl::StrAppend(&html, "</tr></thead>\n<tbody>\n", rows_, "</tbody>\n</table>\n");
  return html;
}

void HtmlFacts::Add(absl::string_view name, absl::string_view html) {
  if (html.empty()) return;
  absl::StrAppend(&items_, "<dt>", EscapeHtml(name), "</dt><dd>", html, "</dd>\n");
}

std::string HtmlFacts::Html() const {
  return items_.empty() ? "" : absl::StrCat("<dl>\n", items_, "</dl>\n");
}

std::string Section(absl::string_view id, absl::string_view heading, absl::string_view html) {
  return absl::StrCat(R"(<section class="card" id=")", id, "\" aria-labelledby=\"", id,
                      "-heading\">\n<h2 id=\"", id, "-heading\">", EscapeHtml(heading), "</h2>\n",
                      html, "</section>\n");
}

}  // namespace npg::serve
