internal import Admission
internal import KCopy

/// The regions of a job, in bytes.
struct Regions: Sendable {
  /// `nil` unless `op=copy`.
  var source: Region?
  var destinations: [Region]
}

/// A record whose paths are open and whose regions are its own: all that may be refused has been looked at.
///
/// It is either started or undone.
struct AdmittedJob: Sendable {
  let record: JobRecord
  let name: String
  let number: UInt64
  let client: CopyClient
  /// `nil` unless `op=copy`.
  let source: Endpoint?
  let destinations: [Endpoint]
  /// The texts of their fingerprints, the source's first; empty where nothing outlives the daemon.
  let fingerprints: [String]
  let regions: Regions
  /// What of the regions is copied; `nil`: all.
  let domain: Domain?
  let claims: [Claims.Claim]
  let claimOwner: Claims.Owner
  /// The jobs that it comes after.
  let predecessors: Predecessors?
  /// What is to be said of its source.
  let warnings: JobWarnings

  /// The length of each region, in bytes; 0 where nothing is copied.
  var count: UInt64 { regions.source?.count ?? regions.destinations.first?.count ?? 0 }

  /// With what its destinations begin, for the engine; none where nothing is left out.
  var startingMaps: [RangeMap] { domain.map { Array(repeating: $0.map, count: destinations.count) } ?? [] }

  /// All that is open, in the order in which it was opened.
  var endpoints: [Endpoint] { (source.map { [$0] } ?? []) + destinations }

  /// Whether the source is written by the job itself, elsewhere in the same file: then its changes say nothing.
  var isCopyWithinFile: Bool { destinations.contains { $0.device.key == source?.device.key } }

  /// What a job of it shows of its devices.
  var plan: Job.Plan {
    let known = endpoints.enumerated().map { index, endpoint in
      Job.Identified(
        identity: endpoint.identity, birth: endpoint.birth, fingerprint: fingerprints.indices.contains(index) ? fingerprints[index] : "")
    }
    return Job.Plan(
      spec: spec, count: count, domain: domain, source: source == nil ? nil : known.first,
      destinations: zip(destinations, known.suffix(destinations.count)).enumerated().map { index, destination in
        Job.Destination(
          path: destination.0.path, device: destination.1, mapStart: (regions.source ?? regions.destinations[index]).start)
      })
  }

  var spec: String {
    func text(_ written: RegionText?, _ region: Region?) -> RegionText? {
      guard var text = written, let region else { return nil }
      text.start = region.start
      text.count = region.count
      return text
    }
    return record.normalised(
      from: text(record.from, regions.source), to: zip(record.to, regions.destinations).compactMap { text($0, $1) })
  }
}
