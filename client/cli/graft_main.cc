// graft: the command line.

#include "client/cli/program.h"

int main(int argc, char** argv) {
  graft::BlockInterrupts();
  return graft::RunGraft(argc, argv);
}
