import FaultKit

extension FaultDevice {
  /// The sectors of 512 bytes of the requests of a kind after the first `mark` ones, each as often as it was asked for.
  func sectors(_ kind: Kind, since mark: Int = 0) throws -> [Int] {
    try requests.dropFirst(mark).filter { $0.kind == kind }.flatMap { Array($0.offset / 512..<($0.offset + $0.bytes) / 512) }
  }
}

extension Job {
  /// The sectors that a map says are not on the disk.
  func lacking(_ destination: Int = 0) throws -> [Int] {
    let map = try map(destination)
    return try (map.sectors("-") + map.sectors("?")).sorted()
  }
}

/// Whole blocks of 4096 bytes around some sectors: what is read may be rounded to them.
func blocks(_ sectors: some Sequence<Int>) -> Set<Int> { Set(sectors.flatMap { Array($0 / 8 * 8..<$0 / 8 * 8 + 8) }) }

extension Workbench {
  /// A directory on a new file system of a type, on a disk in memory.
  func fileSystem(_ type: String, size: Int = 320 << 20) throws -> String {
    let loop = try loop(size: size)
    try run("mkfs.\(type)", "-q", loop.path).orThrow()
    return try keep(Mount(type: type, device: loop.path, on: "\(disk)/\(type)")).path
  }
}
