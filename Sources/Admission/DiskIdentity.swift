internal import KCopy

/// What a disk says of itself: words that stay with it when it is unplugged, and over boots.
///
/// Of the disk itself: a partition is a place on it.  What one of the words says twice, the other need not.
struct DiskIdentity: Sendable, Equatable {
  /// World-wide name: by SCSI and NVMe; the CID of a card.
  var wwid: String?
  var serial: String?
  /// Of what is made of disks: device mapper's or md's.
  var uuid: String?

  /// Asks sysfs.
  init(of number: UInt64) {
    let path = Identity.directory(of: number)
    wwid = Identity.first(of: ["wwid", "device/wwid", "device/cid"], in: path, Self.telling)
    serial = Identity.serial(in: path, Self.telling)
    uuid = Identity.first(of: ["dm/uuid", "md/uuid"], in: path, Self.telling)
  }

  init(wwid: String? = nil, serial: String? = nil, uuid: String? = nil) {
    (self.wwid, self.serial, self.uuid) = (wwid, serial, uuid)
  }

  /// Whether two of the words say that these are two disks.
  func contradicts(_ other: DiskIdentity) -> Bool {
    differ(wwid, other.wwid) || differ(serial, other.serial) || differ(uuid, other.uuid)
  }

  /// Whether a word says that they are one.
  func agrees(with other: DiskIdentity) -> Bool {
    agree(wwid, other.wwid) || agree(serial, other.serial) || agree(uuid, other.uuid)
  }

  /// The word, unless many disks have it: makers leave a serial empty, fill it with one digit, or forget to set it.
  static func telling(_ word: String) -> String? {
    // "naa.0000000000000000", "eui.0000000000000000": the kind of a name is no part of it.
    let kinds = ["naa.", "eui.", "uuid.", "t10.", "nvme."]
    let name = word.dropFirst(kinds.first(where: word.hasPrefix)?.count ?? 0)
    let marks = name.lowercased().filter { $0.isLetter || $0.isNumber }
    guard let first = marks.first, !marks.allSatisfy({ $0 == first }) else { return nil }
    let forgotten = [
      "none", "null", "na", "unknown", "default", "defaultstring", "notspecified", "notavailable", "serialnumber", "serial",
      "0123456789", "123456789", "1234567890", "0123456789abcdef", "123456789abcdef", "1234567890abcdef",
    ]
    return forgotten.contains(marks) || marks.hasPrefix("tobefilled") ? nil : word
  }

  /// The UUID that a partition table gives a partition: `PARTUUID`, which for a DOS table is the disk's number and the partition's.
  static func partition(_ number: UInt64) -> String? {
    let lines = (KernelText.read(Identity.directory(of: number) + "/uevent") ?? "").split(separator: "\n")
    guard let uuid = lines.first(where: { $0.hasPrefix("PARTUUID=") })?.dropFirst("PARTUUID=".count) else { return nil }
    let table = uuid.split(separator: "-", omittingEmptySubsequences: false)
    // A DOS table without a number: "00000000-01".
    return telling(table.count == 2 ? String(table[0]) : String(uuid)).map { _ in String(uuid) }
  }
}

/// Whether both are known and not the same: one that is not known says nothing.
func differ<T: Equatable>(_ one: T?, _ other: T?) -> Bool { one != nil && other != nil && one != other }

/// Whether both are known and the same.
func agree<T: Equatable>(_ one: T?, _ other: T?) -> Bool { one != nil && one == other }
