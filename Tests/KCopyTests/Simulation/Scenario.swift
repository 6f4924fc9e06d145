import Glibc
import KCopy

/// What is simulated: devices, copies between them, the shape of the client, and what others do meanwhile.
struct Scenario {
  /// Where a region begins.
  struct Start {
    var device: Int
    var start: UInt64
  }

  struct CopySpec {
    /// `nil`: zeroes.
    var source: Start?
    var destinations: [Start]
    var count: UInt64
    var options = CopyOptions()
    /// What an earlier attempt has left on each destination; empty: nothing.
    var maps: [RangeMap] = []
    /// Whether it is flushed in its middle too, and looked at each time.
    var takesCheckpoints = false
    var at: UInt64 = 0
    /// It is given by the notification of that copy, and not at a time.
    var after: Int?
    /// It goes on where that copy was suspended, with its maps and in its place.
    var resumes: Int?
  }

  /// What is asked of the client from outside.
  enum Action {
    case cancel(Int)
    case suspend(Int)
    case pause(Int)
    case resume(Int)
    case rate(Int, UInt64?)
    case priority(Int, Int)
    /// Pages, sub-job, slots, throttle and rate.
    case reshape(Client.Configuration)
    case prepare(Int)
    case fire(Int)
    case drain(Int)
    /// Looks at what the copies publish, as if the power failed now.
    case inspect
    /// The hangs of a device end.
    case release(Int)
    /// So many flushes of a device fail from now on.
    case breakFlushes(Int, Int)
    /// The errors of a device go away.
    case heal(Int)
    case destroy
  }

  var seed: UInt64 = 0
  var devices: [DeviceSpec] = []
  var copies: [CopySpec] = []
  var configuration = Client.Configuration()
  /// Transfers in flight at once.
  var capacity = 1024
  var script: [(at: UInt64, action: Action)] = []
  /// A copy that an error paused is cancelled now and then, and not resumed.
  var cancelsPaused = false

  /// Whether nothing can go wrong or be slow, and nobody interferes.
  var isClean: Bool {
    devices.allSatisfy(\.isClean)
      && script.allSatisfy {
        switch $0.action {
        case .cancel, .suspend, .pause, .release, .breakFlushes, .heal: false
        default: true
        }
      }
  }
}
