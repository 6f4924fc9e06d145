import CSystemShims
import Foundation
import KCopy
import Synchronization

/// A directory for one test, gone with the test.
final class Scratch {
  let path: String

  init(on base: String = "/var/tmp") throws {
    var template = Array("\(base)/kcopy-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String, _ bytes: [UInt8]) throws -> String {
    let file = "\(path)/\(name)"
    try Data(bytes).write(to: URL(fileURLWithPath: file))
    return file
  }

  func bytes(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(path)/\(name)"))) }
}

/// Bytes that no copy of another place could be taken for.
func pattern(_ count: Int, seed: UInt64) -> [UInt8] {
  var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
  return (0..<count).map { _ in
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return UInt8(truncatingIfNeeded: state >> 32)
  }
}

/// Copies and waits for the notification.
func copyAndWait(
  _ client: Client, from source: Region, to destinations: [Region], options: CopyOptions = CopyOptions()
) async throws -> KCopy.Notification {
  try await withCheckedThrowingContinuation { continuation in
    do {
      try client.copy(from: source, to: destinations, options: options) { continuation.resume(returning: $0) }
    } catch {
      continuation.resume(throwing: error)
    }
  }
}
