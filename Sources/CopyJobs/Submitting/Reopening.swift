internal import Admission
internal import Glibc
internal import KCopy
internal import Locking

/// The devices of a job that is tried again: what lacks nothing stays closed, and what is another one by now is left alone.
extension Admitting {
  /// Opens what an attempt needs.
  ///
  /// - Throws: why not even one destination could be gone on with for a reason that isn't its own: the source's, or a claim.
  func reopen(_ candidate: Candidate, of job: Job, caller: Caller) throws(Refusal) -> (AdmittedJob, Reattempt) {
    let life = job.life.withLock { $0 }
    let plan = life.plan
    let lacking = plan.destinations.indices.filter { life.progress.destinations[$0].state != .done || candidate.record.sync == .none }
    let need = DescriptorBudget.need(of: candidate.record)
    try descriptors.take(need)
    do throws(Refusal) {
      return try opening { (opened) throws(Refusal) in
        let source = try openSource(candidate.record, caller, &opened)
        if let source, let known = plan.source, Job.Identified(source) != known {
          throw Refusal(errno: ESTALE, column: candidate.record.column(of: "from"), text: "\(source.path) is another device or file now")
        }
        var found: [(index: Int, endpoint: Endpoint)] = []
        var failures: [TransferError] = []
        for index in lacking {
          do throws(Refusal) {
            found.append((index, try reopen(candidate.record.to[index], as: plan.destinations[index], caller, &opened)))
          } catch {
            failures.append(failure(error.errno, index, plan, candidate.record))
          }
        }
        if candidate.record.errors == .stop, !failures.isEmpty {
          for entry in found.reversed() {
            admission.undo(entry.endpoint)
            opened.removeLast()
          }
          found = []
        }
        var part = candidate.record
        part.to = found.map { candidate.record.to[$0.index] }
        let admitted = try claim(
          Candidate(record: part, name: candidate.name, number: candidate.number, client: candidate.client), source: source,
          destinations: found.map(\.endpoint), descriptors: need)
        return (admitted, reattempt(of: life, found.map(\.index), failures))
      }
    } catch {
      descriptors.giveBack(need)
      throw error
    }
  }

  private func reopen(
    _ text: RegionText, as known: Job.Destination, _ caller: Caller, _ opened: inout [Endpoint]
  ) throws(Refusal) -> Endpoint {
    // Never made again: the map is of a file that is gone.
    let endpoint = try open(text, &opened) { () throws(Objection) in
      try admission.openDestination(text.path, creates: false, for: caller)
    }
    guard endpoint.identity == known.identity, endpoint.birth == known.birth else {
      opened.removeLast()
      admission.undo(endpoint)
      throw Refusal(errno: ESTALE, column: text.column, text: "\(text.path) is another device or file now")
    }
    return endpoint
  }

  /// A device that would not open counts as a write that failed, over all of its region.
  private func failure(_ errno: Int32, _ index: Int, _ plan: Job.Plan, _ record: JobRecord) -> TransferError {
    TransferError(errno: errno, step: .write, destination: index, offset: record.to[index].start, length: plan.bytesTotal)
  }

  private func reattempt(of life: JobLife, _ indices: [Int], _ failures: [TransferError]) -> Reattempt {
    let count = life.plan.bytesTotal
    let maps = life.plan.destinations.indices.map { index in
      if life.progress.destinations[index].state == .done, !indices.contains(index) { return RangeMap(count: count, status: .durable) }
      return life.maps.indices.contains(index) ? life.maps[index] : RangeMap(count: count)
    }
    return Reattempt(indices: indices, before: life.progress.destinations, maps: maps, failures: failures)
  }
}
