internal import Locking

/// The handles that destinations are written through: one per device, whoever writes to it.
///
/// O_EXCL lets a device have one holder, and two jobs on disjoint regions of one disk are both right to write: the first
/// opens it exclusively, the next proves its right by an open of its own and then shares the handle.
public final class DeviceTable: Sendable {
  private enum Entry {
    case open(Device, users: Int)
    /// Being opened or closed by somebody; those who wait are woken when that is over.
    case busy([Semaphore])
  }

  private let entries = Locked<[DeviceKey: Entry]>([:])

  /// A table without devices; a program has one for all its clients.
  public init() {}

  /// Takes a share of the handle of a device.
  ///
  /// May wait for an open or a close of the same device, so it's nothing for a thread that must not block.
  ///
  /// - Parameters:
  ///   - key: the device.
  ///   - open: opens it as whoever asks; exclusively or, to prove the right to share, not.
  /// - Throws: what `open` throws.
  public func share(_ key: DeviceKey, open: (_ access: Device.Access) throws(DeviceError) -> Device) throws(DeviceError) -> Device {
    while true {
      switch look(at: key) {
      case .wait(let opened):
        opened.wait()
      case .shared(let device):
        do throws(DeviceError) {
          _ = try open(.writing(exclusive: false)).closeNow()
          return device
        } catch {
          release(device, done: { _ in })
          throw error
        }
      case .mine:
        do throws(DeviceError) {
          let device = try open(.writing(exclusive: true))
          settle(key, as: .open(device, users: 1))
          return device
        } catch {
          settle(key, as: nil)
          throw error
        }
      }
    }
  }

  /// Takes one more share of a handle on behalf of somebody who has one, and whose right to it was proved by that.
  public func shareAgain(_ device: Device) {
    entries.withLock { entries in
      guard case .open(let shared, let users) = entries[device.key], shared === device else {
        preconditionFailure("who has a share of a handle keeps it open")
      }
      entries[device.key] = .open(device, users: users + 1)
    }
  }

  /// Gives a share back; the last one closes the handle.
  ///
  /// - Parameters:
  ///   - device: what `share` has returned.
  ///   - last: called before that close, while nobody can take a share.
  ///   - done: called with 0, or the errno of `close(2)`, when the device is free as far as this share goes: after the
  ///     close if it was the last.
  public func release(_ device: Device, last: () -> Void = {}, done: @escaping @Sendable (Int32) -> Void) {
    let isLast = entries.withLock { entries in
      guard case .open(let shared, let users) = entries[device.key], shared === device else { return false }
      entries[device.key] = users == 1 ? .busy([]) : .open(device, users: users - 1)
      return users == 1
    }
    guard isLast else { return done(0) }
    last()
    device.close { result in
      self.settle(device.key, as: nil)
      done(result)
    }
  }

  private enum Look {
    case mine
    case shared(Device)
    case wait(Semaphore)
  }

  private func look(at key: DeviceKey) -> Look {
    let opened = Semaphore()
    return entries.withLock { entries in
      switch entries[key] {
      case nil:
        entries[key] = .busy([])
        return .mine
      case .open(let device, let users):
        entries[key] = .open(device, users: users + 1)
        return .shared(device)
      case .busy(let waiting):
        entries[key] = .busy(waiting + [opened])
        return .wait(opened)
      }
    }
  }

  private func settle(_ key: DeviceKey, as entry: Entry?) {
    let waiting: [Semaphore] = entries.withLock { entries in
      defer { entries[key] = entry }
      if case .busy(let waiting) = entries[key] { return waiting }
      return []
    }
    for opened in waiting { opened.signal() }
  }
}
