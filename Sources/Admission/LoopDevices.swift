internal import CSystemShims
internal import Glibc
internal import KCopy
internal import Locking

/// The loop devices of this machine that are set up, and what each of them lies over.
///
/// That one is set up, and where it begins and ends, is asked each time.  What it is over is asked once for each time that it is
/// set up, as its sequence number (`diskseq`) tells: the kernel asks the file system of the backing file, which may never answer, and
/// one of those must not keep all other copies waiting.
final class LoopDevices: Sendable {
  /// One that is set up.
  struct Loop {
    let number: UInt64
    /// Where its first byte lies on what is under it.
    let backing: RootObject
    fileprivate let name: String

    /// Bytes.
    var size: UInt64 { (LoopDevices.number("/sys/block/\(name)/size") ?? 0) * 512 }
  }

  private struct Answer {
    let number: UInt64
    let backing: DeviceKey
  }

  /// A question to one loop device, whose answer more than one may wait for.
  private final class Question: Sendable {
    let sequence: UInt64
    private let since = kcs_monotonic()
    /// The outer `nil`: there is no answer yet; the inner: there is none to be had.
    private let answer = Locked<Answer??>(.none)
    private let waiting = Locked<[Locking.Semaphore]>([])

    init(_ sequence: UInt64) { self.sequence = sequence }

    /// Waits for the answer, but not for ever.
    var result: Answer? {
      if let answer = answer.withLock({ $0 }) { return answer }
      let answered = Locking.Semaphore()
      waiting.withLock { $0.append(answered) }
      // It may have come before this thread was waiting for it.
      if let answer = answer.withLock({ $0 }) { return answer }
      answered.wait(until: since + LoopDevices.patience)
      return answer.withLock { $0 } ?? nil
    }

    func settle(_ found: Answer?) {
      answer.withLock { $0 = .some(found) }
      for one in waiting.withLock({ $0 }) { one.signal() }
    }
  }

  static let ofThisMachine = LoopDevices()

  /// How long an answer is waited for, nanoseconds.  A file system that answers later isn't the one that a destination lies on: that
  /// has just answered.
  private static let patience: UInt64 = 1_500_000_000

  private let questions = Locked<[String: Question]>([:])

  /// All that are set up now.
  func setUp() -> [Loop] {
    let asked = KernelText.names(in: "/sys/block").compactMap { name -> (name: String, offset: UInt64, question: Question)? in
      guard name.hasPrefix("loop"), let offset = Self.number("/sys/block/\(name)/loop/offset"),
        let sequence = Self.number("/sys/block/\(name)/diskseq")
      else { return nil }
      return (name, offset, question(to: name, sequence))
    }
    return asked.compactMap { name, offset, question in
      question.result.map { Loop(number: $0.number, backing: RootObject(key: $0.backing, offset: offset), name: name) }
    }
  }

  private func question(to name: String, _ sequence: UInt64) -> Question {
    let (question, isNew) = questions.withLock { questions in
      if let known = questions[name], known.sequence == sequence { return (known, false) }
      let question = Question(sequence)
      questions[name] = question
      return (question, true)
    }
    guard isNew else { return question }
    let ask: @Sendable () -> Void = {
      let answer = Self.ask(name)
      question.settle(answer)
      // One that was being set up, or taken away, is asked again by who comes next.
      if answer == nil { self.questions.withLock { if $0[name] === question { $0[name] = nil } } }
    }
    // At the limit of threads it's better to wait than not to know.
    do throws(DeviceError) { try SystemThread("kcopy-loop", ask).detach() } catch { ask() }
    return question
  }

  private static func ask(_ name: String) -> Answer? {
    guard let number = BlockDevice.number("/sys/block/\(name)/dev") else { return nil }
    let loop = unsafe kcs_open("/dev/" + name, O_RDONLY | O_NONBLOCK, 0)
    guard loop >= 0 else {
      // Who may not open it has the name alone, which is right as long as nobody has moved the file into another namespace.
      let file = KernelText.read("/sys/block/\(name)/loop/backing_file").flatMap { DeviceKey(path: String($0.dropLast())) }
      return file.map { Answer(number: number, backing: $0) }
    }
    defer { _ = kcs_close(loop) }
    guard (try? DeviceKey(descriptor: loop)) == .block(number) else { return nil }
    return RootObject.backing(ofLoop: loop).map { Answer(number: number, backing: $0.key) }
  }

  /// A number that sysfs has in a file.
  private static func number(_ path: String) -> UInt64? {
    // Most of the time that a look takes goes into reading these: a call less each than a file whose length isn't known.
    var text = [CChar](repeating: 0, count: 32)
    let count = unsafe kcs_read_text(path, &text, text.count)
    guard count > 0 else { return nil }
    return UInt64(String(decoding: text[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self).trimmed)
  }
}
