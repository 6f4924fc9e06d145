internal import Admission
internal import Glibc
internal import KCopy
internal import Locking

/// The devices of a job that is gone on with: what lacks nothing stays closed, and what is another one by now is left alone.
extension Admitting {
  /// Why a job is gone on with.
  enum Cause {
    /// `ctl`: a destination that can't be opened has failed, and the others go on.
    case retry
    /// A restart: all are as they were, or nothing is written.  `parked`: it has waited since, and nobody kept others from
    /// writing to its destinations.
    case restart(parked: Bool)
  }

  /// Opens what is needed to go on.
  ///
  /// - Throws: why not even one destination could be gone on with for a reason that isn't its own: the source's, or a claim;
  ///   after a restart for any reason.  ESTALE: another device or file stands there now, or nobody knows.
  func reopen(_ candidate: Candidate, of job: Job, caller: Caller, _ cause: Cause) throws(Refusal) -> (AdmittedJob, Reattempt) {
    let life = job.life.withLock { $0 }
    let need = DescriptorBudget.need(of: candidate.record)
    try descriptors.take(need, for: caller.uid)
    do throws(Refusal) {
      return try opening { (opened) throws(Refusal) in
        var reopening = Reopening(candidate, life, cause)
        if !reopening.lacking.isEmpty, let source = try openSource(candidate.record, caller, &opened) {
          try check(source, against: life.plan.source, &reopening, candidate.record.column(of: "from"))
          reopening.source = source
        }
        for index in reopening.lacking {
          do throws(Refusal) {
            let endpoint = try reopen(index, caller, &reopening, &opened)
            reopening.found.append((index, endpoint))
          } catch {
            guard case .retry = cause else { throw error }
            reopening.fail(index, error.errno)
          }
        }
        if candidate.record.errors == .stop, !reopening.failures.isEmpty {
          for entry in reopening.found.reversed() {
            admission.undo(entry.endpoint)
            opened.removeLast()
          }
          reopening.found = []
        }
        let admitted = try claim(
          reopening.part, source: reopening.source, destinations: reopening.found.map(\.endpoint), uid: caller.uid
        ) { _ in
          // What was to be copied when the job was accepted, whatever the mapfile says by now.
          life.plan.domain
        }
        descriptors.charge(admitted.source, admitted.destinations, to: caller.uid, taken: need)
        return (admitted, reopening.reattempt)
      }
    } catch {
      descriptors.giveBack(need, for: caller.uid)
      throw error
    }
  }

  private func reopen(
    _ index: Int, _ caller: Caller, _ reopening: inout Reopening, _ opened: inout [Endpoint]
  ) throws(Refusal) -> Endpoint {
    let text = reopening.candidate.record.to[index]
    let creates = reopening.creates(index)
    let endpoint = try open(text, caller, &opened) { () throws(Objection) in
      try admission.openDestination(text.path, creates: creates, syncsDirectory: reopening.candidate.record.create, for: caller)
    }
    // One that had to be made anew is nobody else's.
    if creates, endpoint.wasMade { return endpoint }
    do throws(Refusal) {
      try check(endpoint, against: reopening.plan.destinations[index].device, &reopening, text.column, destination: index)
      let region = Region(endpoint.device, start: text.start, count: reopening.plan.count)
      try refuseUsed([endpoint], [Claims.Claim(endpoint, region, isWrite: true)], columns: [text.column])
      if reopening.doubtful.contains(index) { try compare(index, endpoint, &reopening) }
      return endpoint
    } catch {
      opened.removeLast()
      admission.undo(endpoint)
      throw error
    }
  }

  /// - Throws: ESTALE when it isn't what it was, or nobody knows.
  private func check(
    _ endpoint: Endpoint, against known: Job.Identified?, _ reopening: inout Reopening, _ column: Int, destination: Int? = nil
  ) throws(Refusal) {
    guard let known else { return }
    let isKnown: Bool
    if let before = Fingerprint(known.fingerprint) {
      let relation = before.relation(to: admission.fingerprint(of: endpoint))
      isKnown = relation == .same || relation == .alike
      // Names are copied with disks, and a job that has waited has kept nobody from its destinations.
      if relation == .alike || reopening.isDoubtful {
        if let destination { reopening.doubtful.insert(destination) } else { reopening.doubtful.formUnion(reopening.lacking) }
      }
    } else {
      isKnown = known.identity == endpoint.identity && known.birth == endpoint.birth
    }
    guard isKnown else {
      throw Refusal(errno: ESTALE, column: column, text: "\(endpoint.path) is another device or file now, or can't be told from one")
    }
  }

