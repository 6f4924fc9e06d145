/// Who is next: first in, first out, without moving the others at each turn.
struct TurnQueue {
  private var tasks: [CopyTask] = []
  private var head = 0

  var first: CopyTask? { head < tasks.count ? tasks[head] : nil }
  var isEmpty: Bool { head == tasks.count }
  /// Those that wait, in turn.
  var waiting: ArraySlice<CopyTask> { tasks[head...] }

  mutating func append(_ task: CopyTask) { tasks.append(task) }

  mutating func removeFirst() {
    head += 1
    if head == tasks.count || head > 4096 {
      tasks.removeFirst(head)
      head = 0
    }
  }
}
