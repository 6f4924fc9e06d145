internal import KCopy

extension JobRecord {
  /// How the engine is to do it.
  var options: CopyOptions {
    var options = CopyOptions()
    options.flushes = sync == .end
    options.verifies = verify
    options.hashes = hash != nil
    // What ends inside a block is a source; zeroes have the length that is asked for.
    options.fillsTailWithZeroes = tailZero && op == .copy
    options.keepsHoles = sparse
    options.sharesBlocks = clone == .auto
    options.errors =
      switch errors {
      case .drop: .drop
      case .stop: .stop
      case .ignore: .ignore
      case .pause: .pause
      }
    options.order =
      switch order {
      case .any: .any
      case .sequential: .sequential
      }
    options.retries = retries
    options.rate = rate
    options.priority = priority
    return options
  }
}
