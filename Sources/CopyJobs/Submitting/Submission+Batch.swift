extension Submission {
  /// One write, for telling it from those before and after it.
  public final class Write: Sendable {
    public init() {}
  }

  /// The complete records of one write, which are still to be decided.
  public struct Batch: Sendable {
    let write: Write
    var records: [Written] = []
    /// The record after them is too long.
    var endsTooLong = false
    /// Bytes that the write takes when all goes well.
    let count: Int
  }

  struct Written: Sendable {
    let bytes: [UInt8]
    let record: Result<JobRecord, Refusal>
    /// Where in the write it ends.
    let end: Int
  }

  /// What becomes of a write.
  public enum Taken: Sendable {
    case answered(Result<Int, Refusal>)
    /// Not looked at: written by a stranger, or beside another write.
    case turnedAway(Refusal)
    /// To be decided, where it can take its time.
    case undecided(Batch)
  }
}
