/// Who is next: first in, first out, without moving the others at each turn.
struct TurnQueue {
  private var tasks: [CopyTask] = []
  private var head = 0

  var first: CopyTask? { head < tasks.count ? tasks[head] : nil }
  /// Those that wait, in turn.
  var waiting: ArraySlice<CopyTask> { tasks[head...] }

  mutating func append(_ task: CopyTask) { tasks.append(task) }

  mutating func remove(_ task: CopyTask) {
    guard let place = waiting.firstIndex(where: { $0 === task }) else { return }
    tasks.remove(at: place)
  }

  mutating func removeFirst() {
    head += 1
    if head == tasks.count {
      tasks.removeAll(keepingCapacity: true)
      head = 0
    } else if head > 4096, head > tasks.count / 2 {
      tasks.removeFirst(head)
      head = 0
    }
  }
}
