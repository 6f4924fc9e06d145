internal import CSystemShims
internal import Glibc
public import KCopy
internal import Locking

/// The only code that opens what others name.
///
/// A path is resolved once, to an O_PATH descriptor; that is looked at, and opened again by its number.  So nobody can
/// put another file behind the name between the look and the open.  All of it is done with the rights of the caller, so the
/// kernel decides what they may open; what is asked about the device beyond that is the daemon's.
public final class Admission: Sendable {
  private let table: DeviceTable
  /// `st_dev` of our own mount: a path in there would wait for ourselves.
  private let ownMount = Locked<UInt64?>(nil)
  private let places = KnownPlaces()
  let mounted = MountedDevices()
  /// How many have a share of a source beside the first, by its device.
  private let sharers = Locked<[ObjectIdentifier: Int]>([:])

  public init(table: DeviceTable) { self.table = table }

  /// Tells where this program is mounted, once it is.
  public func setOwnMount(_ path: String) throws(Objection) {
    let descriptor = unsafe kcs_openat_no_magiclinks(AT_FDCWD, path, kcs_O_PATH, 0)
    guard descriptor >= 0 else { throw Objection(-descriptor, "\(path): \(Self.text(-descriptor))") }
    defer { _ = kcs_close(descriptor) }
    // Not by `facts`, which would wait for ourselves.
    var device: UInt64 = 0
    let result = unsafe kcs_file_device(descriptor, &device)
    guard result == 0 else { throw Objection(-result, "\(path): \(Self.text(-result))") }
    ownMount.withLock { $0 = device }
  }

  /// Opens a source: for reading, and never exclusively.
  public func openSource(_ path: String, for caller: Caller) throws(Objection) -> Endpoint {
    let (descriptor, key) = try find(path, for: caller)
    defer { _ = kcs_close(descriptor) }
    let device = try naming(path, key) { () throws(DeviceError) in try open(descriptor, .reading, for: caller) }
    return Endpoint(path, device, isShared: false, created: nil)
  }

  /// Opens a destination: for writing, exclusively unless a copy of ours has it already.
  ///
  /// - Parameters:
  ///   - creates: makes a regular file where nothing is.
  ///   - syncsDirectory: the file may have been made for this copy before a restart, by a daemon that didn't come to flush
  ///     its name: so the first flush takes the directory along, as that of a file that is made now does.
  public func openDestination(
    _ path: String, creates: Bool, syncsDirectory: Bool = false, for caller: Caller
  ) throws(Objection) -> Endpoint {
    let (descriptor, key): (Int32, DeviceKey)
    do throws(Objection) {
      (descriptor, key) = try find(path, for: caller)
    } catch {
      guard creates, error.errno == ENOENT else { throw error }
      return try create(path, for: caller)
    }
    defer { _ = kcs_close(descriptor) }
    let endpoint = try share(descriptor, key, path, for: caller, created: nil)
    // What lies among devices is in memory, and no copy has made it.
    if syncsDirectory, case .file(let fileSystem, _) = key, !FileSystems.isDevices(fileSystem) {
      do throws(Objection) {
        try syncDirectory(of: endpoint, for: caller)
      } catch {
        undo(endpoint)
        throw error
      }
    }
    return endpoint
  }

  private func syncDirectory(of endpoint: Endpoint, for caller: Caller) throws(Objection) {
    let place = try place(for: endpoint.path, caller)
    // A name that leads elsewhere now, by a symbolic link for one, is not the one that was made.
    if place.holds(endpoint.device.key) { endpoint.device.syncsToo(directory: place.directory) } else { _ = kcs_close(place.directory) }
  }

  /// Whether something exists under a path, a symbolic link that leads nowhere included.
  public func exists(_ path: String, for caller: Caller) -> Bool {
    guard let descriptor = try? caller.opening(path, { () throws(Objection) in try caller.openPath(path, follow: false) }) else {
      return false
    }
    _ = kcs_close(descriptor)
    return true
  }

