import FaultKit
import Glibc
import KCopy
import Testing

@Suite("Errors of the source")
struct ReadErrorTests {
  static let size = 1 << 20
  static let subjob = 64 << 10

  @Test(
    "A read error sets read_err alone; its place and length are those of the sector", arguments: transports,
    [(512, 0), (512, 8), (512, 15), (4096, 8)])
  func read(_ transport: Client.Transport, _ place: (sectorSize: Int, subJob: Int)) throws {
    let (sectorSize, subJob) = place
    try withWorkbench { bench in
      let (fault, path) = try bench.faultDevice(size: 2 * Self.size, sectorSize: sectorSize)
      let bytes = try fault.loop.fill(seed: 1)
      let start = 256 << 10
      let sector = (start + subJob * Self.subjob) / 512 + 80
      try fault.setFaults([.read(sector...sector)])
      let disks = try (0..<2).map { _ in try bench.loop(size: Self.size, sectorSize: sectorSize) }
      let before = try disks.map { try $0.fill(seed: 2) }
      let source = try bench.open(path, .reading)
      let destinations = try disks.map { Region(try bench.open($0.path)) }
      let client = try bench.client(transport, subjob: Self.subjob, slots: 1)
      let notification = try copyAndWait(
        client, from: Region(source, start: UInt64(start), count: UInt64(Self.size)), to: destinations)

      let progress = notification.progress
      #expect(progress.readError && progress.writeErrors == 0 && !notification.isComplete && !notification.wasCancelled)
      let error = TransferError(
        errno: EIO, step: .read, destination: nil, offset: UInt64(sector * 512 / sectorSize * sectorSize), length: UInt64(sectorSize))
      #expect(progress.firstError == error)
      let done = subJob * Self.subjob
      #expect(progress.bytesDone == done && progress.bytesDurable == done, "what came before it is flushed")
      for (index, destination) in progress.destinations.enumerated() {
        #expect(destination.state == .failed && destination.error == nil, "it fails because the source did")
        #expect(destination.bytesDone == done && destination.bytesDurable == done)
        let expected = Array(bytes[start..<start + done]) + before[index][done...]
        #expect(Pattern.difference(try disks[index].contents(), from: expected) == nil)
      }
      #expect(client.bytesRead >= done && client.bytesRead < done + Self.subjob, "no more than to find the place")
      #expect(client.pagesFree == client.configuration.pages)
    }
  }

  @Test("A write error and then a read error set both, and the first error is the write's", arguments: transports)
  func both(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let fault = try bench.faultDevice(size: Self.size)
      let bytes = try fault.loop.fill(seed: 1)
      try fault.setFaults([.read(2047...2047)])
      let broken = try bench.faultDevice(size: Self.size)
      try broken.setFaults([.write(0...0)])
      let good = try bench.loop(size: Self.size)
      let source = try bench.open(fault.path, .reading)
      let destinations = [Region(try bench.open(good.path)), Region(try bench.open(broken.path))]
      let client = try bench.client(transport, subjob: Self.subjob, slots: 1)
      let progress = try copyAndWait(client, from: Region(source), to: destinations).progress
      #expect(progress.readError && progress.writeErrors == 0b10)
      let error = TransferError(errno: EIO, step: .write, destination: 1, offset: 0, length: 512)
      #expect(progress.firstError == error && progress.destinations[1].error == error && progress.destinations[0].error == nil)
      #expect(progress.destinations.map(\.state) == [.failed, .failed])
      let done = Self.size - Self.subjob
      #expect(progress.destinations[0].bytesDurable == done && progress.bytesDurable == done)
      #expect(Pattern.difference(try good.contents(0..<done), from: Array(bytes[..<done])) == nil)
    }
  }

  @Test("A read error and write errors at once, in many slots, set exactly their bits", arguments: transports)
  func manySlots(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      // The block layer makes one request of neighbours: the read error comes some requests later.
      let size = 4 * Self.size
      let fault = try bench.faultDevice(size: size)
      try fault.setFaults([.read(7000...7000)])
      let broken = try bench.faultDevice(size: size)
      try broken.setFaults([.write(0...8191)])
      let good = try bench.loop(size: size)
      let source = try bench.open(fault.path, .reading)
      let destinations = [Region(try bench.open(broken.path)), Region(try bench.open(good.path))]
      let client = try bench.client(transport, subjob: Self.subjob, slots: 16)
      let notification = try copyAndWait(client, from: Region(source), to: destinations)
      #expect(notification.progress.readError && notification.progress.writeErrors == 0b01)
      #expect(notification.progress.destinations[1].error == nil && notification.progress.destinations[1].state == .failed)
      #expect(client.pagesFree == client.configuration.pages)
    }
  }

  @Test("A source region that ends behind the source is a read error at the source's end", arguments: transports)
  func pastTheEnd(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let bytes = Pattern.bytes(100_100, seed: 1)
      let file = try bench.openFile("source", bytes, .reading)
      let disk = try bench.open(bench.loop(size: 128 << 10).path, .reading)
      let destination = try bench.openFile("destination", [])
      let client = try bench.client(transport, subjob: Self.subjob, slots: 1)
      for (source, end, rest) in [(file, 100_100, (128 << 10) - 100_100), (disk, 128 << 10, 64 << 10)] {
        let progress = try copyAndWait(
          client, from: Region(source, start: 0, count: 192 << 10), to: [Region(destination, start: 0, count: 192 << 10)]
        ).progress
        #expect(progress.readError && progress.writeErrors == 0)
        #expect(
          progress.firstError == TransferError(errno: EIO, step: .read, destination: nil, offset: UInt64(end), length: UInt64(rest)))
        #expect(progress.bytesDone == end / Self.subjob * Self.subjob)
      }
    }
  }

  @Test("A source file that shrinks while it is copied is a read error where it now ends", arguments: transports, [true, false])
  func shrinks(_ transport: Client.Transport, _ inMemory: Bool) throws {
    try withWorkbench { bench in
      let bytes = Pattern.bytes(Self.size, seed: 1)
      let path = try bench.file("source", bytes, inMemory: inMemory)
      let source = try bench.open(path, .reading)
      let fault = try bench.faultDevice(size: Self.size)
      let destination = try bench.open(fault.path)
      let client = try bench.client(transport, subjob: Self.subjob, slots: 1)
      let notified = Notified()
      let end = 3 * Self.subjob + 10_000
      try fault.holding(.write) {
        try client.copy(from: Region(source), to: [Region(destination)], notify: notified.handler)
        try fault.awaitRequest(.write)
        try #require(truncate(path, end) == 0)
      }
      let progress = try notified.wait()[0].progress
      #expect(progress.readError && progress.writeErrors == 0)
      #expect(
        progress.firstError
          == TransferError(errno: EIO, step: .read, destination: nil, offset: UInt64(end), length: UInt64(Self.subjob - 10_000)))
      #expect(progress.bytesDurable == 3 * Self.subjob)
      #expect(client.bytesRead == end)
      let done = Array(bytes[..<(3 * Self.subjob)])
      #expect(Pattern.difference(try fault.loop.contents(0..<done.count), from: done) == nil)
    }
  }
}
