internal import Foundation
internal import Glibc

/// A systemd as process 1 of namespaces of its own, over this machine's files: what it mounts, installs and runs is seen in it alone
/// and goes with it.
///
/// `/run`, `/usr/local`, `/var/lib`, `/mnt` and `/srv` are empty; what is written to `/etc` and `/usr/sbin` goes to memory. There are no units but those
/// of `/etc/systemd/system`, `/usr/local/lib/systemd/system` and what the generators make of `/etc/fstab`, which is empty.
public final class PrivateSystem: Resource {
  private let process: ChildProcess
  private let group: String
  /// Process 1 as this machine numbers it.
  private let manager: Int32

  /// Boots it, until its default target is reached.
  /// - Parameters:
  ///   - directory: empty; what it writes and its log, `log`, go there.
  ///   - fstab: its `/etc/fstab`.
  public init(in directory: String, fstab: String = "") throws {
    try requireRoot()
    let hierarchy = try run("findmnt", "--noheadings", "--first-only", "--types", "cgroup2", "--output", "TARGET")
    if !hierarchy.succeeded { throw Missing("no cgroup2 is mounted: systemd can't keep its services apart") }
    group = "\(hierarchy.line)/kcopyfs-test.\(UInt64.random(in: 0 ... .max))"
    try Files.makeDirectory(group)
    try Files.write(directory + "/fstab", fstab)
    process = try Command("bash", ["-c", Self.boot, "boot", group, directory]).start()
    do {
      manager = try Self.firstChild(of: process)
      try eventually(within: .seconds(30), "systemd has booted: \(directory)/log") { [process, manager] in
        if !process.running { throw Missing("systemd ended: \(try Files.text(directory + "/log"))") }
        return try Self.enter(manager, "systemctl is-active --quiet default.target").run().succeeded
      }
    } catch {
      // The first error tells more than what goes wrong in clearing up.
      try? process.end()
      try? Self.remove(group)
      throw error
    }
  }

  /// A script to run in it, with bash.
  public func command(_ script: String, environment: [String: String] = [:]) -> Command {
    Self.enter(manager, script, environment: environment)
  }

  public func shell(_ script: String, environment: [String: String] = [:]) throws -> Outcome {
    try command(script, environment: environment).run()
  }

  /// A property of a unit, as `systemctl show` has it.
  public func property(_ name: String, of unit: String = "kcopyfs.service") throws -> String {
    try shell("systemctl show --value --property \(name) \(unit)").orThrow().line
  }

  /// Ends all that runs in it.
  public func release() throws {
    // The end of its process 1 is the end of all of them, and of the mounts.
    if process.running { kill(manager, SIGKILL) }
    try process.wait(within: .seconds(20))
    try Self.remove(group)
  }

  /// Its cgroups are all that others could see of it. Process 1 is a systemd in a container, which leaves clocks and the like alone.
  private static let boot = """
    set -eu
    echo $$ >"$1/cgroup.procs"
    export directory=$2
    exec unshare --fork --kill-child --pid --mount --cgroup --ipc --uts bash -c '
      set -eu
      mount -t proc proc /proc
      # Copies of what other tests have mounted would keep it busy when they unmount it.
      tac /proc/self/mountinfo | cut -d " " -f 5 | while read -r place; do
        place=$(printf %b "$place")
        case $place in
          / | /proc | /proc/* | /sys | /sys/* | /dev | /dev/*) continue ;;
        esac
        case $directory/ in "$place"/*) continue ;; esac
        # One that was mounted below another, or over it, may have gone with that.
        umount --lazy "$place" || ! mountpoint --quiet "$place"
      done
      for place in usr/sbin etc; do
        mkdir -p "$directory/$place.upper" "$directory/$place.work"
        mount -t overlay -o "lowerdir=/$place,upperdir=$directory/$place.upper,workdir=$directory/$place.work" overlay /$place
      done
      for place in run usr/local var/lib etc/systemd mnt srv; do mount -t tmpfs -o mode=755 tmpfs /$place; done
      mkdir -p /run/systemd/system /etc/systemd/system
      for target in basic sysinit shutdown umount local-fs multi-user; do
        printf "[Unit]\\nDescription=%s\\nDefaultDependencies=no\\n" $target >/etc/systemd/system/$target.target
      done
      printf "[Unit]\\nRequires=local-fs.target multi-user.target\\nAfter=local-fs.target multi-user.target\\n" \\
        >/etc/systemd/system/default.target
      cp "$directory/fstab" /etc/fstab
      if mountpoint --quiet /sys/fs/cgroup; then umount --recursive /sys/fs/cgroup; fi
      mount -t cgroup2 cgroup2 /sys/fs/cgroup
      export container=test SYSTEMD_UNIT_PATH=/etc/systemd/system:/usr/local/lib/systemd/system:/run/systemd/generator
      exec /lib/systemd/systemd --system --log-target=console --show-status=no
    ' >"$directory/log" 2>&1
    """

  private static func enter(_ manager: Int32, _ script: String, environment: [String: String] = [:]) -> Command {
    Command("nsenter", ["--target", "\(manager)", "--all", "--wd=/", "bash", "-c", script], environment: environment)
  }

  /// What `unshare` has forked.
  private static func firstChild(of process: ChildProcess) throws -> Int32 {
    var child: Int32?
    try eventually("unshare has forked") {
      let children = try Files.text("/proc/\(process.pid)/task/\(process.pid)/children")
      child = children.split(separator: " ").first.flatMap { Int32($0) }
      return child != nil
    }
    return child!
  }

  /// The groups below go first; the kernel takes one away a moment after the last process.
  private static func remove(_ group: String) throws {
    for name in try Files.names(in: group) where try Files.facts("\(group)/\(name)").isDirectory { try remove("\(group)/\(name)") }
    try eventually("\(group) is empty") { rmdir(group) == 0 }
  }
}
