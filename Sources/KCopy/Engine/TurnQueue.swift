/// Who is next: the shares of a client in turn, in a share the copies of the first priority, and of those one after the other.
///
/// So whoever has a hundred thousand copies under way gets one sub-job, as whoever has one does.
struct TurnQueue {
  /// What one share has waiting, by priority.
  private struct Share {
    let number: UInt64
    var levels = Array(repeating: Line(), count: 10)

    var level: Int? { levels.firstIndex { !$0.isEmpty } }
  }

  /// Those that have something waiting.
  private var shares: [Share] = []
  /// Whose turn it is.
  private var turn = 0

  /// The next one.
  var first: CopyTask? {
    guard turn < shares.count, let level = shares[turn].level else { return nil }
    return shares[turn].levels[level].first
  }

  /// Those that wait, of the share whose turn it is first.
  var waiting: [CopyTask] { (shares[turn...] + shares[..<turn]).flatMap { $0.levels.flatMap(\.waiting) } }

  mutating func append(_ task: CopyTask) {
    if let share = shares.firstIndex(where: { $0.number == task.share }) { return shares[share].levels[task.priority].append(task) }
    var share = Share(number: task.share)
    share.levels[task.priority].append(task)
    // Behind all others: whose turn it is keeps it.
    shares.insert(share, at: turn)
    turn = shares.count == 1 ? 0 : turn + 1
  }

  mutating func remove(_ task: CopyTask) {
    guard let share = shares.firstIndex(where: { $0.number == task.share }) else { return }
    shares[share].levels[task.priority].remove(task)
    leave(share)
  }

  /// The first has nothing to start; its share has had no turn by that.
  mutating func removeFirst() {
    guard let level = shares[turn].level else { return }
    shares[turn].levels[level].removeFirst()
    leave(turn)
  }

  /// The first has had its turn, and takes the last place of its share.
  ///
  /// - Parameter stays: whether it has more to start.
  mutating func passTurn(stays: Bool) {
    guard let task = first, let level = shares[turn].level else { return }
    shares[turn].levels[level].removeFirst()
    if stays { shares[turn].levels[level].append(task) }
    if shares[turn].level == nil { leave(turn) } else { turn = (turn + 1) % shares.count }
  }

  private mutating func leave(_ share: Int) {
    guard shares[share].level == nil else { return }
    shares.remove(at: share)
    if share < turn { turn -= 1 }
    if turn == shares.count { turn = 0 }
  }
}

/// First in, first out, without moving the others at each turn.
private struct Line {
  private var tasks: [CopyTask] = []
  private var head = 0

  var isEmpty: Bool { head == tasks.count }
  var first: CopyTask? { head < tasks.count ? tasks[head] : nil }
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
