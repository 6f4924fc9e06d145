internal import CSystemShims
internal import KCopy
internal import Locking

/// What was asked once of file systems and disks, and stays as it is: a file system as long as it is mounted, a disk as long
/// as it has its sequence number.  Jobs of a few sectors would otherwise cost more questions than transfers.
final class KnownPlaces: Sendable {
  /// A device that is the same as it was, and leads to the same root.
  private struct Way: Hashable {
    let device: DeviceKey
    let sequence: UInt64
    let root: RootObject
  }

  private struct State {
    var systems: [UInt64: FileSystemIdentity] = [:]
    var roots: [Way: Fingerprint.Root] = [:]
  }

  private let state = Locked(State())
  /// More are not kept: who mounts again and again gets a new number each time.
  private static let most = 256

  /// The file system that a file is on.
  func fileSystem(of device: UInt64, descriptor: Int32) -> FileSystemIdentity {
    var facts = kcs_file_facts()
    guard unsafe kcs_file_facts(descriptor, &facts) == 0, facts.mount != 0 else {
      return FileSystemIdentity(of: device, mount: nil, descriptor: descriptor)
    }
    if let known = state.withLock({ $0.systems[facts.mount] }) { return known }
    let system = FileSystemIdentity(of: device, mount: facts.mount, descriptor: descriptor)
    state.withLock { state in
      if state.systems.count >= Self.most { state.systems = [:] }
      state.systems[facts.mount] = system
    }
    return system
  }

  /// What a block device leads to.
  func root(of endpoint: Endpoint, sequence: UInt64?) -> Fingerprint.Root {
    let way = sequence.map { Way(device: endpoint.device.key, sequence: $0, root: endpoint.root) }
    if let way, let known = state.withLock({ $0.roots[way] }) { return known }
    let root = Self.root(of: endpoint)
    if let way {
      state.withLock { state in
        if state.roots.count >= Self.most { state.roots = [:] }
        state.roots[way] = root
      }
    }
    return root
  }

  private static func root(of endpoint: Endpoint) -> Fingerprint.Root {
    switch endpoint.root.key {
    case .block(let number): return .disk(DiskIdentity(of: number))
    case .file(let device, let inode):
      let (found, loop) = RootObject.descent(from: endpoint.device.key)
      guard let loop, found == endpoint.root else { return .file(FileIdentity(device: device, inode: inode)) }
      return .file(FileIdentity(device: device, inode: inode, loop: loop))
    }
  }
}
