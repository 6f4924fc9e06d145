internal import KCopy

/// What a job does once it has begun.
///
/// None of this calls back on the calling thread, which holds the job's lock.
protocol Work: AnyObject, Sendable {
  var progress: CopyProgress { get }
  func map(of destination: Int) -> RangeMap
  func cancel()
  /// Ends what is in flight and leaves the rest to the next daemon.
  func suspend()
  func pause()
  /// - Parameter taken: called when it has gone on, so that a pause which `progress` shows from then on is a new one; not
  ///   called when there is nobody left to take it.
  func resume(_ taken: @escaping @Sendable () -> Void)
  func setRate(_ rate: UInt64?)
  func setPriority(_ priority: Int)
}

/// A copy of the engine, or its filling with zeroes.
final class CopyWork: Work {
  private let copy: Copy
  private let engine: Client
  private let again: Reattempt?

  init(_ copy: Copy, of engine: Client, _ again: Reattempt?) {
    self.copy = copy
    self.engine = engine
    self.again = again
  }

  var progress: CopyProgress { again?.whole(copy.progress) ?? copy.progress }

  func map(of destination: Int) -> RangeMap {
    guard let again else { return copy.map(of: destination) }
    return again.indices.firstIndex(of: destination).map(copy.map) ?? again.maps[destination]
  }

  func cancel() { copy.cancel() }
  func suspend() { copy.suspend() }
  func pause() { copy.pause() }
  func setRate(_ rate: UInt64?) { copy.setRate(rate) }
  func setPriority(_ priority: Int) { copy.setPriority(priority) }

  func resume(_ taken: @escaping @Sendable () -> Void) {
    copy.resume()
    // The client takes what it is given one after the other: this comes when the copy has gone on.
    try? engine.prepareNotification { _ in taken() }.fire()
  }
}
