import CSystemShims
import FaultKit
import Foundation
import Glibc
import Journal
import Locking
import Testing

/// The error of a journal that can't be opened, or `nil` when it could.
func refusal(of directory: String) -> JournalError? {
  do throws(JournalError) {
    _ = try Journal(directory: directory)
    return nil
  } catch {
    return error
  }
}

/// Opens a journal that may have been open before in this process: a child that another test is starting may hold a copy of its lock
/// until its exec.
func opened(_ directory: String?, patience: UInt64 = 1_000_000_000) throws -> Journal {
  var journal: Journal?
  try eventually("the lock of \(directory ?? "nothing") is free") {
    do throws(JournalError) {
      journal = try Journal(directory: directory, patience: patience)
      return true
    } catch {
      if error.text.contains("another kcopyfs") { return false }
      throw error
    }
  }
  return try #require(journal)
}

/// Opens a journal and has a thread serve it, as in a daemon; closes both at the end.
///
/// - Parameters:
///   - memory: what stands in memory; `nil` when that is gone.
///   - patience: how long it takes until a disk that failed is tried again; nanoseconds.
func withJournal<R>(
  _ directory: String?, _ memory: Memory? = Memory(), patience: UInt64 = 50_000_000, _ body: (Journal) throws -> R
) throws -> R {
  let journal = try opened(directory, patience: patience)
  Thread.detachNewThread { journal.serve { memory?.contents } }
  let result: R
  do {
    result = try body(journal)
  } catch {
    _ = journal.close(until: soon)
    throw error
  }
  try #require(journal.close(until: soon), "the journal closes")
  return result
}

/// When what should have happened long ago is overdue.
private var soon: UInt64 { kcs_monotonic() + 10_000_000_000 }

/// The next numbers of a journal.
func numbers(_ count: Int, of journal: Journal) throws -> [UInt64] {
  try (0..<count).map { _ in try journal.nextNumber() }
}

/// Gives back what `fill` took: by cutting the file, which doesn't wait for whoever may still have it open.
func makeRoom(_ directory: String) throws {
  try Files.write(directory + "/filler", [])
}

/// Takes all room of a file system, to the last byte.
func fill(_ directory: String) throws {
  let file = try OpenFile(directory + "/filler", O_WRONLY | O_CREAT)
  for size in [4096, 1] {
    _ = try errnoName { while true { try file.writeAll([UInt8](repeating: 1, count: size)) } }
  }
  try file.close()
}
