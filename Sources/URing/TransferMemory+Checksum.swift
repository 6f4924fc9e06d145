internal import CXXHash

extension TransferMemory {
  /// The XXH3 checksum of a part, 64 bits: as fast as the memory is read, and what differs by accident has another one.
  public func checksum(_ offset: Int, count: Int) -> UInt64 {
    withBytes(offset, count: count) { XXH3_64bits($0.baseAddress, $0.count) }
  }
}
