import FaultKit
import Glibc
import KCopy

/// Makes a scenario from a seed: small, so that ten thousand take little time, and nasty.
struct ScenarioMaker {
  /// What kind of trouble a scenario is about; more than one kind at once hides what each does.
  private enum Trouble: CaseIterable { case none, lasting, passing, flushes, hangs, ends, scripted, all }

  private var random: SeededGenerator
  private var scenario = Scenario()
  private var trouble = Trouble.none
  /// Up to where each device is given away to regions.
  private var taken: [UInt64] = []
  /// Until when others do something; copies with checkpoints take longer.
  private var horizon = 300 * Span.millisecond

  static func scenario(_ seed: UInt64) -> Scenario {
    var maker = ScenarioMaker(seed)
    return maker.make()
  }

  private init(_ seed: UInt64) {
    random = SeededGenerator(seed: seed)
    scenario.seed = seed
    scenario.cancelsPaused = true
  }

  private mutating func make() -> Scenario {
    trouble = random.pick(Trouble.allCases)
    for number in 0..<2 + random.below(5) { scenario.devices.append(device(number)) }
    taken = scenario.devices.map { _ in 0 }
    scenario.configuration = configuration()
    scenario.capacity = random.pick([8, 16, 64, 1024])
    if trouble == .hangs, random.happens(oneIn: 2) {
      // So much room that nobody need wait for a device of others.
      scenario.configuration.pages = 3072
      scenario.capacity = 1024
    }
    for number in 0..<random.pick([1, 1, 1, 2, 2, 3, 4, 6]) {
      scenario.copies.append(copy())
      if number > 0, random.happens(oneIn: 4) { scenario.copies[number].after = random.below(number) }
      if random.happens(oneIn: 4) { takeCheckpoints(number) }
    }
    for index in scenario.devices.indices {
      scenario.devices[index].size = (taken[index] + UInt64(random.below(4)) * 4096 + 4095) / 4096 * 4096 + 4096
      scenario.devices[index].patternOffset = random.below(CommonPattern.count / 2)
      addTrouble(index)
    }
    script()
    if random.happens(oneIn: 5) { suspend() }
    return scenario
  }

  /// A copy with checkpoints, slow enough to have some now and then.
  private mutating func takeCheckpoints(_ number: Int) {
    scenario.copies[number].takesCheckpoints = true
    guard random.happens(oneIn: 3) else { return }
    scenario.copies[number].options.rate = max(scenario.copies[number].count * 10 / UInt64(10 + random.below(70)), 1)
    horizon = 8 * Span.second
  }

  /// Suspends copies, as a daemon that stops does, and goes on with them.
  private mutating func suspend() {
    let count = scenario.copies.count
    let at = time()
    let isOfAll = random.happens(oneIn: 2)
    let only = random.below(count)
    for number in 0..<count where isOfAll || number == only {
      scenario.script.append((at, .suspend(number)))
      if random.happens(oneIn: 8) { scenario.script.append((at + random.time(Span.microsecond...Span.second), .cancel(number))) }
      // A zone can't be written twice.
      guard !scenario.copies[number].destinations.contains(where: { scenario.devices[$0.device].isZoned }) else { continue }
      var next = scenario.copies[number]
      next.resumes = number
      next.after = nil
      next.maps = []
      scenario.copies.append(next)
      guard random.happens(oneIn: 4) else { continue }
      scenario.script.append((at + time(), .suspend(scenario.copies.count - 1)))
      next.resumes = scenario.copies.count - 1
      scenario.copies.append(next)
    }
  }

  // MARK: Devices

