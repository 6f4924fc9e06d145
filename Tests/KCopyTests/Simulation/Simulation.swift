import FaultKit
import Synchronization
import URing

@testable import KCopy

/// A scenario on its way: the engine on simulated devices, on the calling thread, and those who look on.
final class Simulation: @unchecked Sendable {
  let scenario: Scenario
  let world: SimulatedWorld
  let devices: [SimulatedDevice]
  let handles: [Device]
  let watches: [CopyWatch]
  let transfers: TransfersInFlight
  let mailbox: Mailbox
  let shared: ClientShared
  private(set) var configuration: Client.Configuration
  private var mostPages: Int
  private var isClosed = false
  private var isNotifying = false
  private var idleTimes = 0
  private var pausedTimes = 0
  private var turns: [Turn] = []
  private var prepared: [Int: PreparedNotification] = [:]
  private var fired: Set<Int> = []
  /// What came back, in order.
  private(set) var order: [String] = []

  /// What was given to the client, in order: a drain waits for all that is before it.
  private struct Turn {
    enum Kind: Equatable, CustomStringConvertible {
      case copy(Int)
      case prepared(Int)
      case drain(Int)

      var description: String {
        switch self {
        case .copy(let index): "copy \(index)"
        case .prepared(let number): "prepared \(number)"
        case .drain(let number): "drain \(number)"
        }
      }
    }

    let kind: Kind
    var ends = 0
  }

  init(_ scenario: Scenario, isLogging: Bool = false) throws {
    self.scenario = scenario
    let world = SimulatedWorld(seed: scenario.seed, isLogging: isLogging)
    let devices = scenario.devices.enumerated().map { SimulatedDevice($1, number: $0, world: world) }
    self.world = world
    self.devices = devices
    handles = devices.map { $0.open() }
    watches = scenario.copies.enumerated().map { CopyWatch($1, index: $0, world: world, devices: devices) }
    transfers = TransfersInFlight(world: world, capacity: scenario.capacity, devices: devices)
    mailbox = try Mailbox()
    configuration = scenario.configuration
    mostPages = configuration.pages
    shared = ClientShared(pages: configuration.pages)
    for watch in watches where watch.spec.resumes == nil { claim(watch) }
    for device in devices {
      device.whenFlushed = { [unowned self, number = device.number] in
        for watch in watches where watch.spec.destinations.contains(where: { $0.device == number }) {
          Judge(watch, world).judgePromised()
        }
      }
    }
    world.whenIdle = { [unowned self] in idle() }
  }

  private func claim(_ watch: CopyWatch) {
    let count = watch.spec.count
    if let source = watch.spec.source {
      devices[source.device].add(.init(range: source.start..<source.start + count, watch: watch, destination: nil))
    }
    for (index, destination) in watch.spec.destinations.enumerated() {
      let block = UInt64(devices[destination.device].spec.logicalBlock)
      let whole = (count + block - 1) / block * block
      devices[destination.device].add(.init(range: destination.start..<destination.start + whole, watch: watch, destination: index))
      guard !watch.spec.maps.isEmpty else { continue }
      for extent in watch.spec.maps[index].extents where extent.status == .durable {
        let bytes = watch.sourceDevice.map { $0.original((watch.spec.source?.start ?? 0) + extent.start) }
        devices[destination.device].preset(destination.start + extent.start, bytes, Int(extent.count))
      }
    }
  }

  /// Runs to the end, and judges it.
  func run() throws {
    let start = world.now
    world.log("\(configuration)")
    for watch in watches where watch.spec.after == nil && watch.spec.resumes == nil {
      world.at(start + watch.spec.at) { [unowned self] in post(watch) }
    }
    for step in scenario.script { world.at(start + step.at) { [unowned self] in perform(step.action) } }
    var engine = Engine(
      driver: SimulatedDriver(transfers: transfers, wakeUp: mailbox.wakeUp), memory: try Self.memory(configuration.pages, world),
      mailbox: mailbox, shared: shared, configuration: configuration)
    engine.run()
    judgeEnd()
  }

  /// The pages of a client, in one piece or several.
  private static func memory(_ pages: Int, _ world: SimulatedWorld) throws -> [TransferMemory] {
    var memories: [TransferMemory] = []
    var left = pages
    while left > 0 {
      // What is in several pieces can't hold a sub-job longer than each of them: large ones only, now and then.
      let part = left > 64 && world.random.happens(oneIn: 4) ? left / 2 : left
      guard let memory = TransferMemory(bytes: part * 4096) else { throw Missing("memory for \(part) pages") }
      memories.append(memory)
      left -= part
    }
    return memories
  }

  var pagesPeak: Int { shared.pagesPeak.load(ordering: .relaxed) }

