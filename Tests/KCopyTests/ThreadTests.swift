import CSystemShims
import FaultKit
import Locking
import Synchronization
import Testing

@testable import KCopy

@Suite("Threads and what wakes them")
struct ThreadTests {
  @Test("A thread runs its body once, on a thread of its own, under its name cut to 15 characters; a join waits for its end")
  func thread() throws {
    let facts = Locked<[(id: Int32, name: String)]>([])
    let thread = try SystemThread("a-name-of-more-than-15") {
      pause(.milliseconds(50))
      facts.withLock { $0.append((kcs_gettid(), (try? Files.text("/proc/thread-self/comm")) ?? "")) }
    }
    thread.join()
    let found = facts.withLock { $0 }
    #expect(found.count == 1 && found[0].name == "a-name-of-more-\n" && found[0].id != kcs_gettid())
  }

  @Test("A thread that is detached ends by itself, and lets go of what its body held")
  func detached() throws {
    final class Held: Sendable {}
    let done = Semaphore()
    weak var held: Held?
    do {
      let object = Held()
      held = object
      try SystemThread("detached") {
        withExtendedLifetime(object) {}
        done.signal()
      }.detach()
    }
    done.wait()
    try eventually("nothing holds it") { held == nil }
  }

  @Test("A thread whose body is over serves the next one under its name, holds nothing of the last, and is used by one at a time")
  func spareThreads() throws {
    let spare = SpareThreads(most: 1)
    let seen = Locked<[Int32: String]>([:])
    weak var held: AnyObject?
    /// Runs a body, and tells its thread.
    func served(_ name: String) throws -> Int32 {
      final class Object: Sendable {}
      let object = Object()
      held = object
      let thread = Locked<Int32>(0)
      let done = Semaphore()
      try spare.run(name) {
        let number = kcs_gettid()
        let text = (try? Files.text("/proc/self/task/\(number)/comm")) ?? ""
        seen.withLock { $0[number] = text }
        withExtendedLifetime(object) { thread.withLock { $0 = number } }
        done.signal()
      }
      #expect(done.wait(until: kcs_monotonic() + 30_000_000_000))
      return thread.withLock { $0 }
    }
    let first = try served("first")
    #expect(seen.withLock { $0[first] } == "first\n")
    var name = 0
    try eventually("a thread serves again") {
      name += 1
      let known = Set(seen.withLock { $0.keys })
      let thread = try served("again\(name)")
      #expect(seen.withLock { $0[thread] } == "again\(name)\n")
      return known.contains(thread)
    }
    try eventually("nothing holds what the body held") { held == nil }
    // One that is at work is not spare.
    let (begun, end, other) = (Semaphore(), Semaphore(), Semaphore())
    try spare.run("long") {
      begun.signal()
      end.wait()
    }
    begun.wait()
    try spare.run("other") { other.signal() }
    #expect(other.wait(until: kcs_monotonic() + 30_000_000_000))
    end.signal()
  }

