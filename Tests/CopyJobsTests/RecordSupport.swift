import CopyJobs
import Testing

func parse(_ record: String, allowingName: Bool = true) throws(Refusal) -> JobRecord {
  try JobRecord.parse(Array(record.utf8), allowingName: allowingName)
}

/// The refusal of a record, or nil if it was accepted.
func refusal(of record: [UInt8], allowingName: Bool = true) -> Refusal? {
  do throws(Refusal) {
    _ = try JobRecord.parse(record, allowingName: allowingName)
    return nil
  } catch {
    return error
  }
}

func refusal(of record: String, allowingName: Bool = true) -> Refusal? {
  refusal(of: Array(record.utf8), allowingName: allowingName)
}

/// What a record asks for, rid of how and where it was written.
struct Meaning: Equatable {
  let line: String
  let from: RegionText?
  let to: [RegionText]
  let after: [String]
  let name: String?
  let mode: UInt32?

  init(_ record: JobRecord) {
    func bare(_ region: RegionText) -> RegionText { RegionText(path: region.path, start: region.start, count: region.count) }
    line = record.normalised(from: nil, to: [])
    from = record.from.map(bare)
    to = record.to.map(bare)
    after = record.after
    name = record.name
    mode = record.mode
  }
}

/// What came out of a buffer: records as text, and a mark for each that was too long.
func drain(_ buffer: inout RecordBuffer) -> [String] {
  var found: [String] = []
  while true {
    switch buffer.next() {
    case .record(let record, _): found.append(String(decoding: record, as: UTF8.self))
    case .tooLong: found.append("(too long)")
    case .incomplete: return found
    }
  }
}

/// What comes out if the text is written in pieces of the length.
func records(of text: String, inPiecesOf length: Int, limit: Int = JobRecord.maximumLength) -> [String] {
  var buffer = RecordBuffer(limit: limit)
  var found: [String] = []
  let bytes = Array(text.utf8)
  for start in stride(from: 0, to: bytes.count, by: length) {
    buffer.append(Array(bytes[start..<min(start + length, bytes.count)]))
    found += drain(&buffer)
  }
  return found
}
