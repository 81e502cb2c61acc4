#pragma once

// Man pages: what --help says, as roff. No input or output of its own.

#include <string>
#include <vector>

#include "CLI/CLI.hpp"

namespace graft {

// "graft-adapters-list", as its page is called.
std::string ManPageName(const CLI::App& command);

// The page of a command, in section 1.
std::string ManPage(const CLI::App& command);

// The command and all that stand below it, those that are hidden left out.
std::vector<const CLI::App*> WithSubcommands(const CLI::App& command);

}  // namespace graft
