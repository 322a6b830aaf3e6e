# npg_embed_page(CSS JS HEADER), and the script that it runs at build time:
#
# Writes a header with the style and the script of the status page as text, and
# with the hashes by which a Content-Security-Policy names them.
function(npg_embed_page CSS JS HEADER)
  add_custom_command(
    OUTPUT "${HEADER}"
    COMMAND "${CMAKE_COMMAND}" "-DCSS=${CSS}" "-DJS=${JS}" "-DHEADER=${HEADER}"
            -P "${PROJECT_SOURCE_DIR}/cmake/EmbedPage.cmake"
    DEPENDS "${CSS}" "${JS}" "${PROJECT_SOURCE_DIR}/cmake/EmbedPage.cmake"
    COMMENT "Embedding the status page's style and script"
    VERBATIM)
endfunction()

# Base64 of the SHA-256 of a file: CMake itself only knows hexadecimal.
function(npg_sha256_base64 FILE RESULT)
  set(alphabet "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
  file(SHA256 "${FILE}" hex)
  string(APPEND hex "00")  # 32 bytes are two thirds of a group short
  set(text "")
  foreach(start RANGE 0 60 6)
    string(SUBSTRING "${hex}" ${start} 6 group)
    foreach(shift 18 12 6 0)
      math(EXPR index "(0x${group} >> ${shift}) & 63")
      string(SUBSTRING "${alphabet}" ${index} 1 character)
      string(APPEND text "${character}")
    endforeach()
  endforeach()
  string(SUBSTRING "${text}" 0 43 text)
  set(${RESULT} "${text}=" PARENT_SCOPE)
endfunction()

if(CMAKE_SCRIPT_MODE_FILE)
  file(READ "${CSS}" css)
  file(READ "${JS}" js)
  npg_sha256_base64("${CSS}" css_hash)
  npg_sha256_base64("${JS}" js_hash)
  file(WRITE "${HEADER}" "// Generated from page.css and page.js.\n"
    "#pragma once\n"
    "#include \"absl/strings/string_view.h\"\n"
    "namespace npg::serve::page {\n"
    "inline constexpr absl::string_view kStyleHash = \"sha256-${css_hash}\";\n"
    "inline constexpr absl::string_view kScriptHash = \"sha256-${js_hash}\";\n"
    "inline constexpr absl::string_view kStyle = R\"npg(" "${css}" ")npg\";\n"
    "inline constexpr absl::string_view kScript = R\"npg(" "${js}" ")npg\";\n"
    "}  // namespace npg::serve::page\n")
endif()