  private mutating func device(_ number: Int) -> DeviceSpec {
    var device = DeviceSpec()
    device.logicalBlock = random.pick([512, 512, 4096])
    device.errorBlock = device.logicalBlock
    device.isFile = random.happens(oneIn: 5)
    if device.isFile {
      device.logicalBlock = 1
      device.errorBlock = 512
    }
    device.isZoned = !device.isFile && random.happens(oneIn: 12)
    device.zeroing = device.isZoned ? .unknown : random.pick([.unknown, .works, .works, .refuses])
    if device.isFile { device.cloning = random.pick([.unknown, .works, .fails, .refuses]) }
    let paces: [DeviceSpec.Pace] =
      switch trouble {
      case .none, .lasting: [.fast]
      case .passing, .flushes, .ends, .scripted: [.fast, .fast, .medium]
      case .hangs, .all: [.fast, .fast, .medium, .slow, .verySlow]
      }
    device.pace = random.pick(paces)
    if random.happens(oneIn: 4) { device.flushLatency = Span.millisecond...400 * Span.millisecond }
    if trouble == .all || trouble == .hangs { device.flushLatency = random.pick([device.flushLatency, Span.second...2 * Span.second]) }
    return device
  }

  private mutating func addTrouble(_ index: Int) {
    func has(_ kind: Trouble) -> Bool { trouble == kind || trouble == .all }
    var device = scenario.devices[index]
    if has(.lasting), random.happens(oneIn: 2) { for _ in 0...random.below(3) { device.faults.append(fault(device, lasts: true)) } }
    if has(.passing) {
      if random.happens(oneIn: 2) { for _ in 0...random.below(3) { device.faults.append(fault(device, lasts: false)) } }
      device.shortOneIn = random.pick([0, 2, 5, 20])
    }
    device.movesUpToFault = random.happens(oneIn: 2)
    if has(.flushes), random.happens(oneIn: 2) {
      let first = random.below(3)
      device.failingFlushes = first..<random.pick([first + 1, first + 1, first + 2, first + 4, .max])
      device.losesAllByFlush = random.happens(oneIn: 2)
      device.flushErrno = random.pick([EIO, EIO, ENOSPC, EREMOTEIO])
    }
    if has(.lasting) || trouble == .none, random.happens(oneIn: 3) { addLies(index, to: &device) }
    if has(.hangs), random.happens(oneIn: 2) {
      let from = SimulatedWorld.start + random.time(Span.microsecond...200 * Span.millisecond)
      let until = random.happens(oneIn: 3) ? nil : from + random.time(Span.millisecond...20 * Span.second)
      device.hangs.append(.init(kind: random.pick(DeviceSpec.Hang.Kind.allCases), from: from, until: until))
    }
    if has(.ends), random.happens(oneIn: 3) {
      let at = SimulatedWorld.start + random.time(Span.microsecond...100 * Span.millisecond)
      if random.happens(oneIn: 2) {
        device.goneAt = at
        device.goneErrno = random.pick([ENODEV, ENODEV, ENXIO, ENOMEDIUM])
      } else {
        let block = UInt64(max(device.logicalBlock, 512))
        device.shrinks = (at, random.next() % (device.size / block) * block)
      }
    }
    if has(.lasting), trouble == .all, device.zeroing == .works, random.happens(oneIn: 3) { device.zeroing = .fails }
    addBlanks(&device)
    scenario.devices[index] = device
  }

  /// Gives a device ranges of zeroes, as holes where it is a file that tells of them.
  private mutating func addBlanks(_ device: inout DeviceSpec) {
    guard random.happens(oneIn: 3) else { return }
    var start: UInt64 = 0
    while device.blanks.count < 12 {
      start += UInt64(random.pick([512, 4096, 10_000, 40_000]) + random.below(8) * 4096) / 512 * 512
      let end = min(start + UInt64(random.pick([4096, 8192, 8192, 20_480, 100_000])), device.size)
      guard start < end else { break }
      device.blanks.append(start..<end)
      start = end
    }
    device.tellsHoles = device.isFile && random.happens(oneIn: 2)
    // Nobody reads a hole, and so nobody finds its errors.
    if device.tellsHoles { device.blanks.removeAll { blank in device.faults.contains { $0.range.overlaps(blank) } } }
  }

