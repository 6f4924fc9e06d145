internal import Glibc

extension JobRecord {
  /// Refuses what the grammar knows and this version doesn't do: a job that silently did something else would be worse.
  func checkServed() throws(Refusal) {
    let asked: [(key: String, isAsked: Bool, value: String)] = [
      ("sparse", sparse, "yes"),
      ("domain", domain != nil, domain ?? ""),
      ("after", !after.isEmpty, after.joined(separator: ",")),
    ]
    if let first = asked.first(where: \.isAsked) {
      throw Refusal(errno: EINVAL, column: column(of: first.key), text: "\(first.key)=\(first.value) is not done by this version")
    }
  }
}