  @Test("Work is done in the order it was given, on one thread, that before a finish too; after it work is refused")
  func blockingThread() throws {
    let thread = BlockingThreads("blocking", most: 1)
    let order = Locked<[Int]>([])
    let threads = Locked<Set<Int32>>([])
    let done = Semaphore()
    #expect(thread.perform { pause(.milliseconds(30)) })
    for number in 0..<100 {
      #expect(
        thread.perform {
          order.withLock { $0.append(number) }
          threads.withLock { _ = $0.insert(kcs_gettid()) }
          if number == 99 { done.signal() }
        })
    }
    thread.finish()
    #expect(!thread.perform { order.withLock { $0.append(-1) } })
    #expect(done.wait(until: kcs_monotonic() + 30_000_000_000))
    #expect(order.withLock { $0 } == Array(0..<100))
    #expect(threads.withLock { $0.count } == 1)
  }

  @Test("Work from many threads that race with a finish is done once if it was taken, and else never")
  func racingFinish() throws {
    for round in 0..<20 {
      let thread = BlockingThreads("blocking", most: 1)
      let done = Locked<[Int]>([])
      let taken = Locked<[Int]>([])
      let givers = try (0..<4).map { giver in
        try SystemThread("giver") {
          for number in 0..<50 {
            let work = giver * 50 + number
            if thread.perform({ done.withLock { $0.append(work) } }) { taken.withLock { $0.append(work) } }
          }
        }
      }
      pause(.microseconds(Int.random(in: 0...300)))
      thread.finish()
      for giver in givers { giver.join() }
      let expected = taken.withLock { $0.sorted() }
      try eventually("what was taken is done in round \(round)") { done.withLock { $0.count } >= expected.count }
      #expect(done.withLock { $0.sorted() } == expected)
    }
  }

  @Test("The last work of a finish comes after all other, on threads that race for it too, and is done once", arguments: [0, 1, 4])
  func lastWork(_ givers: Int) throws {
    for _ in 0..<50 {
      let threads = BlockingThreads("blocking", most: 4)
      let done = Locked(0)
      let taken = Locked(0)
      let doneAtLast = Locked<[Int]>([])
      let ended = Semaphore()
      let working = try (0..<givers).map { _ in
        try SystemThread("giver") {
          for _ in 0..<20 where threads.perform({ done.withLock { $0 += 1 } }) {
            taken.withLock { $0 += 1 }
          }
        }
      }
      let isTaken = threads.finish(last: {
        let count = done.withLock { $0 }
        doneAtLast.withLock { $0.append(count) }
        ended.signal()
      })
      #expect(isTaken && !threads.finish(last: {}))
      for giver in working { giver.join() }
      #expect(ended.wait(until: kcs_monotonic() + 30_000_000_000))
      #expect(doneAtLast.withLock { $0 } == [taken.withLock { $0 }])
    }
  }

  @Test("A wake-up wakes a thread that waits, and one that is about to; a wait takes all the signals there were")
  func wakeUp() throws {
    let wakeUp = try WakeUp()
    wakeUp.signal()
    wakeUp.signal()
    wakeUp.wait()
    let woken = Semaphore()
    let thread = try SystemThread("waiter") {
      wakeUp.wait()
      woken.signal()
    }
    #expect(!woken.wait(until: kcs_monotonic() + 50_000_000), "both signals were taken")
    wakeUp.signal()
    #expect(woken.wait(until: kcs_monotonic() + 30_000_000_000))
    thread.join()
  }

  @Test("A semaphore gives each signal to one wait; a wait with a deadline ends then, not before")
  func semaphore() throws {
    let semaphore = Semaphore()
    for _ in 0..<3 { semaphore.signal() }
    for _ in 0..<3 { #expect(semaphore.wait(until: 0), "a signal counts even when it is late") }
    let begin = kcs_monotonic()
    #expect(!semaphore.wait(until: begin + 60_000_000))
    #expect(kcs_monotonic() >= begin + 60_000_000)
    #expect(!semaphore.wait(until: 0))
    let thread = try SystemThread("signaller") {
      pause(.milliseconds(30))
      semaphore.signal()
    }
    #expect(semaphore.wait(until: begin + 30_000_000_000))
    thread.join()
    #expect(!semaphore.wait(until: kcs_monotonic()))
  }

  @Test("Signals from many threads are as many waits")
  func manySignals() throws {
    let semaphore = Semaphore()
    let count = Atomic(0)
    let waiters = try (0..<3).map { _ in
      try SystemThread("waiter") {
        for _ in 0..<200 {
          semaphore.wait()
          count.add(1, ordering: .relaxed)
        }
      }
    }
    let signallers = try (0..<3).map { _ in
      try SystemThread("signaller") { for _ in 0..<200 { semaphore.signal() } }
    }
    for thread in signallers + waiters { thread.join() }
    #expect(count.load(ordering: .relaxed) == 600)
    #expect(!semaphore.wait(until: 0))
  }
}
