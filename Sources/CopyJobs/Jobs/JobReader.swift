internal import Admission

/// Who reads of jobs: what list and events show goes by the mode bits of a job, as its directory does.
public struct JobReader: Sendable {
  let uid: UInt32
  let groups: Set<UInt32>

  /// The one who asks for a copy.
  init(_ caller: Caller) {
    uid = caller.uid
    groups = Set([caller.gid] + caller.groups)
  }

  /// - Parameter pid: the reading thread; its supplementary groups count too, if it can be seen.
  public init(uid: UInt32, gid: UInt32, pid: Int32) {
    self.uid = uid
    groups = Set([gid] + (uid == 0 ? [] : Caller.groups(ofThread: pid)))
  }
}
