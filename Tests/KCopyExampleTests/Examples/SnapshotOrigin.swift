import KCopy
import Synchronization

/// A snapshot as dm-snapshot keeps it: before a chunk of the origin is written, its old data is copied to a store.
final class SnapshotOrigin: Sendable {
  /// Writes, to the snapshot at `place` (`nil`: the snapshot is lost), and calls `done` once the write has ended, well or not.
  typealias Write = @Sendable (_ place: Region?, _ done: @escaping @Sendable (_ isWritten: Bool) -> Void) -> Void
  private struct Exceptions {
    var isValid = true
    var places: [UInt64: Region] = [:]  // Those that are committed: where the store has a chunk.
    var waiting: [UInt64: [@Sendable () -> Void]] = [:]  // Those under way: the writes that go on after them.
  }
  private let exceptions = Mutex(Exceptions())
  private let chunks: Chunks
  private let client: Client
  init(_ chunks: Chunks, client: Client) { (self.chunks, self.client) = (chunks, client) }

  /// Lets a write to a chunk of the origin or of the snapshot go on once the store has the chunk: now, or on the client's thread.
  func prepare(_ chunk: UInt64, isWhole: Bool = false, _ write: @escaping Write) {
    let next: (@Sendable () -> Void)? = exceptions.withLock { all in
      let goOn: @Sendable () -> Void = { write(self.place(of: chunk)) { _ in } }
      if all.waiting[chunk]?.append(goOn) != nil { return nil }
      guard all.isValid, all.places[chunk] == nil else { return goOn }
      let place = chunks.stored(chunk, at: all.places.count + all.waiting.count)
      var overwrite: (@Sendable () -> Void)?
      do {
        if isWhole {  // A whole chunk of the snapshot: nothing of the old data is needed.
          let written = try client.prepareNotification(ended)
          overwrite = { write(place) { isWritten in self.chunks.store.flush { written.fire(writeErrors: isWritten && $0 == 0 ? 0 : 1) } } }
        } else {
          try client.copy(from: chunks.original(chunk), to: [place], notify: ended)
        }
        try client.drain { self.commit(chunk, at: place) }
      } catch { all.isValid = false }
      guard all.isValid else { return overwrite ?? goOn }
      all.waiting[chunk] = isWhole ? [] : [goOn]
      return overwrite
    }
    next?()
  }

  private func place(of chunk: UInt64) -> Region? { exceptions.withLock { $0.isValid ? $0.places[chunk] : nil } }
  private func ended(_ end: Notification) { if !end.isComplete { exceptions.withLock { $0.isValid = false } } }

  /// After `ended`, in the order of the places in the store; here dm-snapshot writes its metadata.
  private func commit(_ chunk: UInt64, at place: Region) {
    let waiting = exceptions.withLock { all in
      if all.isValid { all.places[chunk] = place }
      return all.waiting.removeValue(forKey: chunk) ?? []
    }
    for goOn in waiting { goOn() }
  }

  /// Reads a chunk of the snapshot from where it is; false if the snapshot is lost, and what was read with it.
  func read(_ chunk: UInt64, by read: (Region) -> Void) -> Bool {
    let before = place(of: chunk)
    read(before ?? chunks.original(chunk))
    if before == nil, let place = place(of: chunk) { read(place) }  // The origin may have been written meanwhile.
    return exceptions.withLock { $0.isValid }
  }
}
