import KCopy
import Testing

@Suite("A copy of files")
struct CopyTests {
  /// Where a region starts, how long it is, on which file system, and what moves the bytes.
  struct Shape: Sendable, CustomTestStringConvertible {
    var from: UInt64
    var to: UInt64
    var count: UInt64
    var base: String
    var transport: Client.Transport
    var testDescription: String { "\(count) bytes from \(from) to \(to) on \(base) by \(transport)" }

    static let all: [Shape] = {
      var shapes: [Shape] = []
      for base in ["/var/tmp", "/dev/shm"] {
        for transport in [Client.Transport.ring, .threads] {
          for (from, to) in [(0, 0), (512, 512), (1, 1), (4096, 8192), (511, 1023), (100, 4196), (0, 513)] as [(UInt64, UInt64)] {
            for count in [1, 511, 4096, 4097, 1 << 20, 3 << 20 | 77] as [UInt64] {
              shapes.append(Shape(from: from, to: to, count: count, base: base, transport: transport))
            }
          }
        }
      }
      return shapes
    }()
  }

  static let original = pattern(4 << 20, seed: 1)
  static let before = pattern(4 << 20, seed: 2)

  @Test("copies the bytes of the region and leaves those around it alone", arguments: Shape.all)
  func copiesExactly(_ shape: Shape) async throws {
    let scratch = try Scratch(on: shape.base)
    let (original, before) = (Self.original, Self.before)
    let source = try Device(path: scratch.file("source", original), access: .reading)
    let first = try Device(path: scratch.file("first", before), access: .writing(exclusive: true))
    let second = try Device(path: scratch.file("second", before), access: .writing(exclusive: true))
    var configuration = Client.Configuration()
    configuration.transport = shape.transport
    let client = try Client(configuration)
    defer { client.destroy() }
    let notification = try await copyAndWait(
      client, from: Region(source, start: shape.from, count: shape.count),
      to: [Region(first, start: shape.to, count: shape.count), Region(second, start: 7, count: shape.count)])
    #expect(notification.isComplete)
    #expect(notification.progress.bytesDone == shape.count)
    #expect(notification.progress.destinations.map { $0.state } == [.done, .done])
    #expect(notification.progress.destinations.map { $0.bytesDurable } == [shape.count, shape.count] as [UInt64])
    #expect(client.bytesRead == shape.count, "the source is read once")
    #expect(client.bytesWritten == 2 * shape.count)
    #expect(client.pagesFree == configuration.pages)
    for device in [source, first, second] { #expect(device.closeNow() == 0) }
    for (name, start) in [("first", Int(shape.to)), ("second", 7)] {
      var expected = before
      expected.replaceSubrange(start..<start + Int(shape.count), with: original[Int(shape.from)..<Int(shape.from + shape.count)])
      #expect(try scratch.bytes(name) == expected)
    }
  }
}
