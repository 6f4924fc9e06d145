/// A job as the database keeps it; what the texts say is not the journal's business.
public struct JobRow: Sendable, Equatable {
  public var id: UInt64
  public var name: String
  public var uid: UInt32
  public var gid: UInt32
  /// The mode bits of its directory.
  public var mode: UInt32
  /// As whom its paths are opened.
  public var caller: String
  /// The record, resolved.
  public var spec: String
  /// What the source is known by; empty where there is none.
  public var source: String
  /// The length of the region, in bytes; `nil` while it isn't known.
  public var bytesTotal: UInt64?
  /// What `ctl` asked for, and still holds.
  public var ctl: String
  /// Nanoseconds since the epoch.
  public var queuedAt: UInt64
  public var standing: Standing
  /// What each destination is known by, in their order.
  public var devices: [String]
  /// The jobs that it comes after.
  public var predecessors: String

  public init(
    id: UInt64, name: String, uid: UInt32, gid: UInt32, mode: UInt32, caller: String, spec: String, source: String, bytesTotal: UInt64?,
    ctl: String, queuedAt: UInt64, standing: Standing, devices: [String], predecessors: String = ""
  ) {
    self.id = id
    self.name = name
    self.uid = uid
    self.gid = gid
    self.mode = mode
    self.caller = caller
    self.spec = spec
    self.source = source
    self.bytesTotal = bytesTotal
    self.ctl = ctl
    self.queuedAt = queuedAt
    self.standing = standing
    self.devices = devices
    self.predecessors = predecessors
  }
}

/// How far a job is.
public struct Standing: Sendable, Equatable {
  /// One destination.
  public struct Destination: Sendable, Equatable {
    public var progress: String
    public var map: [UInt8]

    public init(progress: String, map: [UInt8]) {
      self.progress = progress
      self.map = map
    }
  }

  public var state: String
  public var attempt: UInt64
  public var progress: String
  /// Nanoseconds since the epoch; 0 where it has not happened.
  public var startedAt: UInt64
  public var finishedAt: UInt64
  /// All of them in their order.
  public var destinations: [Destination]

  public init(state: String, attempt: UInt64, progress: String, startedAt: UInt64, finishedAt: UInt64, destinations: [Destination]) {
    self.state = state
    self.attempt = attempt
    self.progress = progress
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.destinations = destinations
  }
}

/// How a job ended that is gone, and that another one comes after.
public struct EndRow: Sendable, Equatable {
  public var id: UInt64
  public var state: String

  public init(id: UInt64, state: String) {
    self.id = id
    self.state = state
  }
}

/// A client as the database keeps it.
public struct ClientRow: Sendable, Equatable {
  public var name: String
  public var uid: UInt32
  public var gid: UInt32
  /// The mode bits of its directory.
  public var mode: UInt32
  /// Nanoseconds since the epoch.
  public var madeAt: UInt64
  public var pages: UInt64
  public var throttle: UInt64
  /// Bytes per second; `nil` for no limit.
  public var rate: UInt64?
  public var subjob: UInt64
  public var slots: UInt64
  public var maxJobs: UInt64

  public init(
    name: String, uid: UInt32, gid: UInt32, mode: UInt32, madeAt: UInt64, pages: UInt64, throttle: UInt64, rate: UInt64?, subjob: UInt64,
    slots: UInt64, maxJobs: UInt64
  ) {
    self.name = name
    self.uid = uid
    self.gid = gid
    self.mode = mode
    self.madeAt = madeAt
    self.pages = pages
    self.throttle = throttle
    self.rate = rate
    self.subjob = subjob
    self.slots = slots
    self.maxJobs = maxJobs
  }
}

/// All that is kept: what a database begins with that is made anew.
public struct Contents: Sendable, Equatable {
  /// Ascending by their numbers.
  public var jobs: [JobRow]
  public var clients: [ClientRow]
  public var ends: [EndRow]

  public init(jobs: [JobRow], clients: [ClientRow], ends: [EndRow] = []) {
    self.jobs = jobs
    self.clients = clients
    self.ends = ends
  }
}

/// Something to be written down.
public enum Change: Sendable {
  /// Jobs that are accepted together, or not at all.
  case accept([JobRow])
  /// A job with all that is known of it, in the place of what was known.
  case replace(JobRow)
  /// How far a job is, or how it ended.
  case standing(UInt64, Standing)
  /// How far a job is when the change is written: asked for then, and never ahead of what is on the media.
  case checkpoint(UInt64, @Sendable () -> Standing?)
  /// What `ctl` asked for, and the mode bits.
  case control(UInt64, ctl: String, mode: UInt32)
  case remove(UInt64)
  case putEnd(EndRow)
  case removeEnd(UInt64)
  case putClient(ClientRow)
  case removeClient(String)
}
