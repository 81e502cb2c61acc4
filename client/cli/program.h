#pragma once

// The program `graft`: all of its commands.

#include "CLI/CLI.hpp"
#include "client/cli/command.h"

namespace graft {

// The commands and the flags that stand before or after any of them. `context` and `run` outlive
// the app.
void AddCommands(CLI::App& app, CliContext& context, RunCommand& run);

// Reads the command line, runs what it says, prints what is wrong. Returns an ExitCode.
int RunGraft(int argc, const char* const* argv);

}  // namespace graft
