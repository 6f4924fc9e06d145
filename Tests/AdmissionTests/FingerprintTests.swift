import Testing

@testable import Admission

/// What is known of a device, put together by hand: boots and disks that no test machine has.
@Suite("What two fingerprints say of each other")
struct FingerprintTests {
  private static func disk(
    _ disk: DiskIdentity, boot: String? = "monday", sequence: UInt64? = 7, partition: String? = nil, size: UInt64 = 1 << 30,
    offset: UInt64 = 0
  ) -> Fingerprint {
    Fingerprint(
      boot: boot, isBlockDevice: true, size: size, sequence: sequence, partition: partition, root: .disk(disk), offset: offset)
  }

  private static func file(
    _ file: FileIdentity, boot: String? = "monday", sequence: UInt64? = 7, isBlockDevice: Bool = false, size: UInt64 = 1 << 20,
    offset: UInt64 = 0
  ) -> Fingerprint {
    Fingerprint(
      boot: boot, isBlockDevice: isBlockDevice, size: size, sequence: sequence, partition: nil, root: .file(file), offset: offset)
  }

  private static let named = DiskIdentity(wwid: "naa.5000c500a1b2c3d4", serial: "ZA1234")
  private static let plainFile = FileIdentity(device: 0xfe00, inode: 12, fileSystem: "0f1e", number: 99, born: 1_700, generation: 5)

  @Test("A disk without any lasting name is the same within a boot as long as its sequence number is, and in doubt after that")
  func nameless() {
    let disk = Self.disk(DiskIdentity())
    #expect(disk.relation(to: disk) == .same)
    #expect(disk.relation(to: Self.disk(DiskIdentity(), sequence: 8)) == .unknown)
    #expect(disk.relation(to: Self.disk(DiskIdentity(), boot: "tuesday")) == .unknown)
    #expect(disk.relation(to: Self.disk(DiskIdentity(), boot: nil)) == .unknown)
    #expect(Self.disk(DiskIdentity(), boot: nil).relation(to: Self.disk(DiskIdentity(), boot: nil)) == .unknown)
    #expect(Self.disk(DiskIdentity(), sequence: nil).relation(to: Self.disk(DiskIdentity(), sequence: nil)) == .unknown)
  }

  @Test("A disk with a lasting name is alike after another boot and after it was plugged in again, under whatever number")
  func named() {
    let disk = Self.disk(Self.named)
    #expect(disk.relation(to: disk) == .same)
    #expect(disk.relation(to: Self.disk(Self.named, boot: "tuesday")) == .alike)
    #expect(disk.relation(to: Self.disk(Self.named, sequence: 8)) == .alike)
    // One of the words is enough where the other one is silent.
    #expect(disk.relation(to: Self.disk(DiskIdentity(serial: "ZA1234"), boot: "tuesday")) == .alike)
    #expect(Self.disk(DiskIdentity(uuid: "LVM-x")).relation(to: Self.disk(DiskIdentity(uuid: "LVM-x"), boot: "tuesday")) == .alike)
    #expect(disk.relation(to: Self.disk(DiskIdentity(), boot: "tuesday")) == .unknown)
  }

  @Test("One word that differs makes it another disk, whatever the others say")
  func contradicted() {
    let disk = Self.disk(Self.named, partition: "aaaa-bbbb")
    for other in [
      DiskIdentity(wwid: "naa.5000c500a1b2c3d5", serial: "ZA1234"), DiskIdentity(wwid: "naa.5000c500a1b2c3d4", serial: "ZA1235"),
    ] {
      for boot in ["monday", "tuesday"] {
        #expect(disk.relation(to: Self.disk(other, boot: boot, partition: "aaaa-bbbb")) == .other)
      }
    }
    #expect(Self.disk(DiskIdentity(uuid: "LVM-x")).relation(to: Self.disk(DiskIdentity(uuid: "LVM-y"))) == .other)
  }