  /// Takes one more share of what is open, for the caller whom it was opened for: each share is given back by itself.
  public func share(_ endpoint: Endpoint) {
    if endpoint.isShared {
      table.shareAgain(endpoint.device)
    } else {
      sharers.withLock { $0[ObjectIdentifier(endpoint.device), default: 0] += 1 }
    }
  }

  /// Whether somebody else keeps the source open: then a share of it was given back.
  private func leaveToOthers(_ device: Device) -> Bool {
    sharers.withLock { sharers in
      guard let others = sharers[ObjectIdentifier(device)] else { return false }
      sharers[ObjectIdentifier(device)] = others > 1 ? others - 1 : nil
      return true
    }
  }

  /// Gives an endpoint back; `done` is called once nothing of it is open: with 0, or the errno of `close(2)`.
  public func close(_ endpoint: Endpoint, _ done: @escaping @Sendable (Int32) -> Void) {
    if endpoint.isShared { return table.release(endpoint.device, done: done) }
    if leaveToOthers(endpoint.device) { done(0) } else { endpoint.device.close(done) }
  }

  /// Undoes an open whose record is refused: a file that was made for it is gone, and a device is free on return.
  ///
  /// A file that another record writes to by now is that one's, and stays.
  public func undo(_ endpoint: Endpoint) {
    let closed = Semaphore()
    if let created = endpoint.created {
      table.release(endpoint.device) {
        created.remove(endpoint.device.key)
      } done: { _ in
        closed.signal()
      }
    } else {
      close(endpoint) { _ in closed.signal() }
    }
    closed.wait()
  }

  // MARK: Steps

  /// Walks a path and looks at what it leads to, before it is opened.
  func find(_ path: String, for caller: Caller) throws(Objection) -> (descriptor: Int32, key: DeviceKey) {
    try caller.opening(path) { () throws(Objection) in
      let descriptor = try caller.openPath(path)
      do throws(Objection) {
        return (descriptor, try examine(descriptor, path, for: caller))
      } catch {
        _ = kcs_close(descriptor)
        throw error
      }
    }
  }

  /// Opens what was found; the threads of the device are not begun as the caller.
  private func open(_ descriptor: Int32, _ access: Device.Access, for caller: Caller, directory: Int32? = nil) throws(DeviceError) -> Device
  {
    let opened = try caller.acting(failure: Caller.refused) { () throws(DeviceError) in
      try OpenDescriptions(of: descriptor, access: access)
    }
    return try Device(opened, access: access, directory: directory)
  }

  func facts(of descriptor: Int32, _ path: String) throws(Objection) -> kcs_file_facts {
    var facts = kcs_file_facts()
    let result = unsafe kcs_file_facts(descriptor, &facts)
    guard result == 0 else { throw Objection(-result, "\(path): \(Self.text(-result))") }
    return facts
  }

  /// A path in our own mount would wait for ourselves, and what is written into another mount of this program is a record.
  private func refuseOwn(_ path: String, _ descriptor: Int32, _ device: UInt64) throws(Objection) {
    if device == ownMount.withLock({ $0 }) { throw Objection(ELOOP, "\(path) is in this mount itself") }
    if FileSystems.isOurs(descriptor, device) { throw Objection(ELOOP, "\(path) is in another mount of kcopyfs") }
  }

  /// Looks at what a path led to, before it is opened.
  private func examine(_ descriptor: Int32, _ path: String, for caller: Caller) throws(Objection) -> DeviceKey {
    let facts = try facts(of: descriptor, path)
    try refuseOwn(path, descriptor, facts.device)
    let isFile = kcs_is_regular_file(facts.mode) != 0
    guard isFile || kcs_is_block_device(facts.mode) != 0 else {
      throw Objection(EINVAL, "\(path) is neither a block device nor a regular file")
    }
    if isFile, !FileSystems.allows(descriptor) { throw Objection(EPERM, "\(path) is on a file system that is not for copying") }
    if !isFile, caller.root?.hasOwnDevices == false {
      throw Objection(EPERM, "\(path) is a device, and the caller is in other control groups, whose rules on devices can't be asked for")
    }
    return try naming(path, nil) { () throws(DeviceError) in try DeviceKey(descriptor: descriptor) }
  }

