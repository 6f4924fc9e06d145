import CSystemShims
import FaultKit
import Locking

@testable import KCopy

/// Runs a scenario on a thread of its own: an engine that hangs keeps that thread for good, and the tests go on.
enum Rehearsal {
  /// A real time that no scenario takes: an engine that turns in circles never asks its driver.
  private static let patience: UInt64 = 120 * Span.second

  /// Runs a scenario to its end.
  ///
  /// - Throws: `DeviceError` when there is no thread for it.
  static func run(_ scenario: Scenario, isLogging: Bool = false) throws -> Outcome {
    let ended = Semaphore()
    let outcome = Locked<Outcome?>(nil)
    let script = Script(scenario: scenario)
    let thread = try SystemThread("simulation") {
      let slot = CrashNote.begin(script.scenario.seed)
      defer { CrashNote.end(slot) }
      do {
        let simulation = try Simulation(script.scenario, isLogging: isLogging)
        let world = simulation.world
        world.giveUp = { [unowned simulation] in
          outcome.withLock { $0 = Outcome(of: simulation) }
          CrashNote.end(slot)
          ended.signal()
          while true { Semaphore().wait() }
        }
        defer { world.end() }
        try simulation.run()
        outcome.withLock { $0 = Outcome(of: simulation) }
      } catch {
        outcome.withLock { $0 = Outcome(complaint: "\(error)") }
      }
      ended.signal()
    }
    thread.detach()
    guard ended.wait(until: kcs_monotonic() + patience) else { return Outcome(complaint: "the engine doesn't come back") }
    return outcome.withLock { $0 } ?? Outcome(complaint: "no outcome")
  }

  private struct Script: @unchecked Sendable {
    // Nobody changes it.
    let scenario: Scenario
  }
}
