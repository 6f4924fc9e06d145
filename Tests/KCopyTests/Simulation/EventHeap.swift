/// What is going to happen, by its time; of what happens at the same time, the first given comes first.
struct EventHeap {
  private struct Event {
    let time: UInt64
    let order: UInt64
    let happen: () -> Void

    func isBefore(_ other: Event) -> Bool { time != other.time ? time < other.time : order < other.order }
  }

  private var events: [Event] = []
  private var given: UInt64 = 0

  /// When the next event happens; `nil`: never.
  var nextTime: UInt64? { events.isEmpty ? nil : events[0].time }

  mutating func insert(at time: UInt64, _ happen: @escaping () -> Void) {
    given += 1
    events.append(Event(time: time, order: given, happen: happen))
    var child = events.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard events[child].isBefore(events[parent]) else { return }
      events.swapAt(child, parent)
      child = parent
    }
  }

  mutating func removeFirst() -> () -> Void {
    let first = events[0].happen
    let last = events.removeLast()
    guard !events.isEmpty else { return first }
    events[0] = last
    var parent = 0
    while true {
      let left = 2 * parent + 1
      guard left < events.count else { return first }
      let child = left + 1 < events.count && events[left + 1].isBefore(events[left]) ? left + 1 : left
      guard events[child].isBefore(events[parent]) else { return first }
      events.swapAt(child, parent)
      parent = child
    }
  }
}
