#pragma once

// A SQLite VFS over the default one whose writes and syncs fail when told to. One set of faults for
// the process.

#include <sqlite3.h>
#include <sys/stat.h>

#include <atomic>

namespace graft {

struct VfsFaults {
  // Writes fail with this SQLite code, once
  // `writes_before` have passed. 0: none fail.
  std::atomic<int> write_error{0};
  std::atomic<int> writes_before{0};
  // Writes are SQLITE_FULL as long as this file is there and not empty: the disk is full, but for
  // what the file gives back. Null: none.
  std::atomic<const char*> full_beside{nullptr};
  // As write_error, for syncs.
  std::atomic<int> sync_error{0};
  // Files without a name that were opened: SQLite's temporary ones.
  std::atomic<int> temporary_files{0};
};

inline VfsFaults& Faults() {
  static VfsFaults faults;
  return faults;
}

// Our file, followed in the same allocation by the real one.
struct FaultFile {
  sqlite3_file base;
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

inline sqlite3_file* FaultReal(sqlite3_file* file) {
  return reinterpret_cast<FaultFile*>(file)->real();
}

inline int FaultWrite(sqlite3_file* file, const void* bytes, int count, sqlite3_int64 offset) {
  VfsFaults& faults = Faults();
  struct stat beside;
  if (faults.full_beside != nullptr && ::stat(faults.full_beside, &beside) == 0 &&
      beside.st_size > 0) {
    return SQLITE_FULL;
  }
  if (faults.write_error != 0 && faults.writes_before.fetch_sub(1) <= 0) return faults.write_error;
  return FaultReal(file)->pMethods->xWrite(FaultReal(file), bytes, count, offset);
}
inline int FaultSync(sqlite3_file* file, int flags) {
  if (Faults().sync_error != 0) return Faults().sync_error;
  return FaultReal(file)->pMethods->xSync(FaultReal(file), flags);
}
inline int FaultClose(sqlite3_file* file) {
  return FaultReal(file)->pMethods->xClose(FaultReal(file));
}
inline int FaultRead(sqlite3_file* file, void* bytes, int count, sqlite3_int64 offset) {
  return FaultReal(file)->pMethods->xRead(FaultReal(file), bytes, count, offset);
}
inline int FaultTruncate(sqlite3_file* file, sqlite3_int64 size) {
  return FaultReal(file)->pMethods->xTruncate(FaultReal(file), size);
}
inline int FaultFileSize(sqlite3_file* file, sqlite3_int64* size) {
  return FaultReal(file)->pMethods->xFileSize(FaultReal(file), size);
}
inline int FaultLock(sqlite3_file* file, int lock) {
  return FaultReal(file)->pMethods->xLock(FaultReal(file), lock);
}
inline int FaultUnlock(sqlite3_file* file, int lock) {
  return FaultReal(file)->pMethods->xUnlock(FaultReal(file), lock);
}
inline int FaultCheckReservedLock(sqlite3_file* file, int* result) {
  return FaultReal(file)->pMethods->xCheckReservedLock(FaultReal(file), result);
}
inline int FaultFileControl(sqlite3_file* file, int operation, void* argument) {
  return FaultReal(file)->pMethods->xFileControl(FaultReal(file), operation, argument);
}
inline int FaultSectorSize(sqlite3_file* file) {
  return FaultReal(file)->pMethods->xSectorSize(FaultReal(file));
}
inline int FaultDeviceCharacteristics(sqlite3_file* file) {
  return FaultReal(file)->pMethods->xDeviceCharacteristics(FaultReal(file));
}
inline int FaultShmMap(sqlite3_file* file, int page, int size, int extend, void volatile** memory) {
  return FaultReal(file)->pMethods->xShmMap(FaultReal(file), page, size, extend, memory);
}
inline int FaultShmLock(sqlite3_file* file, int offset, int count, int flags) {
  return FaultReal(file)->pMethods->xShmLock(FaultReal(file), offset, count, flags);
}
inline void FaultShmBarrier(sqlite3_file* file) {
  FaultReal(file)->pMethods->xShmBarrier(FaultReal(file));
}
inline int FaultShmUnmap(sqlite3_file* file, int remove) {
  return FaultReal(file)->pMethods->xShmUnmap(FaultReal(file), remove);
}

inline const sqlite3_io_methods kFaultMethods = {2,
                                                 FaultClose,
                                                 FaultRead,
                                                 FaultWrite,
                                                 FaultTruncate,
                                                 FaultSync,
                                                 FaultFileSize,
                                                 FaultLock,
                                                 FaultUnlock,
                                                 FaultCheckReservedLock,
                                                 FaultFileControl,
                                                 FaultSectorSize,
                                                 FaultDeviceCharacteristics,
                                                 FaultShmMap,
                                                 FaultShmLock,
                                                 FaultShmBarrier,
                                                 FaultShmUnmap,
                                                 nullptr,
                                                 nullptr};

inline int FaultOpen(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags,
                     int* out_flags) {
  auto* parent = static_cast<sqlite3_vfs*>(vfs->pAppData);
  if (name == nullptr) ++Faults().temporary_files;
  file->pMethods = nullptr;
  const int code = parent->xOpen(parent, name, FaultReal(file), flags, out_flags);
  if (code == SQLITE_OK) file->pMethods = &kFaultMethods;
  return code;
}

inline void ResetFaults() {
  Faults().full_beside = nullptr;
  Faults().write_error = 0;
  Faults().writes_before = 0;
  Faults().sync_error = 0;
  Faults().temporary_files = 0;
}

// Registers the VFS, once, and returns its name.
inline const char* FaultVfs() {
  static sqlite3_vfs* vfs = [] {
    sqlite3_vfs* parent = sqlite3_vfs_find(nullptr);
    auto* made = new sqlite3_vfs(*parent);
    made->zName = "graft-faults";
    made->szOsFile = static_cast<int>(sizeof(FaultFile)) + parent->szOsFile;
    made->pAppData = parent;
    made->xOpen = FaultOpen;
    sqlite3_vfs_register(made, 0);
    return made;
  }();
  return vfs->zName;
}

}  // namespace graft
