internal import Admission
internal import Glibc
internal import KCopy

/// What `check` does: all of admission, and then nothing.
extension JobService {
  /// Looks at a record as if it were to become a job.
  ///
  /// - Parameter admitting: the same one for all records of a write.
  /// - Returns: the record in its resolved form, with what would be read and overwritten.
  /// - Throws: what the record would be refused with.
  func check(_ record: JobRecord, caller: Caller?, _ admitting: Admitting) throws(Refusal) -> String {
    let client = try admitting.check(record, caller: caller)
    guard let caller else { preconditionFailure("who cannot be seen has no client") }
    try checkRoom(for: caller.uid)
    let predecessors = try admitting.predecessors(of: record, name: record.name, caller: caller)
    let name = record.name ?? ""
    guard !table.isTaken(name) else { throw Admitting.nameIsTaken(name, record) }
    // As the last of all jobs, and without a number that would be nobody's then.
    let candidate = Admitting.Candidate(record: record, name: name, number: .max, client: client, predecessors: predecessors)
    let text = try admitting.check(candidate, caller: caller)
    if !name.isEmpty { admitting.earlier.ids[name] = .max }
    return text
  }
}

extension Admitting {
  fileprivate func check(_ candidate: Candidate, caller: Caller) throws(Refusal) -> String {
    let record = candidate.record
    let need = DescriptorBudget.need(of: record)
    try descriptors.take(need, for: caller.uid)
    defer { descriptors.giveBack(need, for: caller.uid) }
    do throws(Refusal) { return try look(candidate, caller) } catch { throw explained(error, candidate, caller) }
  }

  private func look(_ candidate: Candidate, _ caller: Caller) throws(Refusal) -> String {
    let record = candidate.record
    return try opening { (opened) throws(Refusal) in
      let source = try openSource(record, caller, &opened)
      var found: [Int: Endpoint] = [:]
      var missing: [MissingFile] = []
      for (index, text) in record.to.enumerated() {
        do throws(Refusal) {
          found[index] = try open(text, caller, &opened) { () throws(Objection) in
            try admission.openDestination(text.path, creates: false, for: caller)
          }
        } catch {
          guard record.create, error.errno == ENOENT else { throw error }
          missing.append(try self.missing(text, not: missing, caller))
        }
      }
      let text = try resolved(candidate, source, found, for: caller)
      for endpoint in opened.reversed() { admission.undo(endpoint) }
      opened = []
      return text
    }
  }

  /// What create=yes would make is looked for, and not made.
  private func missing(_ text: RegionText, not others: [MissingFile], _ caller: Caller) throws(Refusal) -> MissingFile {
    let file: MissingFile
    do throws(Objection) {
      file = try admission.missingFile(text.path, for: caller)
    } catch {
      throw Refusal(errno: error.errno, column: text.column, text: error.text)
    }
    if others.contains(file) {
      throw Refusal(errno: EINVAL, column: text.column, text: "\(text.path) is a destination of this record already")
    }
    return file
  }

  /// The record with the regions that it comes to, and what stands there now.
  private func resolved(_ candidate: Candidate, _ source: Endpoint?, _ found: [Int: Endpoint], for caller: Caller) throws(Refusal) -> String
  {
    let record = candidate.record
    let present = found.keys.sorted()
    let endpoints = present.compactMap { found[$0] }
    var part = record
    part.to = present.map { record.to[$0] }
    let resolution = try Resolution(part, source: source, destinations: endpoints)
    let wanted = resolution.claims(source: source, destinations: endpoints)
    try claims.check(wanted, for: candidate.claimant(of: caller.uid), columns: columns(of: part))
    try refuseUsed(endpoints, wanted.suffix(endpoints.count), columns: part.to.map(\.column))

    let count = resolution.regions.source?.count ?? record.to.first?.count ?? 0
    for text in record.to {
      guard let own = text.count, own != count else { continue }
      throw Refusal(errno: EINVAL, column: text.column, text: "the region of \(text.path) has \(own)B, and \(count)B are wanted")
    }
    func whole(_ text: RegionText) -> RegionText {
      var whole = text
      whole.count = count
      return whole
    }
    var text = Array(record.normalised(from: record.from.map(whole), to: record.to.map(whole)).utf8)
    Words.appendWord("bytes_total", try domain(record, resolution.regions, for: caller)?.count ?? count, to: &text)
    if let source {
      Words.appendWord("source_size", source.device.size, to: &text)
      Words.appendWord("warning", warnings(source).text, to: &text)
    }
    for index in record.to.indices {
      Words.appendWord("dest\(index)_id", found[index].map { admission.label(of: $0) } ?? "", to: &text)
      Words.appendWord("dest\(index)_size", found[index]?.device.size ?? 0, to: &text)
    }
    return String(decoding: text, as: UTF8.self)
  }
}
