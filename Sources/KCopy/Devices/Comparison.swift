internal import CSystemShims
internal import Glibc
internal import URing

/// Comparing what lies on open devices: whether a copy can be gone on with.
///
/// The bytes are read past the page cache where the device can; where it cannot, after the cache was asked to let go of them.
/// All of it is done on the calling thread, which a device that hangs keeps.
extension Region {
  /// Compares with a region of the same length, on another device or on this one.
  ///
  /// - Returns: where the first byte that differs lies, counted from the beginning of both; `nil` when there is none.
  /// - Throws: `DeviceError` with the errno of `pread(2)`; EIO where a device or file ends within its region; EINVAL for regions
  ///   of two lengths, or that are no whole blocks of their devices; ENOMEM.
  public func firstDifference(from other: Region) throws(DeviceError) -> UInt64? {
    guard count == other.count else { throw DeviceError(errno: EINVAL, call: "compare") }
    let (here, there) = (try RegionReader(self), try RegionReader(other))
    let memory = try RegionReader.memory(for: 2)
    return try inPieces(min(here.piece, there.piece)) { (position, count) throws(DeviceError) in
      let first = try here.read(at: position, count: count, into: memory, part: 0)
      let second = try there.read(at: position, count: count, into: memory, part: 1)
      return memory.firstDifference(first, second, count: count)
    }
  }

  /// Looks for a byte that is not zero.
  ///
  /// - Returns: where the first one lies, counted from the region's beginning; `nil` when all of it is zeroes.
  /// - Throws: `DeviceError`, as `firstDifference(from:)`.
  public func firstNonZero() throws(DeviceError) -> UInt64? {
    let reader = try RegionReader(self)
    let memory = try RegionReader.memory(for: 1)
    return try inPieces(reader.piece) { (position, count) throws(DeviceError) in
      memory.firstNonZero(try reader.read(at: position, count: count, into: memory, part: 0), count: count)
    }
  }

  /// Goes on until a piece has an answer, counted from its beginning.
  private func inPieces(
    _ piece: Int, _ look: (_ position: UInt64, _ count: Int) throws(DeviceError) -> Int?
  ) throws(DeviceError) -> UInt64? {
    var position: UInt64 = 0
    while position < count {
      let length = Int(min(count - position, UInt64(piece)))
      if let found = try look(position, length) { return position + UInt64(found) }
      position += UInt64(length)
    }
    return nil
  }
}

/// Reads a region piece by piece, each as a frame of whole units around it: so that all of it can be read directly.
private struct RegionReader {
  private let region: Region
  private let medium: LocalMedium
  /// In bytes.
  private let unit: UInt64

  /// What a frame may need.
  private static let part = 1 << 20

  static func memory(for parts: Int) throws(DeviceError) -> TransferMemory {
    guard let memory = TransferMemory(bytes: parts * part) else { throw DeviceError(errno: ENOMEM, call: "memory to compare in") }
    return memory
  }

  /// How much is read at once: a frame has up to a unit more at each end.
  var piece: Int { Self.part - 2 * Int(max(unit, 4096)) }

  init(_ region: Region) throws(DeviceError) {
    let device = region.device
    guard let medium = device.local else { throw DeviceError(errno: EOPNOTSUPP, call: "compare") }
    let (block, last) = (UInt64(device.logicalBlock), UInt64(Int64.max))
    guard region.start % block == 0, region.count % block == 0, region.count <= last, region.start <= last - region.count else {
      throw DeviceError(errno: EINVAL, call: "compare")
    }
    self.region = region
    self.medium = medium
    unit = UInt64(max(device.directAlignment, 1))
  }

  /// Reads a piece that begins at a position of the region into a part of the memory; returns where in there it lies.
  func read(at position: UInt64, count: Int, into memory: TransferMemory, part: Int) throws(DeviceError) -> Int {
    let place = region.start + position
    let head = Int(place % unit)
    let frame = (head + count + Int(unit) - 1) / Int(unit) * Int(unit)
    let start = place - UInt64(head)
    let (descriptor, isDirect) = medium.description(at: start, count: frame)
    if !isDirect { _ = kcs_drop_cache(descriptor, start, UInt64(frame)) }
    var filled = 0
    // A file may end within the last unit.
    while filled < head + count {
      let from = filled / Int(unit) * Int(unit)
      let result = memory.read(from: descriptor, at: start + UInt64(from), into: part * Self.part + from, count: frame - from)
      if result == -Int64(EINTR) { continue }
      guard result >= 0 else { throw DeviceError(errno: Int32(-result), call: "pread") }
      guard from + Int(result) > filled else { throw DeviceError(errno: EIO, call: "pread") }
      filled = from + Int(result)
    }
    return part * Self.part + head
  }
}