  /// Bytes that the device changes, of what is read back from it.
  private mutating func addLies(_ index: Int, to device: inout DeviceSpec) {
    guard !scenario.copies.contains(where: { $0.source?.device == index }) else { return }
    device.flipsAgain = random.happens(oneIn: 4)
    for copy in scenario.copies where copy.options.verifies {
      for destination in copy.destinations where destination.device == index {
        for _ in 0..<random.below(3) { device.flips.append(destination.start + random.next() % copy.count) }
      }
    }
  }

  private mutating func fault(_ device: DeviceSpec, lasts: Bool) -> DeviceSpec.BlockFault {
    let block = UInt64(device.errorBlock)
    let first = random.next() % (device.size / block)
    let count = UInt64(random.pick([1, 1, 1, 2, 3, 8, 40]))
    let end = min(first + count, device.size / block)
    var fault = DeviceSpec.BlockFault(range: first * block..<end * block)
    fault.kind = random.pick(DeviceSpec.BlockFault.Kind.allCases)
    fault.errno = random.pick([EIO, EIO, EIO, ENODATA, EREMOTEIO, ETIMEDOUT, EILSEQ])
    if fault.kind == .write, random.happens(oneIn: 3) { fault.errno = ENOSPC }
    if !lasts {
      fault.remaining = 1 + random.below(4)
      if random.happens(oneIn: 5) { fault.errno = random.pick([EINTR, EAGAIN]) }
    }
    return fault
  }

  // MARK: Copies

  private mutating func configuration() -> Client.Configuration {
    var configuration = Client.Configuration()
    configuration.subjob = random.pick([4096, 8192, 16384, 32768, 65536])
    configuration.slots = 1 + random.below(8)
    let most = configuration.subjob / 4096 * configuration.slots
    configuration.pages = max(configuration.subjob / 4096, random.pick([1, most / 2, most, most * 3, 64, 256]))
    if random.happens(oneIn: 10) { configuration.throttle = random.pick([1, 10, 50, 90]) }
    if random.happens(oneIn: 10) { configuration.rate = UInt64(random.pick([20_000, 300_000, 5_000_000])) }
    return configuration
  }

  private mutating func copy() -> Scenario.CopySpec {
    let isZero = random.happens(oneIn: 5)
    let destinations = (0..<random.pick([1, 1, 2, 2, 3, 5])).map { _ in random.below(scenario.devices.count) }
    let source = isZero ? nil : random.below(scenario.devices.count)
    var options = CopyOptions()
    options.errors = random.pick(CopyOptions.ErrorMode.allCases)
    options.order = random.pick([.any, .any, .sequential])
    options.flushes = !random.happens(oneIn: 4)
    options.retries = random.pick([0, 0, 1, 2, 3])
    options.priority = random.pick([5, 5, 5, 0, 9, 3])
    options.keepsHoles = random.happens(oneIn: 3)
    options.sharesBlocks = random.happens(oneIn: 2)
    options.hashes = random.happens(oneIn: 3)
    options.verifies = options.flushes && random.happens(oneIn: 3)
    if random.happens(oneIn: 10) { options.rate = UInt64(random.pick([10_000, 200_000, 2_000_000])) }
    let blocks = (destinations + [source].compactMap { $0 }).map { scenario.devices[$0].logicalBlock }
    let largest = blocks.max() ?? 512
    options.fillsTailWithZeroes = random.happens(oneIn: 6)
    let unit = options.fillsTailWithZeroes ? source.map { scenario.devices[$0].logicalBlock } ?? 512 : largest
    let wanted = random.pick([1, 4096, 10_000, 40_000, 80_000, 160_000]) + random.below(12_000)
    let rounded = wanted > 4096 && random.happens(oneIn: 4) ? 4096 : unit
    let count = UInt64(max(wanted / rounded, 1) * rounded)
    var copy = Scenario.CopySpec(destinations: [], count: count, options: options)
    copy.source = source.map { place($0, count) }
    copy.destinations = destinations.map { place($0, count, isAlone: options.verifies) }
    let isWhole = options.flushes && options.errors != .ignore && count % 4096 == 0
    if isWhole, !destinations.contains(where: { scenario.devices[$0].isZoned }), random.happens(oneIn: 2) {
      // As equal as a cancel leaves them, or each by itself.
      let common = map(count)
      copy.maps = destinations.map { _ in random.happens(oneIn: 2) ? common : map(count) }
      if random.happens(oneIn: 2) { exclude(from: &copy.maps) }
    }
    copy.at = random.happens(oneIn: 2) ? 0 : random.time(Span.microsecond...30 * Span.millisecond)
    return copy
  }

