/// What the good records before one, of the same write, are to become: those after them can name them.
final class EarlierRecords {
  /// Numbers of jobs by their names.
  var ids: [String: UInt64] = [:]
}