  // MARK: What others do

  private func post(_ watch: CopyWatch) {
    guard !isClosed else { return }
    let spec = watch.spec
    func region(_ start: Scenario.Start) -> Region { Region(handles[start.device], start: start.start, count: spec.count) }
    var request = CopyRequest(
      source: spec.source.map(region), destinations: spec.destinations.map(region), options: spec.options, maps: spec.maps
    ) { [unowned self] in notified(watch, $0) }
    for index in request.maps.indices { request.maps[index].forgetUnflushed() }
    if spec.takesCheckpoints { request.checkpointed = { [unowned self] in checkpointed(watch) } }
    do throws(DeviceError) {
      try request.check()
    } catch {
      return world.complain("copy \(watch.index) is refused: \(error)")
    }
    let copy = Copy(request, mailbox: mailbox)
    watch.copy = copy
    watch.post()
    turns.append(Turn(kind: .copy(watch.index)))
    world.log("copy \(watch.index) is given: \(spec)")
    if !mailbox.post(.start(copy, request)) { world.complain("copy \(watch.index) isn't taken") }
  }

  /// Copies that are given by the notification of another, on the client's own thread.
  private func postFollowers(of watch: CopyWatch) {
    for follower in watches where follower.spec.after == watch.index { post(follower) }
    guard let notification = watch.notifications.last, notification.wasSuspended else { return }
    for next in watches where next.spec.resumes == watch.index {
      for device in devices { device.passClaims(of: watch, to: next) }
      next.goOn(from: notification.maps)
      post(next)
    }
  }

  private func perform(_ action: Scenario.Action) {
    world.log("\(action)")
    switch action {
    case .cancel(let index):
      guard let copy = watches[index].copy else { return }
      if !watches[index].isFinal, watches[index].cancelPostedAt == nil { watches[index].cancelPostedAt = world.now }
      copy.cancel()
    case .suspend(let index):
      guard let copy = watches[index].copy else { return }
      if !watches[index].isFinal, watches[index].suspendPostedAt == nil { watches[index].suspendPostedAt = world.now }
      copy.suspend()
    case .pause(let index):
      if watches[index].copy != nil { watches[index].pausePostedAt = world.now }
      watches[index].wasHeldUp = true
      watches[index].copy?.pause()
    case .resume(let index): resume(watches[index])
    case .rate(let index, let rate): watches[index].copy?.setRate(rate)
    case .priority(let index, let priority): watches[index].copy?.setPriority(priority)
    case .reshape(let wanted): reshape(wanted)
    case .prepare(let number): prepare(number)
    case .fire(let number): fire(number)
    case .drain(let number): drain(number)
    case .inspect: for watch in watches { Judge(watch, world).inspect() }
    case .release(let device): devices[device].release()
    case .breakFlushes(let device, let count): devices[device].breakFlushes(count)
    case .heal(let device): devices[device].heal()
    case .destroy: close()
    }
  }

  private func resume(_ watch: CopyWatch) {
    watch.pausePostedAt = nil
    watch.wasHeldUp = true
    watch.copy?.resume()
  }

  private func reshape(_ wanted: Client.Configuration) {
    guard !isClosed else { return }
    mostPages = max(mostPages, wanted.pages)
    let memory = wanted.pages == configuration.pages ? nil : try? Self.memory(wanted.pages, world)
    // Of fewer pages those in use go on; once it is taken no read begins with more.
    transfers.pageLimit = max(wanted.pages, configuration.pages)
    configuration = wanted
    world.after(Span.microsecond) { [unowned self] in transfers.pageLimit = configuration.pages }
    mailbox.post(.reshape(wanted, memory))
  }

  private func prepare(_ number: Int) {
    guard !isClosed else { return }
    let notification = PreparedNotification(mailbox: mailbox) { [unowned self] _ in ended(.prepared(number)) }
    prepared[number] = notification
    turns.append(Turn(kind: .prepared(number)))
    if !mailbox.post(.prepare(notification)) { world.complain("prepared notification \(number) isn't taken") }
  }

  private func fire(_ number: Int) {
    guard let notification = prepared[number] else { return }
    fired.insert(number)
    notification.fire()
  }

  private func drain(_ number: Int) {
    guard !isClosed else { return }
    turns.append(Turn(kind: .drain(number)))
    if !mailbox.post(.drain { [unowned self] in ended(.drain(number)) }) { world.complain("drain \(number) isn't taken") }
  }

  private func close() {
    isClosed = true
    _ = mailbox.close()
  }

  // MARK: What comes back

