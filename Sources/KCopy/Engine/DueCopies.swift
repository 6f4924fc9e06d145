/// Moments at which something of a copy is due, the earliest first: looked at ever so often, whatever their number.
///
/// A moment that is no longer planned stays until it comes first; who takes it finds out.
struct DueCopies {
  /// A moment, and the copy by its place and its turn: places are used again, turns are not.
  struct Due {
    let time: UInt64
    let task: Int
    let serial: UInt64

    fileprivate func isBefore(_ other: Due) -> Bool { time != other.time ? time < other.time : serial < other.serial }
  }

  /// A binary heap: nobody comes before the one at half its place.
  private var heap: [Due] = []

  var first: Due? { heap.first }

  mutating func insert(_ due: Due) {
    heap.append(due)
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard heap[child].isBefore(heap[parent]) else { return }
      heap.swapAt(child, parent)
      child = parent
    }
  }

  mutating func removeFirst() {
    let last = heap.removeLast()
    guard !heap.isEmpty else { return }
    heap[0] = last
    var parent = 0
    while 2 * parent + 1 < heap.count {
      let left = 2 * parent + 1
      let child = left + 1 < heap.count && heap[left + 1].isBefore(heap[left]) ? left + 1 : left
      guard heap[child].isBefore(heap[parent]) else { return }
      heap.swapAt(child, parent)
      parent = child
    }
  }
}
