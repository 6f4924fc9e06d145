internal import Glibc
internal import KCopy

extension Admission {
  /// What else lies on the bytes of an open destination, and is in use.
  ///
  /// To be asked while the destination is held, so that what the kernel keeps apart by O_EXCL can't come in between.  A loop device
  /// that is set up later, over the file or device, the kernel lets nobody see.
  public func uses(of destination: Endpoint) -> Uses { Uses(of: destination) }

  /// Whether a file system that lies on an open source, or on a part of it, is mounted and may be written: then what is read of it fits
  /// together only by luck.
  public func isMountedForWriting(_ source: Endpoint) -> Bool { mounted.isMountedForWriting(source.device.key) }
}

/// What lies on the bytes of a destination and is in use, beside what O_EXCL and a lock tell of: loop devices over it or over a part
/// of it, whoever has set them up and for whatever; swap files; and if it is a loop device itself, what holds the device that it is over.
///
/// Asks the kernel; so it's nothing for a thread that must not block.
public struct Uses: Sendable {
  private enum User {
    case loop(UInt64)
    case swap
    /// A block device under a loop device.
    case below(UInt64)
  }

  private struct Use {
    let user: User
    /// Where it begins and ends on the root.
    let start: UInt64
    let end: UInt64
  }

  private var all: [Use] = []

  init(of destination: Endpoint) {
    let root = destination.root.key
    if case .file = root, Swaps.all().contains(where: { $0.isFile && $0.key == root }) {
      all.append(Use(user: .swap, start: 0, end: .max))
    }
    let loops = LoopDevices.ofThisMachine.setUp()
    func backing(_ number: UInt64) -> RootObject? { loops.first { $0.number == number }?.backing }
    func place(of key: DeviceKey) -> RootObject? {
      guard case .block = key else { return RootObject(key: key, offset: 0) }
      return RootObject.floors(from: key, backing: backing).last?.place
    }
    // What it is made of is no user of it.
    let floors = root == destination.device.key ? [] : RootObject.floors(from: destination.device.key, backing: backing)
    let own = [destination.device.key] + floors.map(\.place.key)
    for loop in loops where !own.contains(.block(loop.number)) {
      guard let place = place(of: loop.backing.key), place.key == root else { continue }
      let start = place.offset + loop.backing.offset
      all.append(Use(user: .loop(loop.number), start: start, end: start + loop.size))
    }
    for floor in floors where floor.isUnderLoop {
      guard case .block(let number) = floor.place.key, BlockDevice.isHeld(number) ?? (Holder.use(of: number) != nil) else { continue }
      all.append(Use(user: .below(number), start: 0, end: .max))
    }
  }

  /// Why a region must not be written.
  ///
  /// - Parameters:
  ///   - path: of the destination, for the text.
  ///   - place: where the region lies on the root of the destination, in bytes.
  /// - Returns: EBUSY with the user's name; `nil` when nothing is in the way.
  public func objection(to path: String, _ place: Range<UInt64>) -> Objection? {
    let users = all.filter { $0.start < place.upperBound && place.lowerBound < $0.end }.map(\.user)
    guard !users.isEmpty else { return nil }
    // One that is mounted says more than one that is only there.
    let described = users.lazy.map(Self.describe)
    guard let text = described.first(where: \.isTelling)?.text ?? described.first?.text else { return nil }
    return Objection(EBUSY, "\(path): \(text)")
  }

  private static func describe(_ user: User) -> (text: String, isTelling: Bool) {
    switch user {
    case .swap: return ("it is used as swap", true)
    case .loop(let number):
      let use = Holder.use(of: number)
      return ("\(BlockDevice.name(of: number)) is set up over it\(use?.addition ?? "")", use != nil)
    case .below(let number):
      return ("it lies over \(BlockDevice.name(of: number)): \(Holder.of(.block(number)))", true)
    }
  }
}
