import KCopy
import Synchronization

/// A mirror's resync as dm-mirror does it: each dirty region goes from the primary to all legs that live, in one copy.
final class MirrorResync: Sendable {
  private let regions: Mutex<Regions>
  private let mirror: Mirror
  private let client: Client
  private let tell: @Sendable (_ live: [Int], _ lost: Set<Int>) -> Void

  /// All regions are dirty at first.  `tell` is called when there is nothing more to copy, and again after later writes.
  init(_ mirror: Mirror, client: Client, tell: @escaping @Sendable (_ live: [Int], _ lost: Set<Int>) -> Void) {
    regions = Mutex(Regions(count: mirror.regionCount, legs: mirror.legs.count))
    (self.mirror, self.client, self.tell) = (mirror, client, tell)
  }

  /// Writes to a region of the primary; it is copied after that, and again if it was being copied.
  func write(to region: Int, by write: () -> Void) {
    regions.withLock { ($0.dirty[region], $0.writers[region]) = (true, $0.writers[region] + 1) }
    write()
    regions.withLock { $0.writers[region] -= 1 }
    proceed()
  }

  /// Starts copies until enough are in flight; each that ends starts the next.
  func proceed() {
    while let (region, legs) = regions.withLock({ $0.take(atMost: mirror.copiesAtOnce) }) {
      let destinations = legs.map { mirror.region(region, on: mirror.legs[$0]) }
      do {
        try client.copy(from: mirror.region(region, on: mirror.primary), to: destinations) { end in
          self.copied(region, to: legs, readError: end.progress.readError, writeErrors: end.progress.writeErrors)
          self.proceed()
        }
      } catch { copied(region, to: legs, readError: true, writeErrors: 0) }
    }
    if let outcome = regions.withLock({ $0.outcome() }) { tell(outcome.live, outcome.lost) }
  }

  private func copied(_ region: Int, to legs: [Int], readError: Bool, writeErrors: UInt64) {
    regions.withLock { regions in
      regions.inFlight.remove(region)
      if readError { regions.lost.insert(region) }
      for (bit, leg) in legs.enumerated() where writeErrors & 1 << UInt64(bit) != 0 { regions.live.removeAll { $0 == leg } }
    }
  }
}