  private func notified(_ watch: CopyWatch, _ notification: KCopy.Notification) {
    world.log("copy \(watch.index) is notified: \(notification)")
    if isNotifying { world.complain("copy \(watch.index): a notification within another") }
    isNotifying = true
    watch.notified(notification)
    ended(.copy(watch.index))
    Judge(watch, world).judge(notification)
    postFollowers(of: watch)
    isNotifying = false
  }

  private func checkpointed(_ watch: CopyWatch) {
    world.log("copy \(watch.index) has a checkpoint: \(watch.copy.map { "\($0.progress)" } ?? "")")
    if isNotifying { world.complain("copy \(watch.index): a checkpoint within a notification") }
    watch.checkpointed()
    Judge(watch, world).inspect()
  }

  private func ended(_ kind: Turn.Kind) {
    world.log("\(kind) ends")
    order.append("\(kind)")
    guard let index = turns.firstIndex(where: { $0.kind == kind }) else { return world.complain("\(kind) was never given") }
    turns[index].ends += 1
    if turns[index].ends > 1 { world.complain("\(kind) ended twice") }
    if case .prepared(let number) = kind, !fired.contains(number) { world.complain("\(kind) ended before it was fired") }
    guard case .drain = kind else { return }
    for earlier in turns[..<index] where earlier.ends == 0 {
      if case .drain = earlier.kind { continue }
      world.complain("\(kind) came before \(earlier.kind)")
    }
  }

  /// Nothing happens by itself any more: sees to what somebody has to do.  Returns whether there was anything.
  private func idle() -> Bool {
    idleTimes += 1
    if idleTimes > 200 { return false }
    let unfinished = watches.filter { $0.copy != nil && !$0.isFinal }
    let holding = devices.filter(\.isHolding)
    if !holding.isEmpty {
      judgeIndependence(unfinished, holding)
      for device in holding { device.release() }
      return true
    }
    let unfired = prepared.keys.filter { !fired.contains($0) }.sorted()
    if !unfired.isEmpty {
      for number in unfired { fire(number) }
      return true
    }
    let paused = unfinished.filter { $0.copy?.progress.pause != nil }
    if !paused.isEmpty {
      endPause(of: paused)
      return true
    }
    if !isClosed, unfinished.isEmpty {
      close()
      return true
    }
    for watch in unfinished { world.complain("copy \(watch.index) hangs: \(String(describing: watch.copy?.progress))") }
    return false
  }

  private func endPause(of paused: [CopyWatch]) {
    pausedTimes += 1
    world.log("everything waits for copies that are paused")
    if pausedTimes == 2 { for device in devices { device.heal() } }
    for watch in paused {
      if pausedTimes > 8 || (scenario.cancelsPaused && world.random.happens(oneIn: 8)) {
        if watch.cancelPostedAt == nil { watch.cancelPostedAt = world.now }
        watch.copy?.cancel()
      } else {
        resume(watch)
      }
    }
  }

  // MARK: The end

  private func judgeEnd() {
    for turn in turns where turn.ends != 1 { world.complain("\(turn.kind) ended \(turn.ends) times") }
    if !transfers.isEmpty { world.complain("transfers are in flight at the end") }
    if devices.contains(where: \.isHolding) { world.complain("a device still holds something at the end") }
    let free = shared.pagesFree.load(ordering: .relaxed)
    if free != configuration.pages { world.complain("\(free) pages free at the end, of \(configuration.pages)") }
    if pagesPeak > mostPages { world.complain("\(pagesPeak) pages were in use at once, of \(mostPages)") }
    judgeCounts()
    for device in devices { judgeUntouched(device) }
    if scenario.isClean { for watch in watches { Judge(watch, world).judgeClean() } }
  }

  private func judgeCounts() {
    let read = shared.bytesRead.load(ordering: .relaxed)
    if read != transfers.bytesRead { world.complain("\(read) bytes read are counted, and \(transfers.bytesRead) were") }
    let zeroed = devices.reduce(0) { $0 + $1.bytesZeroed }
    let written = shared.bytesWritten.load(ordering: .relaxed)
    if written != transfers.bytesWritten + zeroed {
      world.complain("\(written) bytes written are counted, and \(transfers.bytesWritten) were, and \(zeroed) zeroed")
    }
  }

  private func judgeUntouched(_ device: SimulatedDevice) {
    // One of false capacity writes where it likes.
    guard device.spec.trueCapacity == nil else { return }
    var position: UInt64 = 0
    let written = device.claims.filter { $0.destination != nil }.sorted { $0.range.lowerBound < $1.range.lowerBound }
    for claim in written {
      if !device.isUntouched(position..<claim.range.lowerBound) { world.complain("device \(device.number) was written outside of regions") }
      position = claim.range.upperBound
    }
    if !device.isUntouched(position..<device.spec.size) { world.complain("device \(device.number) was written outside of regions") }
  }
}
