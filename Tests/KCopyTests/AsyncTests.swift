import FaultKit
import KCopy
import Testing

@Suite("The client for programs that wait by await")
struct AsyncTests {
  static let size = 1 << 20

  @Test("A copy, zeroes and a drain come back when they are over, with what a callback would have got")
  func roundTrip() async throws {
    try await withWorkbench { bench in
      let bytes = Pattern.bytes(Self.size, seed: 3)
      let source = try bench.openFile("source", bytes, .reading)
      let destination = try bench.openFile("destination", [])
      let client = try bench.client(.ring)
      let region = Region(destination, start: 0, count: UInt64(Self.size))
      let copied = try await client.copy(from: Region(source), to: [region])
      #expect(copied.isComplete && copied.progress.destinations[0].state == .done)
      #expect(copied.maps == [RangeMap(count: UInt64(Self.size), status: .durable)])
      #expect(try Files.read(bench.memory + "/destination") == bytes)
      let zeroed = try await client.zero([Region(destination, start: 4096, count: 8192)])
      #expect(zeroed.isComplete)
      #expect(try Files.read(bench.memory + "/destination")[4096..<12288].allSatisfy { $0 == 0 })
      try await client.drain()
      client.destroy()
      await #expect(throws: DeviceError.self) { _ = try await client.copy(from: Region(source), to: [region]) }
      await #expect(throws: DeviceError.self) { try await client.drain() }
    }
  }

  @Test("Cancelling the task cancels the copy, before it is given to the client or while it runs", arguments: [false, true])
  func cancelled(_ atOnce: Bool) async throws {
    try await withWorkbench { bench in
      let source = try bench.openFile("source", Pattern.bytes(Self.size, seed: 4), .reading)
      let destination = try bench.openFile("destination", [])
      let client = try bench.client(.ring, subjob: 64 << 10, slots: 2)
      var options = CopyOptions()
      options.rate = 1
      let task = Task { [options] in
        try await client.copy(from: Region(source), to: [Region(destination, start: 0, count: UInt64(Self.size))], options: options)
      }
      if !atOnce {
        while client.bytesRead == 0 { try await Task.sleep(for: .milliseconds(1)) }
      }
      task.cancel()
      let notification = try await task.value
      #expect(notification.wasCancelled && notification.progress.destinations[0].state == .cancelled)
    }
  }
}
