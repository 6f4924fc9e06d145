internal import Admission
internal import KCopy

/// A record whose paths are open and whose regions are its own: all that may be refused has been looked at.
///
/// It is either started or undone.
struct AdmittedJob: Sendable {
  let record: JobRecord
  let name: String
  let number: UInt64
  let caller: Caller
  let source: Endpoint
  let destinations: [Endpoint]
  let regions: (source: Region, destinations: [Region])
  let claims: [Claims.Claim]
  let claimOwner: UInt64

  var spec: String {
    func text(_ written: RegionText?, _ region: Region) -> RegionText? {
      guard var text = written else { return nil }
      text.start = region.start
      text.count = region.count
      return text
    }
    return record.normalised(
      from: text(record.from, regions.source), to: zip(record.to, regions.destinations).compactMap { text($0, $1) })
  }
}
