internal import Glibc
internal import KCopy

/// Regular files that were made as long as the regions of one job need, and the sizes that they had.
///
/// This comes last of all, when nothing else can refuse the job.
struct Growth {
  private var grown: [(device: Device, before: UInt64, after: UInt64)] = []

  /// - Throws: the errno of `ftruncate(2)`; then all files are as they were.
  init(_ job: AdmittedJob, _ claims: Claims) throws(Refusal) {
    for (region, text) in zip(job.regions.destinations, job.record.to) where !region.device.isBlockDevice {
      do throws(DeviceError) {
        let size = try region.device.currentSize()
        guard size < region.end else { continue }
        try region.device.resize(to: region.end)
        grown.append((region.device, size, region.end))
      } catch {
        undo(job, claims)
        throw Refusal(errno: error.errno, column: text.column, text: "\(text.path) can't be made \(region.end)B long")
      }
    }
  }

  /// Takes back what was added, of files that nobody else has written to or is going to.
  func undo(_ job: AdmittedJob, _ claims: Claims) {
    for file in grown.reversed() {
      claims.ifAlone(job.claimOwner, file.device.key) {
        // A file that cannot be asked, or has another size by now, is not ours to cut.
        guard (try? file.device.currentSize()) == file.after else { return }
        try? file.device.resize(to: file.before)
      }
    }
  }
}
