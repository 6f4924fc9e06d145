import CSystemShims
import FaultKit
import KCopy
import Testing

@testable import Admission

@Suite("The kernel's tables of mounts, swap and locks")
struct MountsTests {
  @Test("A mount has the number of its device, its place, its type and what was named as its device; optional fields are passed over")
  func mounts() {
    let table = """
      25 30 0:23 / /sys rw,relatime - sysfs sysfs rw
      29 1 8:2 / / rw,noatime shared:1 master:2 - ext4 /dev/sda2 rw,errors=remount-ro
      61 29 0:44 /@home /home rw,relatime shared:33 - btrfs /dev/mapper/my\\040disk rw,subvol=/@home

      """
    #expect(
      Mounts.parse(table) == [
        Mounts(device: kcs_device(0, 23), point: "/sys", type: "sysfs", source: "sysfs"),
        Mounts(device: kcs_device(8, 2), point: "/", type: "ext4", source: "/dev/sda2"),
        Mounts(device: kcs_device(0, 44), point: "/home", type: "btrfs", source: "/dev/mapper/my disk"),
      ])
  }

  @Test(
    "What stands in them as a backslash and three octal digits is one byte, and nothing else is",
    arguments: [
      ("/a\\040b\\011c\\012d\\134e", "/a b\tc\nd\\e"), ("/\\303\\244", "/ä"), ("/a\\04", "/a\\04"), ("/a\\", "/a\\"),
      ("/a\\089", "/a\\089"),
      ("/a\\+12", "/a\\+12"), ("/a\\777", "/a\\777"), ("/a\\0401", "/a 1"), ("/a\\134040", "/a\\040"), ("/\\377", "/\u{fffd}"),
    ])
  func escapes(written: String, meant: String) {
    #expect(Mounts.parse("29 1 8:2 / \(written) rw - ext4 \(written) rw").map { [$0.point, $0.source] } == [[meant, meant]])
    let swaps = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\(written)\tfile\t\t2044\t\t0\t\t-2\n"
    #expect(Swaps.parse(swaps) == [Swaps(path: meant, isFile: true)])
  }

  @Test(
    "Lines that are no mounts are passed over",
    arguments: [
      "", "\n", "1 2 3", "29 1 8:2 / / rw shared:1 ext4 /dev/sda2 rw", "29 1 8 / / rw - ext4 /dev/sda2 rw", "29 1 8:2 / / rw - ext4",
    ])
  func noMounts(table: String) { #expect(Mounts.parse(table).isEmpty) }

  @Test("What is used as swap is a device or a file; the table has a head")
  func swaps() {
    let head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    let rows =
      "/dev/zram0                              partition\t8388604\t\t0\t\t100\n/swap\\040file\\040(deleted)              file\t\t2044\t\t0\t\t-2\n"
    #expect(Swaps.parse(head + rows) == [Swaps(path: "/dev/zram0", isFile: false), Swaps(path: "/swap file (deleted)", isFile: true)])
    #expect(Swaps.parse(head).isEmpty && Swaps.parse("").isEmpty)
  }

  @Test("A lock has its kind, its holder and its file; who waits for it is none, nor who isn't seen from here")
  func locks() {
    let table = """
      1: POSIX  ADVISORY  WRITE 11 fe:00:77 0 EOF
      2: FLOCK  ADVISORY  WRITE 12 fe:00:77 0 EOF
      2: -> FLOCK  ADVISORY  WRITE 13 fe:00:77 0 EOF
      3: FLOCK  ADVISORY  READ  14 fe:0a:77 0 EOF
      4: FLOCK  ADVISORY  READ  0 fe:0a:77 0 EOF
      5: OFDLCK ADVISORY  READ  -1 fe:0a:77 0 EOF
      6: FLOCK  ADVISORY  READ  15 fe:0a:78 0 EOF
      """
    #expect(Openers.lockers(table, of: .file(device: kcs_device(254, 0), inode: 77)) == ["12"])
    #expect(Openers.lockers(table, of: .file(device: kcs_device(254, 10), inode: 77)) == ["14"])
    #expect(Openers.lockers(table, of: .block(kcs_device(254, 0))).isEmpty)
  }

  @Test("The mounts of another namespace are seen by one of its processes, each namespace once, and one's own not at all")
  func elsewhere() throws {
    try withWorkbench { bench in
      let place = bench.disk + "/private"
      try Files.makeDirectory(place)
      let other = try privateMounts("mount -t tmpfs none \(place) && echo mounted && exec sleep 60").start()
      bench.atEnd { try other.end() }
      try eventually("it is mounted: \(other.text)") { other.text == "mounted\n" }
      var found: [String] = []
      Mounts.elsewhere { process, mounts in
        if mounts.contains(where: { $0.point == place }) { found.append(process) }
        return false
      }
      #expect(found.count == 1 && !Mounts.all().contains { $0.point == place })
    }
  }
}
