import FaultKit
import KCopy
import Testing

@Suite("The article's first copy")
struct CopyDiskTests {
  @Test("Two disks become what the source is, which is read once, and nothing stays open")
  func copies() async throws {
    try await withWorkbench { bench in
      let source = try bench.loop()
      let bytes = try source.fill(seed: 1)
      let disks = try (0..<2).map { _ in try bench.loop() }
      let before = try source.counters.bytesRead
      let notification = try await copyDisk(source.path, to: disks.map(\.path))
      #expect(notification.isComplete && notification.progress.bytesDurable == UInt64(bytes.count))
      #expect(try source.counters.bytesRead - before == bytes.count)
      for disk in disks { #expect(Pattern.difference(try disk.contents(), from: bytes) == nil) }
    }
  }

  @Test("A disk that isn't there is the open's error")
  func missing() async throws {
    await #expect(throws: DeviceError(errno: 2, call: "open")) { _ = try await copyDisk("/nowhere", to: ["/nowhere"]) }
  }
}
