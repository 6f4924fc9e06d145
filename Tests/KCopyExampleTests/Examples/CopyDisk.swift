import KCopy

/// Copies a disk to others, reading it once, and returns how that ended.
func copyDisk(_ path: String, to paths: [String]) async throws -> Notification {
  let source = try Device(path: path, access: .reading)
  defer { source.closeNow() }
  var disks: [Device] = []
  defer { for disk in disks { disk.closeNow() } }
  for path in paths { disks.append(try Device(path: path, access: .writing(exclusive: true))) }

  let client = try Client()
  defer { client.destroy() }
  let regions = disks.map { Region($0, start: 0, count: source.size) }
  return try await client.copy(from: Region(source, start: 0, count: source.size), to: regions)
}
