internal import CSystemShims
internal import Glibc
internal import KCopy

/// Sees a mount go that others still have files open in: `umount -l` tells its server nothing before the last of them is closed.
struct MountWatch {
  /// `MAJOR:MINOR` of the mount, as the third word of its line in /proc/self/mountinfo.
  private let device: String

  /// - Returns: `nil` when the mount can't be looked at: then an `umount -l` is noticed when the last file is closed.
  init?(_ mountPoint: String) {
    let directory = unsafe kcs_open(mountPoint, kcs_O_PATH | O_DIRECTORY, 0)
    guard directory >= 0 else { return nil }
    defer { _ = kcs_close(directory) }
    var device: UInt64 = 0
    guard unsafe kcs_file_device(directory, &device) == 0 else { return nil }
    self.device = "\(kcs_major(device)):\(kcs_minor(device))"
  }

  /// Calls the body once the mount is in no table any more; on a thread of its own, which the kernel wakes at each change.
  ///
  /// - Throws: `DeviceError` at the limit of threads.
  func whenDetached(_ body: @escaping @Sendable () -> Void) throws(DeviceError) {
    try SystemThread("kcopy-mounts") {
      let table = unsafe kcs_open("/proc/self/mountinfo", O_RDONLY, 0)
      guard table >= 0 else { return }
      defer { _ = kcs_close(table) }
      while self.isMounted(table) {
        var change = pollfd(fd: table, events: Int16(POLLPRI), revents: 0)
        _ = unsafe poll(&change, 1, -1)
      }
      body()
    }.detach()
  }

  private func isMounted(_ table: Int32) -> Bool {
    var text: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = unsafe kcs_pread(table, &chunk, UInt64(chunk.count), UInt64(text.count))
      // A table that can't be read says nothing.
      if count < 0 { return true }
      if count == 0 { break }
      text += chunk[..<Int(count)]
    }
    return text.split(separator: UInt8(ascii: "\n")).contains { line in
      line.split(separator: UInt8(ascii: " "), maxSplits: 3).dropFirst(2).first?.elementsEqual(device.utf8) == true
    }
  }
}
