import CopyJobs
import FuseKit
import Locking
import Testing

@testable import JobFS

@Suite("A reply that several would like to give")
struct PendingReplyTests {
  /// What became of a token: answered with a number, failed, or dropped.
  final class Log: Sendable {
    let lines = Locked<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
  }

  struct Token: ~Copyable, ReplyToken {
    let log: Log
    private var isDone = false

    init(_ log: Log) { self.log = log }

    consuming func succeed(_ number: Int) {
      log.add("\(number)")
      isDone = true
    }

    consuming func fail(_ errno: Int32) {
      log.add("errno \(errno)")
      isDone = true
    }

    deinit { if !isDone { log.add("dropped") } }
  }

  private static func reply(_ log: Log) -> PendingReply<Token> {
    PendingReply(held: Token(log)) { (token, result: Result<Int, Refusal>) in
      switch result {
      case .success(let number): token.succeed(number)
      case .failure(let refusal): token.fail(refusal.errno)
      }
    }
  }

  @Test("The first who claims it answers, and who comes between takes nothing from them")
  func claims() {
    let log = Log()
    let reply = Self.reply(log)
    #expect(reply.claim())
    #expect(!reply.claim() && !reply.claim() && log.all.isEmpty)
    reply.answer(.success(7))
    #expect(log.all == ["7"] && !reply.claim())
  }

  @Test("A refusal is its errno; a reply that nobody claims answers by itself")
  func refusals() {
    let log = Log()
    let reply = Self.reply(log)
    #expect(reply.claim())
    reply.answer(.failure(Refusal(errno: 16, column: 0, text: "")))
    #expect(log.all == ["errno 16"])
    _ = Self.reply(log)
    #expect(log.all == ["errno 16", "dropped"])
  }
}