  @Test("A partition is known by its own UUID too, and is another one where that or its beginning differs")
  func partitions() {
    let partition = Self.disk(DiskIdentity(), partition: "aaaa-bbbb", offset: 1 << 20)
    func later(_ uuid: String?, of disk: DiskIdentity = DiskIdentity(), at offset: UInt64 = 1 << 20) -> Fingerprint {
      Self.disk(disk, boot: "tuesday", partition: uuid, offset: offset)
    }
    #expect(partition.relation(to: later("aaaa-bbbb")) == .alike)
    #expect(partition.relation(to: later("aaaa-cccc")) == .other)
    #expect(partition.relation(to: later("aaaa-bbbb", at: 2 << 20)) == .other)
    #expect(partition.relation(to: later(nil)) == .unknown)
    // Made anew in the same place, with the disk never away.
    #expect(partition.relation(to: Self.disk(DiskIdentity(), partition: "aaaa-cccc", offset: 1 << 20)) == .other)
    let named = Self.disk(Self.named, partition: "aaaa-bbbb", offset: 1 << 20)
    #expect(named.relation(to: later("aaaa-bbbb", of: DiskIdentity(wwid: "naa.5000c500ffffffff"))) == .other)
  }

  @Test("A device that is smaller than it was is another one, unless its sequence number says that it is the same")
  func smaller() {
    let disk = Self.disk(Self.named)
    #expect(disk.relation(to: Self.disk(Self.named, boot: "tuesday", size: (1 << 30) - 512)) == .other)
    #expect(disk.relation(to: Self.disk(Self.named, boot: "tuesday", size: (1 << 30) + 512)) == .alike)
    #expect(disk.relation(to: Self.disk(Self.named, size: 512)) == .same)
    #expect(Self.file(Self.plainFile).relation(to: Self.file(Self.plainFile, boot: "tuesday", size: 0)) == .alike)
  }

  @Test("A file is the same within a boot by its numbers and its birth or generation, and later alike by its file system's")
  func files() {
    let file = Self.file(Self.plainFile)
    #expect(file.relation(to: file) == .same)
    #expect(file.relation(to: Self.file(Self.plainFile, boot: "tuesday")) == .alike)
    // The disk with the file system was away.
    #expect(file.relation(to: Self.file(Self.plainFile, sequence: 8)) == .alike)
    var moved = Self.plainFile
    moved.device = 0xfe01
    #expect(file.relation(to: Self.file(moved)) == .alike && file.relation(to: Self.file(moved, boot: "tuesday")) == .alike)
    let changes: [WritableKeyPath<FileIdentity, UInt64?>] = [\.born, \.generation, \.number]
    for change in changes {
      for boot in ["monday", "tuesday"] {
        var other = Self.plainFile
        other[keyPath: change] = 1
        #expect(file.relation(to: Self.file(other, boot: boot)) == .other)
      }
    }
    var other = Self.plainFile
    other.inode = 13
    #expect(file.relation(to: Self.file(other)) == .other)
    other = Self.plainFile
    other.fileSystem = "0f1f"
    #expect(file.relation(to: Self.file(other)) == .other)
  }

  @Test("Without a disk of its own a file system was never away if the mount is the same; by another one the file has to be compared")
  func mounts() {
    var mounted = Self.plainFile
    mounted.mount = 1
    let file = Self.file(mounted, sequence: nil)
    #expect(file.relation(to: file) == .same)
    #expect(file.relation(to: Self.file(mounted, boot: "tuesday", sequence: nil)) == .alike)
    mounted.mount = 2
    #expect(file.relation(to: Self.file(mounted, sequence: nil)) == .alike)
    #expect(file.relation(to: Self.file(Self.plainFile, sequence: nil)) == .alike)
    // The disk says it where there is one.
    #expect(Self.file(Self.plainFile).relation(to: Self.file(mounted)) == .same)
  }

  @Test("A file on a file system that tells nothing has to be compared within a boot, and is in doubt after it")
  func silent() {
    let file = Self.file(FileIdentity(device: 40, inode: 12), sequence: nil)
    #expect(file.relation(to: file) == .alike)
    #expect(file.relation(to: Self.file(FileIdentity(device: 41, inode: 12), sequence: nil)) == .unknown)
    #expect(file.relation(to: Self.file(FileIdentity(device: 40, inode: 12), boot: "tuesday", sequence: nil)) == .unknown)
    #expect(file.relation(to: Self.file(FileIdentity(device: 40, inode: 13), boot: "tuesday", sequence: nil)) == .other)
  }

  @Test("A file is no block device, and a loop device over a file no disk")
  func kinds() {
    let loop = Self.file(Self.plainFile, isBlockDevice: true)
    #expect(loop.relation(to: Self.file(Self.plainFile)) == .other && Self.file(Self.plainFile).relation(to: loop) == .other)
    #expect(loop.relation(to: Self.disk(DiskIdentity())) == .other && Self.disk(DiskIdentity()).relation(to: loop) == .other)
    #expect(loop.relation(to: Self.file(Self.plainFile, sequence: 8, isBlockDevice: true)) == .alike)
    #expect(loop.relation(to: Self.file(Self.plainFile, isBlockDevice: true, offset: 512)) == .other)
  }

