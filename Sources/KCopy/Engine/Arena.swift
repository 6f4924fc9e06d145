internal import Glibc
internal import URing

enum Arena {
  static func memory(pages: Int) throws(DeviceError) -> [TransferMemory] {
    guard pages <= Int.max / PagePool.pageBytes, let memory = TransferMemory(bytes: pages * PagePool.pageBytes) else {
      throw DeviceError(errno: ENOMEM, call: "pages for a client")
    }
    return [memory]
  }
}
