import CSystemShims
import Glibc
import Testing
import URing

@Suite("A ring")
struct RingTests {
  static let page = 4096

  /// Waits until so many requests have completed; returns them by their user data.
  static func completions(_ count: Int, of ring: inout Ring) -> [UInt64: Int32] {
    var list: [RingCompletion] = []
    while list.count < count {
      ring.submitAndWait()
      ring.takeCompletions(into: &list)
    }
    return Dictionary(list.map { ($0.userData, $0.result) }) { _, _ in Int32.min }
  }

  @Test("Reads and writes move the bytes of their places, and answer with their counts")
  func moves() throws {
    let memory = try #require(TransferMemory(bytes: 64 * Self.page))
    let (source, destination) = (try ScratchFile(100_000, seed: 1), try ScratchFile(100_000, seed: 2))
    var ring = try Ring(entries: 8, completionEntries: 32)
    ring.attach(memory, as: 0)
    ring.read(source.descriptor, at: 1000, into: 0, offset: 500, count: 50_000, userData: 7)
    #expect(Self.completions(1, of: &ring) == [7: 50_000])
    ring.write(destination.descriptor, at: 30_000, from: 0, offset: 600, count: 40_000, userData: UInt64.max - 1)
    #expect(Self.completions(1, of: &ring) == [UInt64.max - 1: 40_000])
    var expected = ScratchFile.pattern(100_000, seed: 2)
    expected.replaceSubrange(30_000..<70_000, with: ScratchFile.pattern(100_000, seed: 1)[1100..<41_100])
    #expect(try destination.bytes(100_000) == expected)
  }

  @Test("More requests than submission entries all complete, each with its own user data")
  func moreThanEntries() throws {
    let memory = try #require(TransferMemory(bytes: 64 * Self.page))
    let source = try ScratchFile(64 * Self.page, seed: 3)
    let destination = try ScratchFile(0, seed: 0)
    var ring = try Ring(entries: 4, completionEntries: 128)
    #expect(ring.completionEntries >= 128)
    ring.attach(memory, as: 0)
    for index in 0..<64 {
      ring.read(
        source.descriptor, at: UInt64(index * Self.page), into: 0, offset: index * Self.page, count: Self.page - index,
        userData: UInt64(index) << 32)
    }
    let read = Self.completions(64, of: &ring)
    #expect(read == Dictionary(uniqueKeysWithValues: (0..<64).map { (UInt64($0) << 32, Int32(Self.page - $0)) }))
    for index in 0..<64 {
      let place = index * Self.page
      ring.write(destination.descriptor, at: UInt64(place), from: 0, offset: place, count: Self.page - index, userData: UInt64(index))
    }
    #expect(Self.completions(64, of: &ring).count == 64)
    let (original, found) = (ScratchFile.pattern(64 * Self.page, seed: 3), try destination.bytes(63 * Self.page + Self.page - 63))
    for index in 0..<64 {
      let piece = index * Self.page..<index * Self.page + Self.page - index
      #expect(original[piece] == found[piece], "request \(index)")
    }
  }

  @Test("Errors come back as negative errno, each with its own user data, and those beside them succeed")
  func errors() throws {
    let memory = try #require(TransferMemory(bytes: 4 * Self.page))
    let file = try ScratchFile(10_000, seed: 1)
    let readOnly = try ScratchFile(10_000, seed: 1, flags: O_RDONLY)
    let writeOnly = try ScratchFile(10_000, seed: 1, flags: O_WRONLY)
    let direct = try ScratchFile(10_000, seed: 1, flags: O_RDWR | kcs_O_DIRECT)
    var ring = try Ring(entries: 16, completionEntries: 32)
    ring.attach(memory, as: 0)
    ring.read(-1, at: 0, into: 0, offset: 0, count: 512, userData: 1)
    ring.read(writeOnly.descriptor, at: 0, into: 0, offset: 0, count: 512, userData: 2)
    ring.write(readOnly.descriptor, at: 0, from: 0, offset: 0, count: 512, userData: 3)
    ring.read(direct.descriptor, at: 1, into: 0, offset: 0, count: 512, userData: 4)
    ring.read(file.descriptor, at: 0, into: 0, offset: 0, count: 512, userData: 5)
    ring.read(file.descriptor, at: 9_900, into: 0, offset: 512, count: 512, userData: 6)
    ring.read(file.descriptor, at: 20_000, into: 0, offset: 1024, count: 512, userData: 7)
    #expect(Self.completions(7, of: &ring) == [1: -EBADF, 2: -EBADF, 3: -EBADF, 4: -EINVAL, 5: 512, 6: 100, 7: 0])
  }

