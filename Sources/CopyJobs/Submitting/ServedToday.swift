internal import Glibc

extension JobRecord {
  /// Refuses what the grammar knows and this version doesn't do: a job that silently did something else would be worse.
  func checkServed() throws(Refusal) {
    let asked: [(key: String, isAsked: Bool, value: String)] = [
      ("op", op != .copy, op.rawValue),
      ("errors", errors != .drop, errors.rawValue),
      ("order", order != .any, order.rawValue),
      ("retries", retries != 0, "\(retries)"),
      ("verify", verify, "yes"),
      ("hash", hash != nil, hash ?? ""),
      ("sparse", sparse, "yes"),
      ("domain", domain != nil, domain ?? ""),
      ("rate", rate != nil, "\(rate ?? 0)B"),
      ("priority", priority != 5, "\(priority)"),
      ("after", !after.isEmpty, after.joined(separator: ",")),
    ]
    if let first = asked.first(where: \.isAsked) {
      throw Refusal(errno: EINVAL, column: column(of: first.key), text: "\(first.key)=\(first.value) is not done by this version")
    }
    guard client == "default" else { throw Refusal(errno: ENOENT, column: column(of: "client"), text: "there is no client \(client)") }
  }
}