  @Test("A SCSI disk's serial number is what follows four bytes of its page 0x80")
  func unitSerial() {
    func page(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
    #expect(Identity.unitSerial(page([0, 0x80, 0, 4] + Array("3000".utf8))) == "3000")
    #expect(Identity.unitSerial(page([0, 0x80, 0, 0x84] + Array(" S3Z9 ".utf8) + [0, 0])) == " S3Z9 ")
    for other in [[], [0, 0x80, 0, 0], Array("text".utf8) + [0x30]] {
      #expect(Identity.unitSerial(page(other)) == nil)
    }
  }

  @Test("Zeroes, a digit again and again, and what makers forget to replace is no name")
  func placeholders() {
    for word in [
      "", "0", "0000", "00000000-0000-0000-0000-000000000000", "naa.0000000000000000", "eui.0000000000000000", "ffffffff", "FFFF-FFFF",
      "----", "None", "N/A", "To-be-filled-by-O.E.M.", "Default-string", "0123456789ABCDEF", "123456789",
    ] {
      #expect(DiskIdentity.telling(word) == nil, "\(word)")
    }
    for word in ["naa.5000c500a1b2c3d4", "S3Z9NB0K", "eui.0025385971b0c5e4", "10", "uuid.0000000000000001"] {
      #expect(DiskIdentity.telling(word) == word)
    }
  }
}

@Suite("Fingerprints as text")
struct FingerprintTextTests {
  private static let disk = Fingerprint(
    boot: "42b7f699-a1a7", isBlockDevice: true, size: .max, sequence: 29_393, partition: "1b2c3d4e-01",
    root: .disk(DiskIdentity(wwid: "t10.ATA-a=b", serial: "ZA1234", uuid: "LVM-x")), offset: 1 << 20)
  private static let file = Fingerprint(
    boot: "42b7f699-a1a7", isBlockDevice: false, size: 0, sequence: 3, partition: nil,
    root: .file(
      FileIdentity(
        device: 0x1234_5678_9abc, inode: .max, fileSystem: "0f", number: 0xad6a_b5a5_c41e_4308, mount: 2, born: .max, generation: 9)),
    offset: 0)

  @Test("What was written is read again, all of it known or almost nothing")
  func roundTrip() throws {
    var sparse = Self.disk
    (sparse.boot, sparse.sequence, sparse.partition, sparse.root) = (nil, nil, nil, .disk(DiskIdentity()))
    var loop = Self.file
    (loop.isBlockDevice, loop.root) = (true, .file(FileIdentity(device: 0, inode: 0)))
    for fingerprint in [Self.disk, Self.file, sparse, loop] {
      #expect(Fingerprint(fingerprint.text) == fingerprint, "\(fingerprint.text)")
      #expect(!fingerprint.text.contains("\n"))
    }
    #expect(
      Self.disk.text
        == "kind=block size=18446744073709551615 offset=1048576 boot=42b7f699-a1a7 diskseq=29393 partuuid=1b2c3d4e-01 "
        + "wwid=t10.ATA-a=b serial=ZA1234 uuid=LVM-x")
    #expect(sparse.text == "kind=block size=18446744073709551615 offset=1048576")
  }

  @Test("Words of a later version are passed over, and their order is nothing")
  func later() {
    #expect(Fingerprint("colour=blue " + Self.file.text + " taste=") == Self.file)
    #expect(Fingerprint(Self.file.text.split(separator: " ").reversed().joined(separator: " ")) == Self.file)
  }

  @Test(
    "What is no fingerprint is not read as one",
    arguments: [
      "", "kind=block", "kind=disk size=1 offset=0", "kind=file size=1 offset=0", "kind=block size= offset=0",
      "kind=block size=-1 offset=0",
      "kind=block size=1 offset=0 diskseq=x", "kind=block size=1 size=1 offset=0", "kind=block size=1 offset=0 word",
      "kind=file size=1 offset=0 inode=1", "kind=file size=1 offset=0 inode=1 dev=1", "kind=file size=1 offset=0 inode=1 dev=1:2:3",
      "kind=file size=1 offset=0 inode=x dev=1:2",
    ])
  func refused(text: String) {
    #expect(Fingerprint(text) == nil)
  }
}
