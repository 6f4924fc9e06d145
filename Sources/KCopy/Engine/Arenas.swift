internal import CSystemShims
internal import Glibc
internal import Locking
internal import URing

/// The pages that a client may use, wherever they lie.
///
/// A client of another size gets new memories; the old ones are retired, and go when their last run is given back.  What
/// is in use counts for both, so that the bound holds at any time.
struct Arenas {
  private struct Slot {
    var memory: TransferMemory
    var pool: PagePool
    var isRetired = false
  }

  private var slots: [Slot?] = []
  /// The pages of the client, as it was told last.
  private(set) var limit = 0
  /// Pages in use, in all memories.
  private(set) var used = 0

  var free: Int { max(0, limit - used) }

  /// Pages that only those get whose devices answer, when others have made all the rest wait.
  var reserve: Int { limit < 64 ? 0 : limit / 4 }

  subscript(run: PageRun) -> TransferMemory {
    guard let slot = slots[run.arena] else { preconditionFailure("a run without memory") }
    return slot.memory
  }

  /// Puts memories in the place of those there are.
  ///
  /// - Returns: the numbers of the new ones, and of those that nobody used.
  mutating func replace(by memories: [TransferMemory]) -> (attached: [(number: Int, memory: TransferMemory)], detached: [Int]) {
    var detached: [Int] = []
    for number in slots.indices where slots[number] != nil {
      slots[number]?.isRetired = true
      if slots[number]?.pool.isUnused == true {
        slots[number] = nil
        detached.append(number)
      }
    }
    limit = 0
    var attached: [(Int, TransferMemory)] = []
    for memory in memories {
      let pages = memory.bytes / PagePool.pageBytes
      let slot = Slot(memory: memory, pool: PagePool(pages: pages))
      limit += pages
      let number = slots.firstIndex { $0 == nil } ?? slots.count
      if number == slots.count { slots.append(slot) } else { slots[number] = slot }
      attached.append((number, memory))
    }
    return (attached, detached)
  }

  /// Takes a run of `wanted` pages, or a shorter one of at least 64 KiB, so that so many stay free; `nil` when there is
  /// neither.
  mutating func take(_ wanted: Int, leaving reserve: Int) -> PageRun? {
    let room = free - reserve
    guard room >= min(wanted, PagePool.shortestSubstitute) else { return nil }
    for number in slots.indices where slots[number]?.isRetired == false {
      if var run = slots[number]?.pool.take(min(wanted, room)) {
        run.arena = number
        used += run.count
        return run
      }
    }
    return nil
  }

  /// Gives a run back; returns whether that was the last of a retired memory, which is gone then.
  mutating func giveBack(_ run: PageRun) -> Bool {
    slots[run.arena]?.pool.giveBack(run)
    used -= run.count
    guard let slot = slots[run.arena], slot.isRetired, slot.pool.isUnused else { return false }
    slots[run.arena] = nil
    return true
  }

  // MARK: Memory for a client

  private static let largestBuffer = 1 << 30

  /// Memories of so many pages in all, none larger than a ring can register.
  ///
  /// - Throws: ENOMEM when the machine hasn't that much to give away: the kernel would only find out when it is used.
  static func memories(pages: Int) throws(DeviceError) -> [TransferMemory] {
    let (bytes, isTooMuch) = pages.multipliedReportingOverflow(by: PagePool.pageBytes)
    guard !isTooMuch else { throw DeviceError(errno: ENOMEM, call: "pages for a client") }
    // One at a time: two who ask at once would both see what there is for one.
    return try asking.withLock { (_) throws(DeviceError) in
      var memories: [TransferMemory] = []
      var left = bytes
      while left > 0 {
        guard isThere(left), let memory = TransferMemory(bytes: min(left, largestBuffer)) else {
          throw DeviceError(errno: ENOMEM, call: "pages for a client")
        }
        memories.append(memory)
        left -= memory.bytes
      }
      return memories
    }
  }

  private static let asking: Locked<Void> = Locked(())

  /// Whether the machine has so much and a third more; a machine that doesn't say is believed to.
  private static func isThere(_ bytes: Int) -> Bool {
    var available: UInt64 = 0
    return unsafe kcs_memory_available(&available) != 0 || UInt64(bytes) <= available / 4 * 3
  }
}