  private func share(
    _ descriptor: Int32, _ key: DeviceKey, _ path: String, for caller: Caller, created: CreatedFile?
  ) throws(Objection) -> Endpoint {
    var isFirst = false
    let device = try naming(path, key) { () throws(DeviceError) in
      try table.share(key) { (access) throws(DeviceError) in
        // Removed since the path was walked, by a refused record that had made it: what is written there nobody would find.
        guard try Self.isNamed(descriptor) else { throw DeviceError(errno: ENOENT, call: "open") }
        isFirst = access == .writing(exclusive: true)
        return try open(descriptor, access, for: caller, directory: isFirst ? created?.directory : nil)
      }
    }
    // Another record opened the file before us who made it; then it is one that was there.  Its name is as new for that.
    if !isFirst, let created { device.syncsToo(directory: created.directory) }
    return Endpoint(path, device, isShared: true, created: isFirst ? created : nil)
  }

  private static func isNamed(_ descriptor: Int32) throws(DeviceError) -> Bool {
    var facts = kcs_file_facts()
    let result = unsafe kcs_file_facts(descriptor, &facts)
    guard result == 0 else { throw DeviceError(errno: -result, call: "statx") }
    return facts.links > 0
  }

  /// The directory that a file is to be made in, and the name it is to have.
  private func place(for path: String, _ caller: Caller) throws(Objection) -> CreatedFile {
    let slash = path.lastIndex(of: "/") ?? path.startIndex
    let (parent, name) = (String(path[...slash]), String(path[path.index(after: slash)...]))
    guard !name.isEmpty else { throw Objection(EISDIR, "\(path): \(Self.text(EISDIR))") }
    let place = try caller.opening(path) { () throws(Objection) in try caller.openPath(parent) }
    defer { _ = kcs_close(place) }
    let facts = try facts(of: place, parent)
    try refuseOwn(path, place, facts.device)
    guard !FileSystems.isDevices(facts.device) else {
      throw Objection(ENOENT, "\(path) doesn't exist, and create=yes makes no files among devices")
    }
    guard FileSystems.allows(place) else { throw Objection(EPERM, "\(path) is on a file system that is not for copying") }
    // By the daemon: a directory that its caller may write but not list has to be flushed too, and nothing else is done by this.
    let directory = unsafe kcs_openat(place, ".", O_RDONLY | O_DIRECTORY, 0)
    guard directory >= 0 else { throw Objection(-directory, "\(parent): \(Self.text(-directory))") }
    return CreatedFile(directory: directory, name: name, caller: caller)
  }

  /// A file that `create=yes` would make: whether it could, nothing is done.
  ///
  /// - Throws: what making it would fail with, as far as that can be said before.
  public func missingFile(_ path: String, for caller: Caller) throws(Objection) -> MissingFile {
    let place = try place(for: path, caller)
    defer { _ = kcs_close(place.directory) }
    let result = try caller.opening(path) { () throws(Objection) in kcs_may_write_directory(place.directory) }
    guard result == 0 else { throw Objection(-result, "\(path): \(Self.text(-result))") }
    let facts = try facts(of: place.directory, path)
    return MissingFile(device: facts.device, directory: facts.inode, name: place.name)
  }

  /// What a person knows a device by: model and serial number where it has them.
  public func label(of endpoint: Endpoint) -> String { Identity.label(of: endpoint.device.key) ?? endpoint.identity }

  /// What an endpoint is known again by, later or after a restart.
  ///
  /// Asks the kernel, and a file's file system; so it's nothing for a thread that must not block.
  public func fingerprint(of endpoint: Endpoint) -> Fingerprint { Fingerprint(of: endpoint, in: places) }

