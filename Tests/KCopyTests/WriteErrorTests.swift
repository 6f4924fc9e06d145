import FaultKit
import KCopy
import Testing

@Suite("Errors of destinations")
struct WriteErrorTests {
  static let size = 1 << 20
  static let subjob = 64 << 10
  static let bytes = Pattern.bytes(size, seed: 1)

  struct Case: Sendable, CustomTestStringConvertible {
    var transport: Client.Transport
    var sectorSize: Int
    /// The destination that fails, of three.
    var failing: Int
    /// The sub-job that fails, of sixteen.
    var subJob: Int
    var testDescription: String { "destination \(failing), sub-job \(subJob), \(sectorSize)-byte sectors, by \(transport)" }

    static let all: [Case] = transports.flatMap { transport in
      [512, 4096].flatMap { sectorSize in
        [(0, 0), (1, 8), (2, 15)].map { Case(transport: transport, sectorSize: sectorSize, failing: $0, subJob: $1) }
      }
    }
  }

  @Test("A write error on destination i of three sets bit i alone, and the others are done and identical", arguments: Case.all)
  func write(_ parameters: Case) throws {
    try withWorkbench { bench in
      let source = try bench.loop(size: Self.size, sectorSize: parameters.sectorSize)
      try source.fill(Self.bytes)
      let (fault, path) = try bench.faultDevice(size: Self.size, sectorSize: parameters.sectorSize)
      let sector = parameters.subJob * Self.subjob / 512 + 8
      try fault.setFaults([.write(sector...sector)])
      let good = try (0..<2).map { _ in try bench.loop(size: Self.size, sectorSize: parameters.sectorSize) }
      var paths = good.map(\.path)
      paths.insert(path, at: parameters.failing)
      let from = try bench.open(source.path, .reading)
      let destinations = try paths.map { Region(try bench.open($0)) }
      let client = try bench.client(parameters.transport, subjob: Self.subjob, slots: 2)
      let before = try source.counters.bytesRead
      let notification = try copyAndWait(client, from: Region(from), to: destinations)

      let progress = notification.progress
      #expect(!notification.isComplete && !notification.wasCancelled && !progress.readError)
      #expect(progress.writeErrors == 1 << UInt64(parameters.failing))
      let error = TransferError(
        errno: 5, step: .write, destination: parameters.failing, offset: UInt64(sector * 512),
        length: UInt64(parameters.sectorSize))
      #expect(progress.firstError == error)
      for (index, destination) in progress.destinations.enumerated() {
        let failed = index == parameters.failing
        #expect(destination.state == (failed ? .failed : .done) && destination.error == (failed ? error : nil))
        if !failed { #expect(destination.bytesDone == Self.size && destination.bytesDurable == Self.size) }
      }
      #expect(progress.destinations[parameters.failing].bytesDone <= Self.size - parameters.sectorSize)
      #expect(progress.bytesDone == Self.size && progress.bytesDurable == Self.size, "every live destination has all")
      for disk in good { #expect(Pattern.difference(try disk.contents(), from: Self.bytes) == nil) }
      // Once for all; more only for the one that fails, up to there, where it was so slow that the others had gone on without it.
      let once = UInt64(Self.size)
      #expect((once...once + UInt64((parameters.subJob + 1) * Self.subjob)).contains(client.bytesRead))
      #expect(try source.counters.bytesRead - before == Int(client.bytesRead), "what is read is counted")
      #expect(client.pagesFree == client.configuration.pages)
      if parameters.subJob == 0 {
        let written = try fault.requests.filter { $0.kind == .write }.reduce(0) { $0 + $1.bytes }
        #expect(written < Self.size / 2, "a destination that failed is written to no more")
      }
    }
  }

  @Test("Of 64 destinations exactly those that failed have their bits", arguments: transports)
  func many(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let count = 16 << 10
      let source = try bench.openFile("source", Array(Self.bytes[..<count]), .reading)
      // Neighbours would be written by one request of the block layer, and fail together.
      let distance = 2 * count
      let fault = try bench.faultDevice(size: 64 * distance)
      let failing = [0, 5, 31, 32, 63]
      try fault.setFaults(failing.map { .write($0 * distance / 512 + 7...$0 * distance / 512 + 7) })
      let device = try bench.open(fault.path)
      let client = try bench.client(transport)
      let notification = try copyAndWait(
        client, from: Region(source), to: (0..<64).map { Region(device, start: UInt64($0 * distance), count: UInt64(count)) })
      #expect(notification.progress.writeErrors == failing.reduce(UInt64(0)) { $0 | 1 << UInt64($1) })
      for (index, destination) in notification.progress.destinations.enumerated() {
        #expect(destination.state == (failing.contains(index) ? .failed : .done), "destination \(index)")
      }
      try fault.setFaults([])
      let found = try fault.loop.contents()
      for index in 0..<64 where !failing.contains(index) {
        let piece = Array(found[index * distance..<index * distance + count])
        #expect(Pattern.difference(piece, from: Array(Self.bytes[..<count])) == nil, "destination \(index)")
      }
    }
  }

  @Test("When every destination fails every bit is set, nothing is flushed, and no more is read than was begun", arguments: transports)
  func all(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Self.bytes, .reading)
      let faults = try (0..<2).map { _ in try bench.faultDevice(size: Self.size) }
      for fault in faults { try fault.setFaults([.write(0...2047)]) }
      let destinations = try faults.map { Region(try bench.open($0.path)) }
      let client = try bench.client(transport, subjob: Self.subjob, slots: 1)
      let flushes = try faults.map { try $0.count(.flush) }
      let progress = try copyAndWait(client, from: Region(source), to: destinations).progress
      #expect(progress.writeErrors == 0b11 && !progress.readError)
      #expect(progress.destinations.map(\.state) == [.failed, .failed])
      #expect(progress.destinations.map(\.bytesDone) == [0, 0] && progress.bytesDone == 0 && progress.bytesDurable == 0)
      #expect(progress.destinations.compactMap(\.error?.destination) == [0, 1], "each has its own error")
      #expect(client.bytesRead == Self.subjob)
      #expect(try faults.map { try $0.count(.flush) } == flushes)
    }
  }

  @Test("A flush error sets the bit of its destination, and nothing of it is durable", arguments: transports, [512, 4096])
  func flush(_ transport: Client.Transport, _ sectorSize: Int) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Self.bytes, .reading)
      let (fault, path) = try bench.faultDevice(size: 2 * Self.size, sectorSize: sectorSize)
      try fault.setFaults([.flush])
      let good = try bench.loop(size: Self.size, sectorSize: sectorSize)
      let failing = Region(try bench.open(path), start: UInt64(Self.size), count: UInt64(Self.size))
      let client = try bench.client(transport)
      let progress = try copyAndWait(client, from: Region(source), to: [Region(try bench.open(good.path)), failing]).progress
      #expect(progress.writeErrors == 0b10 && !progress.readError)
      let error = TransferError(errno: 5, step: .flush, destination: 1, offset: UInt64(Self.size), length: UInt64(Self.size))
      #expect(progress.firstError == error && progress.destinations[1].error == error)
      #expect(progress.destinations.map(\.state) == [.done, .failed])
      #expect(progress.destinations.map(\.bytesDone) == [UInt64(Self.size), 0], "what the flush should have covered may be lost")
      #expect(progress.destinations.map(\.bytesDurable) == [UInt64(Self.size), 0])
      #expect(progress.bytesDurable == Self.size, "of the live destination")
      #expect(Pattern.difference(try good.contents(), from: Self.bytes) == nil)
    }
  }

  @Test("Flushes that all fail set every bit", arguments: transports)
  func allFlushes(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Self.bytes, .reading)
      let faults = try (0..<2).map { _ in try bench.faultDevice(size: Self.size) }
      for fault in faults { try fault.setFaults([.flush]) }
      let client = try bench.client(transport)
      let progress = try copyAndWait(client, from: Region(source), to: faults.map { Region(try bench.open($0.path)) }).progress
      #expect(progress.writeErrors == 0b11 && progress.bytesDurable == 0 && progress.firstError?.step == .flush)
      #expect(progress.destinations.map(\.state) == [.failed, .failed])
      #expect(progress.destinations.map(\.bytesDurable) == [0, 0])
    }
  }
}
