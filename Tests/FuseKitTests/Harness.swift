import CSystemShims
import FaultKit
import FuseKit
import Glibc
import Locking
import Testing

/// One after the other: a child that is about to exec has copies of all descriptors, and so of mounts in other tests.
@Suite(.serialized, .enabled(if: getuid() == 0), .timeLimit(.minutes(2)))
struct MountedTests {}

/// Waits until a condition holds.
///
/// - Returns: false when it did not within `seconds`.
func eventually(within seconds: Double = 20, _ condition: () -> Bool) -> Bool {
  let deadline = kcs_monotonic() + UInt64(seconds * Double(patience) * 1e9)
  while !condition() {
    if kcs_monotonic() > deadline { return false }
    usleep(500)
  }
  return true
}

/// A ``MemoryFileSystem`` mounted in a directory of its own.
struct Mount {
  let fileSystem: MemoryFileSystem
  let session: Session
  let path: String

  func path(of name: String) -> String { "\(path)/\(name)" }

  func open(_ name: String, _ flags: Int32 = O_RDONLY) throws -> Int32 {
    let descriptor = kcs_open(path(of: name), flags, 0o644)
    try #require(descriptor >= 0, "open \(name): \(String(cString: kcs_errno_name(-descriptor)))")
    return descriptor
  }

  var isMounted: Bool { mountedPaths().contains(path) }
}

func mountedPaths() -> [String] {
  guard let file = fopen("/proc/self/mounts", "r") else { return [] }
  defer { fclose(file) }
  var paths: [String] = []
  var line: UnsafeMutablePointer<CChar>?
  var capacity = 0
  defer { free(line) }
  while getline(&line, &capacity, file) > 0 {
    paths.append(String(String(cString: line!).split(separator: " ")[1]))
  }
  return paths
}

/// Mounts, runs the body, and takes all away again, whatever the body did.
func withMount(options: [String] = [], threads: Int = 2, _ body: (Mount) throws -> Void) throws {
  let path = try temporaryDirectory()
  defer { rmdir(path) }
  let fileSystem = MemoryFileSystem()
  let session = try Session(serving: fileSystem, at: path, source: "none", type: "fusekit-test", options: options)
  defer {
    session.stop()
    fileSystem.dropWaiting()
  }
  try session.start(threads: threads)
  try body(Mount(fileSystem: fileSystem, session: session, path: path))
}

func temporaryDirectory() throws -> String {
  var template = Array("/tmp/fusekit-test.XXXXXX".utf8CString)
  try #require(mkdtemp(&template) != nil)
  return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// One read(2).
///
/// - Returns: the text, or the errno.
func readOnce(_ descriptor: Int32, size: Int = 4096) -> Result<String, Failure> {
  var bytes = [UInt8](repeating: 0, count: size)
  let count = Glibc.read(descriptor, &bytes, size)
  if count < 0 { return .failure(Failure(errno: errno)) }
  return .success(String(decoding: bytes[..<count], as: UTF8.self))
}

func writeOnce(_ descriptor: Int32, _ text: String) -> Result<Int, Failure> {
  let count = Glibc.write(descriptor, text, text.utf8.count)
  return count < 0 ? .failure(Failure(errno: errno)) : .success(count)
}

struct Failure: Error, Equatable {
  var errno: Int32
}

/// The errno of a call that has to fail with one.
func failure(_ call: () -> Int32) -> Int32? {
  call() < 0 ? errno : nil
}

/// A body on a thread of its own.
///
/// Not for requests that wait in a mount of this process: if it were killed meanwhile, the thread would wait for an answer
/// that only the closing of its own /dev/fuse brings. Those are the business of a ``Child``.
final class Background<Value: Sendable>: Sendable {
  private let body: @Sendable () -> Value
  private let result = Locked<Value?>(nil)
  private let handle = Locked<UInt64>(0)

  init(_ body: @escaping @Sendable () -> Value) {
    self.body = body
    let context = Unmanaged.passRetained(BackgroundRun { [self] in finish() })
    var thread: UInt64 = 0
    let started = kcs_thread_start(&thread, { Unmanaged<BackgroundRun>.fromOpaque($0!).takeRetainedValue().run() }, context.toOpaque())
    precondition(started == 0)
    handle.withLock { $0 = thread }
  }

  private func finish() {
    let value = body()
    result.withLock { $0 = value }
  }

  var value: Value? { result.withLock { $0 } }

  /// The body's value, and the thread joined; nil if it didn't come in time.
  func wait() -> Value? {
    guard eventually({ value != nil }) else { return nil }
    let thread = handle.withLock { handle in
      defer { handle = 0 }
      return handle
    }
    if thread != 0 { _ = kcs_thread_join(thread) }
    return value
  }
}

private final class BackgroundRun: Sendable {
  let run: @Sendable () -> Void

  init(_ run: @escaping @Sendable () -> Void) {
    self.run = run
  }
}

final class Counter: Sendable {
  private let count = Locked(0)
  var value: Int { count.withLock { $0 } }
  func increment() { count.withLock { $0 += 1 } }
}