  /// What an earlier attempt may have left: whole blocks of every device.
  private mutating func map(_ count: UInt64) -> RangeMap {
    var map = RangeMap(count: count)
    for _ in 0..<random.below(4) {
      let start = random.next() % (count / 4096)
      let end = min(start + 1 + UInt64(random.below(12)), count / 4096)
      map.set(start * 4096..<end * 4096, .durable)
    }
    return map
  }

  /// Leaves ranges out of the copy, for all destinations the same: whole blocks of every device.
  private mutating func exclude(from maps: inout [RangeMap]) {
    for _ in 0..<1 + random.below(3) {
      let blocks = maps[0].count / 4096
      let start = random.next() % blocks
      let end = min(start + 1 + UInt64(random.below(8)), blocks)
      for index in maps.indices { maps[index].set(start * 4096..<end * 4096, .outside) }
    }
  }

  /// A part of a device that nothing else of the scenario uses, after a gap.
  ///
  /// - Parameter isAlone: of a file, nor a page that it has a part of.
  private mutating func place(_ device: Int, _ count: UInt64, isAlone: Bool = false) -> Scenario.Start {
    let block = UInt64(scenario.devices[device].logicalBlock)
    func endPage() { if isAlone { taken[device] = (taken[device] + 4095) / 4096 * 4096 } }
    endPage()
    defer { endPage() }
    let gap = random.pick([0, 1, 3, 700, 4096, 5000])
    let start = (taken[device] + UInt64(gap) + block - 1) / block * block
    taken[device] = (start + count + block - 1) / block * block
    return Scenario.Start(device: device, start: start)
  }

  // MARK: Script

  private mutating func script() {
    if trouble == .scripted || trouble == .all || random.happens(oneIn: 6) {
      for _ in 0..<1 + random.below(6) { add(action()) }
    }
    for number in 0..<random.pick([0, 0, 1, 2]) {
      let at = time()
      scenario.script.append((at, .prepare(number)))
      if !random.happens(oneIn: 4) { scenario.script.append((at + time(), .fire(number))) }
    }
    for number in 0..<random.pick([0, 0, 1, 3]) { add(.drain(number)) }
    for _ in 0..<3 { add(.inspect) }
    if random.happens(oneIn: 10) { scenario.script.append((40 * Span.millisecond, .destroy)) }
  }

  private mutating func time() -> UInt64 { random.time(Span.microsecond...horizon) }
  private mutating func add(_ action: Scenario.Action) { scenario.script.append((time(), action)) }

  private mutating func action() -> Scenario.Action {
    let copy = random.below(scenario.copies.count)
    switch random.below(7) {
    case 0: return .cancel(copy)
    case 1:
      if !random.happens(oneIn: 3) { scenario.script.append((time(), .resume(copy))) }
      return .pause(copy)
    case 2: return .resume(copy)
    case 3: return .rate(copy, random.pick([nil, 10_000, 1_000_000]))
    case 4: return .priority(copy, random.below(10))
    default:
      var shape = configuration()
      // Every copy must be able to have a sub-job of its own, however large its blocks.
      shape.transport = scenario.configuration.transport
      return .reshape(shape)
    }
  }
}
