internal import CSystemShims
internal import KCopy

/// What a device or file is known again by, when its path is opened again after a restart.
///
/// A path proves nothing: disks change their names from boot to boot, another one is plugged in, a file is replaced.  So
/// before anything is written again, what stands there now is compared with what stood there.
public struct Fingerprint: Sendable, Equatable {
  /// What two fingerprints say of each other.
  public enum Relation: Sendable, Equatable {
    /// The device that it was, without a gap: nothing else can have had its number in between.
    case same
    /// It has the same lasting name.  It may have been elsewhere in between, and names are copied together with disks: so what
    /// the copy wrote last has to be compared before anything is written.
    case alike
    /// Another device or file, or another place on it.
    case other
    /// Nothing tells them apart, and nothing says that they are one: no ground to write on.
    case unknown
  }

  /// Where the bytes lie, at the bottom of partitions and loop devices.
  enum Root: Sendable, Equatable {
    case disk(DiskIdentity)
    case file(FileIdentity)
  }

  /// The boot in which it was taken; numbers of devices and sequence numbers mean nothing in another.
  var boot: String?
  var isBlockDevice: Bool
  /// In bytes.
  var size: UInt64
  /// `diskseq` of the device, or of the disk it is on: a partition's disk, and the disk with a file's file system.
  var sequence: UInt64?
  /// PARTUUID of a partition.
  var partition: String?
  var root: Root
  /// Where its first byte lies on the root, in bytes.
  var offset: UInt64

  /// What is known of the device now to what was known of it, this.
  ///
  /// Who is contradicted by one word is not believed for another: a disk copied onto another has its UUIDs.
  public func relation(to now: Fingerprint) -> Relation {
    // A partition that begins elsewhere is another one, and so is a loop device with another offset.
    guard isBlockDevice == now.isBlockDevice, offset == now.offset, !differ(partition, now.partition) else { return .other }
    let inOneBoot = agree(boot, now.boot)
    let agrees: Bool
    switch (root, now.root) {
    case (.disk(let disk), .disk(let found)):
      if disk.contradicts(found) { return .other }
      agrees = disk.agrees(with: found)
    case (.file(let file), .file(let found)):
      if file.contradicts(found) { return .other }
      agrees = file.agrees(with: found, inOneBoot: inOneBoot)
    case (.disk, .file), (.file, .disk): return .other
    }
    if inOneBoot, isSame(as: now) { return .same }
    // A disk has the size it was made with, and the reader of cards has one serial number for all of them.  A volume that was
    // made smaller lost its end to somebody.  Files and volumes grow.
    if isBlockDevice, now.size < size { return .other }
    return agrees || agree(partition, now.partition) ? .alike : .unknown
  }

  /// Within one boot, and where nothing contradicts it.
  private func isSame(as now: Fingerprint) -> Bool {
    // A number is given once a boot: a disk that was unplugged, or a loop device that was detached, comes back with another.
    if isBlockDevice { return agree(sequence, now.sequence) }
    guard case .file(let file) = root, case .file(let found) = now.root else { return false }
    guard file.device == found.device, file.isNoLater(than: found) else { return false }
    if agree(sequence, now.sequence) { return true }
    // A file system in memory, or on several disks as btrfs is: its `st_dev` is the next one's as soon as it is unmounted.
    return sequence == nil && now.sequence == nil && agree(file.mount, found.mount)
  }
}

extension Fingerprint {
  /// Asks the kernel about an open device.  May wait as long as its file system takes to answer.
  init(of endpoint: Endpoint, in places: KnownPlaces) {
    let device = endpoint.device
    boot = Self.boot
    size = device.size
    offset = endpoint.root.offset
    switch device.key {
    case .file(let number, let inode):
      isBlockDevice = false
      let system = places.fileSystem(of: number, descriptor: device.descriptor)
      sequence = system.sequence
      root = .file(FileIdentity(device: number, inode: inode, descriptor: device.descriptor, on: system))
    case .block(let number):
      isBlockDevice = true
      sequence = Identity.sequence(of: device)
      // A disk of its own is no partition.
      if endpoint.root.key != device.key { partition = DiskIdentity.partition(number) }
      root = places.root(of: endpoint, sequence: sequence)
    }
  }

  /// The kernel makes one at each boot.
  private static let boot = KernelText.read("/proc/sys/kernel/random/boot_id").map { String($0.prefix { $0 != "\n" }) }
}