  /// Where it isn't beyond doubt that a destination is the one that was written, what was written last has to be there.
  private func compare(_ index: Int, _ destination: Endpoint, _ reopening: inout Reopening) throws(Refusal) {
    let (record, source) = (reopening.candidate.record, reopening.source)
    let text = record.to[index]
    let block = UInt64(max(destination.device.logicalBlock, source?.device.logicalBlock ?? 1))
    guard let range = reopening.lastDurable(index, block: block) else {
      // Too little to tell by: all of it is written again.
      return reopening.forget(index)
    }
    let written = Region(destination.device, start: text.start + range.lowerBound, count: UInt64(range.count))
    let difference: UInt64?
    do throws(DeviceError) {
      if let source, let from = record.from {
        let read = Region(source.device, start: from.start + range.lowerBound, count: UInt64(range.count))
        difference = try written.firstDifference(from: read)
      } else {
        difference = try written.firstNonZero()
      }
    } catch {
      throw Refusal(
        errno: error.errno, column: text.column, text: "what is on \(text.path) can't be compared with what was written: \(error.call)")
    }
    if let difference {
      throw Refusal(
        errno: ESTALE, column: text.column,
        text: "\(text.path) doesn't hold what was written there last, at \(written.start + difference)B of it")
    }
  }
}

/// What is found while the devices of one job are opened again.
private struct Reopening {
  let candidate: Admitting.Candidate
  let plan: Job.Plan
  /// Destinations that lack something.
  private(set) var lacking: [Int]
  /// Whether the job has kept nobody from its destinations for a while.
  let isDoubtful: Bool
  var source: Endpoint?
  var found: [(index: Int, endpoint: Endpoint)] = []
  var failures: [TransferError] = []
  /// Destinations whose contents have to be looked at.
  var doubtful: Set<Int> = []
  private let isRestart: Bool
  private let progress: CopyProgress
  private var maps: [RangeMap]

  init(_ candidate: Admitting.Candidate, _ life: JobLife, _ cause: Admitting.Cause) {
    self.candidate = candidate
    plan = life.plan
    progress = life.progress
    let flushes = candidate.record.sync == .end
    let (progress, plan) = (progress, plan)
    maps = plan.destinations.indices.map { index in
      if progress.destinations[index].state == .done, flushes { return plan.map(.durable) }
      return life.maps.indices.contains(index) ? life.maps[index] : plan.map()
    }
    let unfinished = plan.destinations.indices.filter { progress.destinations[$0].state != .done || !flushes }
    if case .restart(let parked) = cause {
      isRestart = true
      // In one attempt what has failed has failed.
      lacking = unfinished.filter { progress.destinations[$0].state != .failed }
      isDoubtful = parked
      for index in unfinished where progress.destinations[index].state == .failed {
        fail(index, EIO, progress.destinations[index].error)
      }
    } else {
      isRestart = false
      lacking = unfinished
      isDoubtful = false
    }
    // For the digest alone the source is read with a destination that lacks nothing.
    if lacking.isEmpty, candidate.record.hash != nil, let done = plan.destinations.indices.first(where: { !unfinished.contains($0) }) {
      lacking = [done]
    }
  }

  /// Whether a file that `create=yes` made may have gone with the power, and nothing that counts with it.
  func creates(_ index: Int) -> Bool { isRestart && candidate.record.create && progress.destinations[index].bytesDurable == 0 }

  /// A device that would not open counts as a write that failed, over all of its region.
  mutating func fail(_ index: Int, _ errno: Int32, _ known: TransferError? = nil) {
    failures.append(
      known
        ?? TransferError(
          errno: errno, step: .write, destination: index, offset: candidate.record.to[index].start, length: plan.count))
  }

  /// Nothing of it counts any more.
  mutating func forget(_ index: Int) { maps[index] = plan.map() }

  /// The last of what is durable, up to a MiB of it in whole blocks.
  func lastDurable(_ index: Int, block: UInt64) -> Range<UInt64>? {
    guard let last = maps[index].extents.last(where: { $0.status == .durable }) else { return nil }
    let end = last.end / block * block
    let start = max(last.start, end - min(end, 1 << 20))
    let aligned = (start + block - 1) / block * block
    return aligned < end ? aligned..<end : nil
  }

  /// The record of what could be opened.
  var part: Admitting.Candidate {
    var part = candidate
    part.record.to = found.map { candidate.record.to[$0.index] }
    return part
  }

  var reattempt: Reattempt {
    Reattempt(indices: found.map(\.index), before: progress.destinations, maps: maps, failures: failures)
  }
}
