import FaultKit
import Testing

/// mount(8), umount(8) and fstab(5), with the helper installed and without it.
@Suite("mount(8) and fstab", .serialized)
struct MountCommandTests {
  private static let mount = "/mnt/a place"
  private static let place = "'\(mount)'"

  private func withSystem(helper: Bool = true, _ body: (PrivateSystem) throws -> Void) throws {
    try withInstallation { _, system in
      if !helper { try system.shell("rm /sbin/mount.fuse.kcopyfs").orThrow() }
      try system.shell("mkdir \(Self.place)").orThrow()
      try body(system)
    }
  }

  private func expectNothing(in system: PrivateSystem) throws {
    try eventually("no daemon is left") { try !system.shell("pidof kcopyfs").succeeded }
    #expect(try system.shell("findmnt -t fuse.kcopyfs").text.isEmpty)
  }

  @Test("It mounts with all that mount(8) adds to options, shows in findmnt, and goes by umount", arguments: [true, false])
  func mounted(helper: Bool) throws {
    try withSystem(helper: helper) { system in
      let words = "nofail,_netdev,user,comment=a,x-systemd.automount,X-b,relatime,lazytime,nodev,suid,async,defaults,pages=512"
      for (type, source) in [("fuse.kcopyfs", "none"), ("fuse", "kcopyfs#none"), ("fuse.kcopyfs", "a,b c")] {
        try system.shell("mount -t \(type) '\(source)' \(Self.place) -o state=none,\(words)").orThrow()
        #expect(try system.shell("cat \(Self.place)/clients/default/pages").text == "512\n")
        let shown = try system.shell("findmnt --noheadings --raw --output SOURCE,FSTYPE \(Self.place)").text
        #expect(shown == "\(type == "fuse" ? "none" : source.replacing(" ", with: "\\x20")) fuse.kcopyfs\n")
        try system.shell("umount \(Self.place)").orThrow()
        try expectNothing(in: system)
      }
    }
  }

  @Test("A remount is refused in words and changes nothing", arguments: [true, false])
  func remount(helper: Bool) throws {
    try withSystem(helper: helper) { system in
      try system.shell("mount -t fuse.kcopyfs none \(Self.place) -o state=none").orThrow()
      let look = "findmnt --noheadings \(Self.place); pidof kcopyfs; cat \(Self.place)/clients/default/pages"
      let before = try system.shell(look).orThrow().text
      for options in ["remount,pages=300", "remount,ro", "remount"] {
        let outcome = try system.shell("mount -o \(options) \(Self.place)")
        #expect(!outcome.succeeded && outcome.errorText.hasPrefix("kcopyfs: a mount can't be given other options"), "\(outcome)")
        #expect(try system.shell(look).text == before)
      }
    }
  }

  @Test("What fails is said by the daemon's own words, and nothing is mounted", arguments: [true, false])
  func failing(helper: Bool) throws {
    try withSystem(helper: helper) { system in
      for (options, place, words) in [("pgaes=1", Self.place, "\"pgaes=1\""), ("state=none", "/mnt/nowhere", "/mnt/nowhere")] {
        let outcome = try system.shell("mount -t fuse.kcopyfs none \(place) -o \(options)")
        #expect(outcome.ending == .exit(helper ? 32 : 1) && outcome.errorText.contains(words), "\(outcome)")
      }
      try expectNothing(in: system)
    }
  }

  @Test("Each line of mount-scripts/fstab is right, mounts by its directory, and once by mount -a", arguments: [true, false])
  func fstab(helper: Bool) throws {
    let lines = try Files.text(ReadmeTests.root + "/mount-scripts/fstab").split(separator: "\n").filter { !$0.hasPrefix("#") }
    #expect(lines.count == 4)
    try withSystem(helper: helper) { system in
      for line in lines {
        let isMadeByMount = line.contains("x-mount.mkdir")
        if !isMadeByMount { try system.shell("mkdir /mnt/copies").orThrow() }
        let verify = "echo '\(line)' >/etc/fstab && findmnt --verify"
        if !isMadeByMount { #expect(try system.shell(verify).errorText.contains("0 parse errors, 0 errors"), "\(line)") }
        let mounting = line.contains("noauto") ? "mount /mnt/copies && mount -a" : "mount -a && mount -a"
        try system.shell("echo '\(line)' >/etc/fstab && \(mounting) && cat /mnt/copies/version").orThrow()
        #expect(try system.mounts(at: "/mnt/copies") == 1)
        try system.shell("umount /mnt/copies && rmdir /mnt/copies").orThrow()
        try expectNothing(in: system)
      }
    }
  }

  @Test("systemd mounts a line of fstab, at once or at the first access, again after a crash, and takes it away")
  func bySystemd() throws {
    let fstab = "none /mnt/copies fuse.kcopyfs nofail,x-mount.mkdir 0 0\nnone /mnt/later fuse.kcopyfs noauto,x-systemd.automount 0 0\n"
    try withInstallation(fstab: fstab) { _, system in
      try system.shell("systemctl start mnt-copies.mount && cat /mnt/copies/version").orThrow()
      try system.shell("kill -KILL $(pidof kcopyfs) && systemctl restart mnt-copies.mount && cat /mnt/copies/version").orThrow()
      try system.shell("systemctl start mnt-later.automount && cat /mnt/later/version").orThrow()
      #expect(try system.property("ActiveState", of: "mnt-later.mount") == "active")
      try system.shell("systemctl stop mnt-copies.mount mnt-later.automount").orThrow()
      try expectNothing(in: system)
    }
  }

  @Test("The helper follows mount(8): -f and a wrong call start nothing, -v shows the command, -N mounts in another namespace")
  func letters() throws {
    try withSystem { system in
      let mounting = "mount -t fuse.kcopyfs none \(Self.place) -o state=none"
      #expect(try system.shell("\(mounting) -f -v").orThrow().text.contains("kcopyfs -o rw,state=none -- none \(Self.mount)\n"))
      let wrong = ["none", "none a b", "none a -z", "none a -o", "none a -sz", ""]
      for arguments in wrong {
        let outcome = try system.shell("/sbin/mount.fuse.kcopyfs \(arguments)")
        #expect(outcome.ending == .exit(1) && outcome.errorText.hasPrefix("mount.fuse.kcopyfs: "), "\(outcome)")
      }
      try expectNothing(in: system)

      let other = try system.command("exec unshare --mount bash -c 'echo in && exec sleep 60'").start()
      try eventually("there is another namespace") { other.text == "in\n" }
      let process = try system.shell("pidof sleep").orThrow().line
      try system.shell("\(mounting) -N \(process)").orThrow()
      #expect(try system.mounts(at: Self.mount.replacing(" ", with: "\\040")) == 0)
      try system.shell("nsenter --target \(process) --mount cat \(Self.place)/version").orThrow()
      try system.shell("umount -N \(process) \(Self.place)").orThrow()
      try expectNothing(in: system)

      try system.shell("rm /usr/local/bin/kcopyfs").orThrow()
      let outcome = try system.shell(mounting)
      #expect(outcome.ending == .exit(2) && outcome.errorText.contains("is not installed"), "\(outcome)")
    }
  }
}