  private func create(_ path: String, for caller: Caller) throws(Objection) -> Endpoint {
    let created = try place(for: path, caller)
    let (file, key): (Int32, DeviceKey)
    do throws(Objection) {
      file = try caller.opening(path) { () throws(Objection) in try created.make(0o666 & ~caller.umask, path) }
    } catch {
      _ = kcs_close(created.directory)
      throw error
    }
    defer { _ = kcs_close(file) }
    do throws(Objection) {
      key = try naming(path, nil) { () throws(DeviceError) in try DeviceKey(descriptor: file) }
      return try share(file, key, path, for: caller, created: created)
    } catch {
      if let key = try? DeviceKey(descriptor: file) { created.remove(key) }
      _ = kcs_close(created.directory)
      throw error
    }
  }

  private func naming<T>(_ path: String, _ key: DeviceKey?, _ body: () throws(DeviceError) -> T) throws(Objection) -> T {
    do throws(DeviceError) {
      return try body()
    } catch {
      if error.errno == EBUSY, let key { throw Objection(EBUSY, "\(path): \(Holder.of(key))") }
      if error.isForWantOfThread { throw Objection(ENOBUFS, "\(path): the daemon can have no thread for it") }
      throw Objection(error.errno, "\(path): \(Self.text(error.errno))")
    }
  }

  static func text(_ errno: Int32) -> String {
    unsafe String(cString: strerror(errno))
  }
}

extension Caller {
  /// The kernel doesn't let a thread be the caller.
  fileprivate static func refused(_ errno: Int32) -> DeviceError { DeviceError(errno: errno, call: "setresuid") }

  /// Does something about a path with the caller's rights.
  func opening<R>(_ path: String, _ body: () throws(Objection) -> R) throws(Objection) -> R {
    let failure: (Int32) -> Objection = { Objection($0, "\(path): the daemon can't act as uid \(self.uid): \(Admission.text($0))") }
    return try acting(failure: failure, body)
  }

  /// Walks a path from the caller's root, on a thread that acts as the caller.
  fileprivate func openPath(_ path: String, follow: Bool = true) throws(Objection) -> Int32 {
    let flags = kcs_O_PATH | (follow ? 0 : O_NOFOLLOW)
    let result =
      if let root {
        unsafe kcs_openat_in_root(root.descriptor, path, flags, 0)
      } else {
        unsafe kcs_openat_no_magiclinks(AT_FDCWD, path, flags, 0)
      }
    guard result >= 0 else { throw Objection(-result, "\(path): \(Admission.text(-result))") }
    return result
  }
}

extension CreatedFile {
  /// Makes the file, on a thread that acts as its caller.
  fileprivate func make(_ mode: UInt32, _ path: String) throws(Objection) -> Int32 {
    let file = unsafe kcs_openat(directory, name, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, mode)
    guard file >= 0 else { throw Objection(-file, "\(path): \(Admission.text(-file))") }
    return file
  }

  /// Removes the file, if it still stands where it was made: under its name there may be another one.  As its caller, who may
  /// have put that one there to have it removed.
  fileprivate func remove(_ key: DeviceKey) {
    // What is left behind by a directory that forbids it now is an empty file, and the caller sees it.
    try? caller.acting(failure: Caller.refused) { () throws(DeviceError) in
      if holds(key) { _ = unsafe kcs_unlinkat(directory, name) }
    }
  }

  /// Whether the name, and no symbolic link under it, is that of a file.
  fileprivate func holds(_ key: DeviceKey) -> Bool {
    let file = unsafe kcs_openat(directory, name, kcs_O_PATH | O_NOFOLLOW, 0)
    guard file >= 0 else { return false }
    defer { _ = kcs_close(file) }
    return (try? DeviceKey(descriptor: file)) == key
  }
}

extension Endpoint {
  fileprivate init(_ path: String, _ device: Device, isShared: Bool, created: CreatedFile?) {
    self.init(
      path: path, device: device, root: RootObject(of: device), identity: Identity.of(device.key), birth: Identity.birth(of: device),
      isShared: isShared, created: created)
  }
}
