import FaultKit
import KCopy
import Testing

@Suite("A copy that begins paused")
struct StartPausedTests {
  @Test("Not a byte is read or written before it is resumed, and then all is", arguments: transports)
  func resumed(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let bytes = Pattern.bytes(1 << 20, seed: 1)
      let source = try bench.openFile("source", bytes, .reading)
      let disk = try bench.loop(size: 1 << 20)
      let before = try disk.fill(seed: 2)
      let destination = try bench.open(disk.path)
      let client = try bench.client(transport)
      var options = CopyOptions()
      options.startsPaused = true
      let (notified, passed) = (Notified(), Notified())
      let copy = try client.copy(from: Region(source), to: [Region(destination)], options: options, notify: notified.handler)
      #expect(copy.progress.pause == .user)
      // The client takes what it is given in turn: when this has come, the copy was looked at.
      for _ in 0..<2 { try client.prepareNotification(passed.handler).fire() }
      _ = try passed.wait(2)
      #expect(client.bytesRead == 0 && client.bytesWritten == 0 && copy.progress.startedAt == 0 && notified.all.isEmpty)
      #expect(Pattern.difference(try disk.contents(), from: before) == nil)
      copy.resume()
      #expect(try notified.wait()[0].isComplete)
      #expect(Pattern.difference(try disk.contents(), from: bytes) == nil)
    }
  }

  @Test("It can be cancelled and suspended without having begun", arguments: transports)
  func ended(_ transport: Client.Transport) throws {
    try withWorkbench { bench in
      let source = try bench.openFile("source", Pattern.bytes(1 << 16, seed: 1), .reading)
      let client = try bench.client(transport)
      var options = CopyOptions()
      options.startsPaused = true
      for isCancel in [true, false] {
        let destination = try bench.openFile("destination\(isCancel)", [UInt8](repeating: 0, count: 1 << 16), .writing(exclusive: true))
        let notified = Notified()
        let copy = try client.copy(from: Region(source), to: [Region(destination)], options: options, notify: notified.handler)
        if isCancel { copy.cancel() } else { copy.suspend() }
        let notification = try notified.wait()[0]
        #expect(notification.wasCancelled == isCancel && notification.wasSuspended != isCancel)
        #expect(notification.progress.destinations[0].bytesDone == 0 && client.bytesRead == 0)
      }
    }
  }
}