  @Test("A wake-up ends the wait, once per request for it")
  func wakeUp() throws {
    let event = kcs_eventfd()
    try #require(event >= 0)
    defer { _ = kcs_close(event) }
    var ring = try Ring(entries: 4, completionEntries: 8)
    for round in 0..<3 as Range<UInt64> {
      ring.readWakeUp(event, userData: round)
      ring.submit()
      var list: [RingCompletion] = []
      ring.takeCompletions(into: &list)
      #expect(list.isEmpty, "nobody has signalled")
      let body: @convention(c) (UnsafeMutableRawPointer?) -> Void = { context in
        usleep(20_000)
        _ = kcs_eventfd_signal(Int32(Int(bitPattern: context)))
      }
      var thread: UInt64 = 0
      try #require(kcs_thread_start(&thread, body, UnsafeMutableRawPointer(bitPattern: Int(event))) == 0)
      #expect(Self.completions(1, of: &ring) == [round: 8])
      _ = kcs_thread_join(thread)
    }
    _ = kcs_eventfd_signal(event)
    ring.readWakeUp(event, userData: 9)
    #expect(Self.completions(1, of: &ring) == [9: 8], "a signal that came before")
  }

  @Test("A ring that the kernel refuses says so")
  func refused() {
    #expect { _ = try Ring(entries: 0, completionEntries: 8) } throws: { error in
      (error as? RingError)?.errno == EINVAL
    }
  }

  @Test("Several memories are transferred by their numbers; one that was let go makes room for another under its number")
  func severalMemories() throws {
    let memories = try (0..<3).map { _ in try #require(TransferMemory(bytes: 16 * Self.page)) }
    let (source, destination) = (try ScratchFile(40_000, seed: 4), try ScratchFile(0, seed: 0))
    var ring = try Ring(entries: 8, completionEntries: 32)
    // One beyond the table of what can be registered.
    let numbers = [0, 7, 1000]
    for (number, memory) in zip(numbers, memories) { ring.attach(memory, as: number) }
    let registered = [ring.isRegistered(0), ring.isRegistered(7), ring.isRegistered(1000)]
    #expect(registered == [true, true, false])
    for (index, number) in (numbers + [7]).enumerated() {
      if index == 3 {
        ring.detach(7)
        let isGone = !ring.isRegistered(7)
        #expect(isGone)
        ring.attach(try #require(TransferMemory(bytes: 10 * Self.page)), as: 7)
        let isBack = ring.isRegistered(7)
        #expect(isBack)
      }
      ring.read(source.descriptor, at: 0, into: number, offset: 600, count: 40_000, userData: 1)
      #expect(Self.completions(1, of: &ring) == [1: 40_000])
      ring.write(destination.descriptor, at: UInt64(index) * 40_000, from: number, offset: 600, count: 40_000, userData: 2)
      #expect(Self.completions(1, of: &ring) == [2: 40_000])
    }
    let original = ScratchFile.pattern(40_000, seed: 4)
    #expect(try destination.bytes(160_000) == original + original + original + original)
  }

  @Test("Under a small limit of locked memory nothing is registered, and transfers work without it")
  func unregistered() async {
    await #expect(processExitsWith: .success) {
      let (source, destination) = (try ScratchFile(100_000, seed: 5), try ScratchFile(0, seed: 0))
      var limit = rlimit(rlim_cur: 65536, rlim_max: 65536)
      // Who is not root has no CAP_IPC_LOCK either.
      guard setrlimit(__rlimit_resource_t(8), &limit) == 0, geteuid() != 0 || seteuid(65534) == 0 else { exit(2) }
      guard let memory = TransferMemory(bytes: 8 << 20) else { exit(3) }
      var ring = try Ring(entries: 8, completionEntries: 32)
      ring.attach(memory, as: 0)
      guard !ring.isRegistered(0) else { exit(4) }
      ring.read(source.descriptor, at: 0, into: 0, offset: 4 << 20, count: 100_000, userData: 1)
      guard RingTests.completions(1, of: &ring) == [1: 100_000] else { exit(6) }
      ring.write(destination.descriptor, at: 0, from: 0, offset: 4 << 20, count: 100_000, userData: 2)
      guard RingTests.completions(1, of: &ring) == [2: 100_000] else { exit(7) }
      guard try destination.bytes(100_000) == ScratchFile.pattern(100_000, seed: 5) else { exit(8) }
    }
  }

  @Test("A ring without memory transfers nothing")
  func withoutMemory() async {
    await #expect(processExitsWith: .failure) {
      var ring = try Ring(entries: 8, completionEntries: 8)
      ring.read(0, at: 0, into: 0, offset: 0, count: 1, userData: 0)
      exit(0)
    }
  }
}
