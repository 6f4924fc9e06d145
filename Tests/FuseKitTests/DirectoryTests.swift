import CSystemShims
import FuseKit
import Glibc
import Locking
import Testing

extension MountedTests {
  @Suite
  struct DirectoryTests {
    private static let names = (0..<1500).map { "entry-with-a-longish-name-\($0)" }

    private func fill(_ mount: Mount) {
      let directory = mount.fileSystem.add("many", .directory, permissions: 0o755)
      for name in Self.names { mount.fileSystem.add(name, .plain, in: directory) }
    }

    private func list(_ path: String, each: (String) -> Void = { _ in }) -> [String] {
      guard let stream = opendir(path) else { return [] }
      defer { closedir(stream) }
      var names: [String] = []
      while let entry = readdir(stream) {
        let name = withUnsafePointer(to: &entry.pointee.d_name.0) { String(cString: $0) }
        names.append(name)
        each(name)
      }
      return names
    }

    @Test func `A directory larger than a buffer is listed whole and in order`() throws {
      try withMount { mount in
        fill(mount)
        #expect(list(mount.path(of: "many")) == [".", ".."] + Self.names)
        // The kernel asks for attributes first, sees that nobody wants them, and goes on without.
        let reads = mount.fileSystem.state.withLock { ($0.plainDirectoryReads, $0.plusDirectoryReads) }
        #expect(reads.0 > 2 && reads.1 == 1)
      }
    }

    @Test func `Attributes that come with the names need no lookups`() throws {
      try withMount { mount in
        fill(mount)
        let directory = mount.path(of: "many")
        #expect(access(directory, F_OK) == 0)
        let names = list(directory) { name in
          var facts = stat()
          #expect(stat("\(directory)/\(name)", &facts) == 0)
        }
        #expect(names == [".", ".."] + Self.names)
        let (plain, plus, lookups) = mount.fileSystem.state.withLock { ($0.plainDirectoryReads, $0.plusDirectoryReads, $0.lookupRequests) }
        #expect(plain == 0 && plus > 2)
        #expect(lookups == 1)
      }
    }

    @Test func `Directories are made and removed`() throws {
      try withMount { mount in
        #expect(mkdir(mount.path(of: "made"), 0o750) == 0)
        var facts = stat()
        #expect(stat(mount.path(of: "made"), &facts) == 0)
        #expect(facts.st_mode & Glibc.S_IFMT == Glibc.S_IFDIR)
        #expect(list(mount.path(of: "made")) == [".", ".."])
        #expect(rmdir(mount.path(of: "made")) == 0)
        #expect(failure { access(mount.path(of: "made"), F_OK) } == ENOENT)
      }
    }

    @Test func `Forgets balance lookups`() throws {
      try withMount { mount in
        fill(mount)
        _ = list(mount.path(of: "many")) { name in _ = access(mount.path(of: "many/\(name)"), F_OK) }
        let file = try mount.open("new", O_RDWR | O_CREAT)
        close(file)
        #expect(mkdir(mount.path(of: "made"), 0o755) == 0)
        #expect(mount.fileSystem.state.withLock { $0.lookups.values.reduce(0, +) } > Self.names.count)
        // A remount makes the kernel drop its dentries, and forget.
        #expect(Glibc.mount(nil, mount.path, nil, UInt(MS_REMOUNT | MS_NOSUID | MS_NODEV), nil) == 0)
        #expect(eventually { mount.fileSystem.state.withLock { $0.lookups.values.allSatisfy { $0 == 0 } } })
      }
    }
  }
}
