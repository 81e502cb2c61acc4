#pragma once

// SHA-256 (FIPS 180-4) through OpenSSL's EVP interface, and its text form: 64 lower-case
// hexadecimal digits.

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct evp_md_ctx_st;

namespace graft {

inline constexpr int kSha256HexLength = 64;

// Hashes a stream piece by piece. One thread at a time. Copying is not supported; Hex() may be
// called at any time and more bytes added afterwards.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(absl::string_view bytes);
  // The hash of all bytes up to now.
  std::string Hex() const;

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

std::string Sha256Hex(absl::string_view bytes);

// Hash of a whole file, read in pieces of 1 MiB. NOT_FOUND, PERMISSION_DENIED, DATA_LOSS as in
// file.h.
absl::StatusOr<std::string> Sha256HexOfFile(const std::string& path);

// Is `text` 64 lower-case hexadecimal digits?
bool IsSha256Hex(absl::string_view text);

}  // namespace graft
