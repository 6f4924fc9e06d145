internal import CSystemShims
internal import Glibc
internal import KCopy

/// What tells a file from others: its file system, its inode, and what tells it from a later file that gets the same inode.
struct FileIdentity: Sendable, Equatable {
  /// `st_dev`: holds until the file system is unmounted, and another one can have the number after that.
  var device: UInt64
  var inode: UInt64
  /// The UUID of the file system, 32 hexadecimal digits.
  var fileSystem: String?
  /// `f_fsid`.  btrfs has one a subvolume; inode numbers, and even the times of snapshots, are the same in several of them.
  var number: UInt64?
  /// The mount it was opened by, which within a boot no other has; where it is the same, the file system was never away.
  var mount: UInt64?
  /// When the file was made, in nanoseconds since the epoch.
  var born: UInt64?
  /// What the file system counts up each time it gives the inode to another file.
  var generation: UInt64?

  /// - Parameters:
  ///   - descriptor: of the file; what cannot be asked by it, with O_PATH for one, is not known.
  ///   - system: the file system it is on.
  init(device: UInt64, inode: UInt64, descriptor: Int32, on system: FileSystemIdentity) {
    (self.device, self.inode) = (device, inode)
    (fileSystem, mount) = (system.uuid, system.mount)
    let number = kcs_file_system_number(descriptor)
    // xfs, vfat and others make it of the number of their device, which is another disk's after the next boot.
    if number != 0, number != device { self.number = number }
    var facts = kcs_file_facts()
    if unsafe kcs_file_facts(descriptor, &facts) == 0, facts.born != 0 { born = facts.born }
    let generation = kcs_file_generation(descriptor)
    if generation != 0 { self.generation = UInt64(generation) }
  }

  /// The backing file of a loop device.
  ///
  /// Found by the path that sysfs tells, as there is no other way to it; what lies there by now may be another file, and
  /// then only the numbers are known that the loop driver has.
  init(device: UInt64, inode: UInt64, loop: UInt64) {
    self.init(device: device, inode: inode)
    guard let line = KernelText.read(Identity.directory(of: loop) + "/loop/backing_file"), line.last == "\n" else { return }
    let file = unsafe kcs_openat_no_magiclinks(AT_FDCWD, String(line.dropLast()), kcs_O_PATH, 0)
    guard file >= 0 else { return }
    defer { _ = kcs_close(file) }
    guard (try? DeviceKey(descriptor: file)) == .file(device: device, inode: inode) else { return }
    // Who may not read it learns less.
    let open = unsafe kcs_open("/proc/self/fd/\(file)", O_RDONLY | O_NONBLOCK, 0)
    defer { if open >= 0 { _ = kcs_close(open) } }
    let asked = open >= 0 ? open : file
    self.init(device: device, inode: inode, descriptor: asked, on: FileSystemIdentity(of: device, mount: nil, descriptor: asked))
  }

  init(
    device: UInt64, inode: UInt64, fileSystem: String? = nil, number: UInt64? = nil, mount: UInt64? = nil, born: UInt64? = nil,
    generation: UInt64? = nil
  ) {
    (self.device, self.inode, self.fileSystem) = (device, inode, fileSystem)
    (self.number, self.mount, self.born, self.generation) = (number, mount, born, generation)
  }

  /// Whether anything says that these are two files.
  func contradicts(_ other: FileIdentity) -> Bool {
    inode != other.inode || differ(born, other.born) || differ(generation, other.generation) || isElsewhere(than: other)
  }

  /// Whether they are on two file systems.
  private func isElsewhere(than other: FileIdentity) -> Bool { differ(fileSystem, other.fileSystem) || differ(number, other.number) }

  /// Whether something says that they are one; `st_dev` only counts within a boot.
  func agrees(with other: FileIdentity, inOneBoot: Bool) -> Bool {
    agree(fileSystem, other.fileSystem) || agree(number, other.number) || inOneBoot && device == other.device
  }

  /// Whether it is known that no file had the inode in between.
  func isNoLater(than other: FileIdentity) -> Bool { agree(born, other.born) || agree(generation, other.generation) }
}

/// What tells a file system from others, all of which stays as it is as long as that is mounted.
struct FileSystemIdentity: Sendable, Equatable {
  var uuid: String?
  var mount: UInt64?
  /// `diskseq` of the disk that it is on, where it is on one.
  var sequence: UInt64?

  /// Asks by a file on it.
  init(of device: UInt64, mount: UInt64?, descriptor: Int32) {
    self.mount = mount
    var bytes = [UInt8](repeating: 0, count: 16)
    unsafe kcs_file_system_uuid(descriptor, &bytes)
    if bytes.contains(where: { $0 != 0 }) { uuid = bytes.map(Self.digits).joined() }
    sequence = Identity.sequence(of: device)
  }

  private static func digits(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }
}
