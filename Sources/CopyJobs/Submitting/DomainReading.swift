internal import Admission
internal import Glibc
internal import KCopy

/// `domain=`: a mapfile becomes what of the region is copied.
extension Admitting {
  /// The longest mapfile, in bytes: half a million of ddrescue's lines.
  private static var longest: Int { 16 << 20 }

  /// Reads the mapfile that a record names.
  ///
  /// - Returns: `nil` where it names none, and all is copied.
  /// - Throws: the errno of `open(2)`; EINVAL for what ddrescue would not read, with the line, and for a domain that isn't
  ///   made of the devices' blocks; EFBIG for a longer one, EDQUOT when the caller's jobs have too many of them.
  func domain(_ record: JobRecord, _ regions: Regions, for caller: Caller) throws(Refusal) -> Domain? {
    guard let path = record.domain, let source = regions.source else { return nil }
    let column = record.column(of: "domain")
    do throws(Refusal) {
      let ranges = try mapfile(path, for: caller).ranges(of: .finished)
      let map = RangeMap(region: source.start..<source.end, domain: ranges)
      try Self.check(map, path, regions)
      return try Domain(map, copies: regions.destinations.count, of: caller.uid, domains)
    } catch {
      throw Refusal(errno: error.errno, column: column, text: error.text)
    }
  }

  private func mapfile(_ path: String, for caller: Caller) throws(Refusal) -> Mapfile {
    var reader = MapfileReader()
    var mapfile: Mapfile?
    do throws(Objection) {
      try admission.read(path, limit: Self.longest, for: caller) { (piece) throws(Objection) in
        try Self.naming(path) { () throws(MapfileError) in try reader.read(piece) }
      }
      mapfile = try Self.naming(path) { () throws(MapfileError) in try reader.finish() }
    } catch {
      throw Refusal(errno: error.errno, column: 0, text: error.text)
    }
    guard let mapfile, !mapfile.blocks.isEmpty else {
      throw Refusal(errno: EINVAL, column: 0, text: "\(path) says nothing: it is no mapfile of ddrescue")
    }
    return mapfile
  }

  private static func naming<T>(_ path: String, _ body: () throws(MapfileError) -> T) throws(Objection) -> T {
    do throws(MapfileError) {
      return try body()
    } catch {
      throw Objection(EINVAL, "\(path): line \(error.line): \(error.text)")
    }
  }

  /// What lies between two blocks can't be left out: a device writes the whole of one.
  private static func check(_ map: RangeMap, _ path: String, _ regions: Regions) throws(Refusal) {
    let sides = [regions.source].compactMap { $0 } + regions.destinations
    let block = UInt64(sides.map(\.device.logicalBlock).max() ?? 1)
    let start = regions.source?.start ?? 0
    for extent in map.extents where extent.status == .outside {
      for place in [extent.start, extent.end] where place % block != 0 && place != map.count {
        throw Refusal(
          errno: EINVAL, column: 0, text: "\(path): a block begins or ends at \(start + place)B, and the devices have blocks of \(block)B")
      }
    }
  }
}
