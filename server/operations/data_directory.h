#pragma once

namespace graft {

// What lies in a data directory, unless --store and --artifacts say otherwise.
inline constexpr char kStoreFileName[] = "graft.db";
inline constexpr char kArtifactsName[] = "artifacts";
// Locked by the server that uses the directory; it also tells `graft-server stop` whom to stop.
inline constexpr char kServerLockName[] = "server.lock";

}  // namespace graft
