internal import CopyJobs
internal import FuseKit
internal import Glibc
internal import KCopy
internal import Locking
internal import Synchronization

/// `keep=SECONDS`: final jobs go by themselves, by way of the mount, for otherwise the kernel would remember their names.
final class Expiry: Sendable {
  private let keep: UInt64?
  private let jobs: JobService
  /// In the order in which they became final, which is that in which they go.
  private let waiting: Locked<[Job]> = Locked([])
  private let work = Semaphore()
  private let mount: Locked<OwnMount?> = Locked(nil)
  /// The job that is being removed by ourselves.
  private let going = Atomic<UInt64>(0)

  /// - Parameter keep: nanoseconds are seconds times a billion; `nil` keeps them all.
  init(keep: UInt64?, _ jobs: JobService) throws(DeviceError) {
    self.keep = keep.map { $0 * 1_000_000_000 }
    self.jobs = jobs
    if keep != nil { try SystemThread("kcopy-keep") { [self] in run() }.detach() }
  }

  func attach(_ mount: OwnMount) { self.mount.withLock { $0 = mount } }

  /// A job is final.
  func note(_ job: Job) {
    guard keep != nil else { return }
    waiting.withLock { $0.append(job) }
    work.signal()
  }

  /// What we remove is the job that was meant, and not another one that has got its name meanwhile.
  ///
  /// - Throws: EBUSY for that one.
  func checkRemoval(of job: Job, by requester: Requester) throws(Refusal) {
    guard let own = mount.withLock({ $0 })?.thread, requester.pid == own else { return }
    guard job.facts.id == going.load(ordering: .relaxed) else { throw Refusal(errno: EBUSY, column: 0, text: "another job") }
  }

  private func run() {
    while true {
      work.wait()
      guard let keep, let job = waiting.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else { continue }
      // Tried again meanwhile, it comes once more; a clock that is set changes only how long this one waits.
      let age = JobFileSystem.now() &- job.finishedAt
      if job.isFinal, age < keep { Semaphore().wait(until: JobFileSystem.monotonic() + keep - age) }
      guard !job.isRemoved, job.isFinal, JobFileSystem.now() >= job.finishedAt + keep else { continue }
      mount.withLock { $0 }?.perform { [self] root in
        guard job.isFinal, !job.isRemoved else { return }
        going.store(job.facts.id, ordering: .relaxed)
        root.removeDirectory("jobs/\(job.facts.name)")
        going.store(0, ordering: .relaxed)
      }
    }
  }
}
