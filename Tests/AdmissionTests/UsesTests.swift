import FaultKit
import Glibc
import KCopy
import Testing

@testable import Admission

@Suite("What else lies on the bytes of a destination")
struct UsesTests {
  /// Why a place on a file or device must not be written, as far as its being open doesn't tell.
  private func objection(_ stage: Stage, _ path: String, _ region: Range<UInt64>) throws -> String? {
    let endpoint = try stage.destination(path)
    defer { stage.admission.undo(endpoint) }
    let start = endpoint.root.offset
    let objection = stage.admission.uses(of: endpoint).objection(to: path, start + region.lowerBound..<start + region.upperBound)
    #expect(objection == nil || objection?.errno == EBUSY)
    return objection?.text
  }

  private func backing(_ stage: Stage) throws -> String {
    try stage.bench.file("backing", [UInt8](repeating: 0, count: 8 << 20), inMemory: true)
  }

  @Test("A loop device keeps its own part of a file, to the byte, and of what lies there")
  func part() throws {
    try withStage { stage in
      let file = try backing(stage)
      let other = stage.bench.keep(try OffsetLoop(file, offset: 1 << 20, arguments: ["--sizelimit", "1048576"]))
      let text = "\(file): \(other.path) is set up over it"
      #expect(try objection(stage, file, 0..<1 << 20) == nil && objection(stage, file, 2 << 20..<8 << 20) == nil)
      #expect(try objection(stage, file, 0..<(1 << 20) + 1) == text && objection(stage, file, (2 << 20) - 1..<8 << 20) == text)
      // It is not in its own way, and another one over the same file is where it is over the same bytes.
      #expect(try objection(stage, other.path, 0..<1 << 20) == nil)
      let whole = stage.bench.keep(try OffsetLoop(file, offset: 4096))
      #expect(try objection(stage, whole.path, 0..<(1 << 20) - 4096) == nil)
      #expect(try objection(stage, whole.path, (1 << 20) - 4096..<1 << 20) == "\(whole.path): \(other.path) is set up over it")
      #expect(try objection(stage, other.path, 0..<512) == "\(other.path): \(whole.path) is set up over it")
    }
  }

  @Test("A loop device that is given another file, or another offset, is over that one from then on")
  func changed() throws {
    try withStage { stage in
      let (file, next) = (try backing(stage), try stage.bench.file("next", [UInt8](repeating: 0, count: 8 << 20), inMemory: true))
      let loop = stage.bench.keep(try ReadOnlyLoop(file))
      let text = "\(loop.path) is set up over it"
      #expect(try objection(stage, file, 0..<512) == "\(file): \(text)" && objection(stage, next, 0..<512) == nil)
      try loop.change(to: next)
      #expect(try objection(stage, next, 0..<512) == "\(next): \(text)" && objection(stage, file, 0..<512) == nil)
      try loop.move(to: 4096)
      #expect(try objection(stage, next, 0..<4096) == nil && objection(stage, next, 4096..<8192) == "\(next): \(text)")
    }
  }

  @Test("A loop device whose file system doesn't answer keeps no other destination waiting for long, and is known when it does")
  func hung() throws {
    try withStage { stage in
      let device = try stage.bench.faultDevice()
      device.hang()
      defer { device.goOn() }
      let file = try backing(stage)
      #expect(try objection(stage, file, 0..<512) == nil)
      let over = stage.bench.keep(try OffsetLoop(file, offset: 0))
      #expect(try objection(stage, file, 0..<512) == "\(file): \(over.path) is set up over it")
      device.goOn()
      try eventually("it has answered") { try objection(stage, device.file, 0..<512) == "\(device.file): \(device.path) is set up over it" }
    }
  }
}

/// A loop device that is read-only, the one kind whose file can be exchanged.
private final class ReadOnlyLoop: Resource {
  let path: String

  init(_ backing: String) throws {
    path = try run("losetup", "-f", "-r", "--show", backing).orThrow().line
  }

  /// LOOP_CHANGE_FD, which no tool has.
  func change(to file: String) throws {
    let script = "import fcntl, os, sys\nfcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x4C06, os.open(sys.argv[2], os.O_RDONLY))"
    try python(script, path, file).orThrow()
  }

  /// LOOP_SET_STATUS64: the offset of a device that is set up.
  func move(to offset: Int) throws {
    let script = """
      import fcntl, os, struct, sys
      loop = os.open(sys.argv[1], os.O_RDONLY)
      status = bytearray(fcntl.ioctl(loop, 0x4C05, bytes(232)))
      status[24:32] = struct.pack('Q', int(sys.argv[2]))
      fcntl.ioctl(loop, 0x4C04, bytes(status))
      """
    try python(script, path, "\(offset)").orThrow()
  }

  func release() throws { try run("losetup", "-d", path).orThrow() }
}
