import CSystemShims
import FuseKit
import Glibc
import Locking
import Testing

extension MountedTests {
  @Suite
  struct ContentTests {
    @Test func `A rendered file shows its text, its true size, its mode and its time`() throws {
      try withMount { mount in
        let file = try mount.open("rendered")
        defer { close(file) }
        #expect(readOnce(file) == .success("state=done\n"))
        #expect(readOnce(file) == .success(""))
        var facts = stat()
        #expect(fstat(file, &facts) == 0)
        #expect(facts.st_size == 11)
        #expect(facts.st_mode == Glibc.S_IFREG | 0o444)
        #expect(facts.st_mtim.tv_sec == 1_763_826_370 && facts.st_mtim.tv_nsec == 961_637_000)
        #expect(facts.st_blksize == 4096)
      }
    }

    @Test func `A created file can be written, read back, truncated, renamed and removed`() throws {
      try withMount { mount in
        let file = try mount.open("new", O_RDWR | O_CREAT | O_EXCL)
        defer { close(file) }
        #expect(writeOnce(file, "one two") == .success(7))
        #expect(kcs_fsync(file) == 0)
        #expect(mount.fileSystem.state.withLock { $0.synchronized } == 1)
        #expect(lseek(file, 4, SEEK_SET) == 4)
        #expect(readOnce(file) == .success("two"))
        #expect(kcs_ftruncate(file, 3) == 0)
        #expect(lseek(file, 0, SEEK_SET) == 0)
        #expect(readOnce(file) == .success("one"))
        #expect(fchmod(file, 0o600) == 0)
        #expect(rename(mount.path(of: "new"), mount.path(of: "old")) == 0)
        var facts = stat()
        #expect(stat(mount.path(of: "old"), &facts) == 0)
        #expect(facts.st_mode & 0o7777 == 0o600 && facts.st_size == 3)
        #expect(failure { access(mount.path(of: "new"), F_OK) } == ENOENT)
        #expect(unlink(mount.path(of: "old")) == 0)
        #expect(failure { access(mount.path(of: "old"), F_OK) } == ENOENT)
      }
    }

    @Test func `A request names its caller`() throws {
      try withMount { mount in
        close(try mount.open("rendered"))
        let requester = mount.fileSystem.state.withLock { $0.lastRequester }
        #expect(requester?.uid == getuid() && requester?.gid == getgid())
        #expect(requester?.pid == kcs_gettid())
      }
    }

    @Test func `Names that are not UTF-8 do not exist and cannot be made`() throws {
      try withMount { mount in
        let name = Array(mount.path.utf8CString.dropLast()) + [0x2f, -1, 0]
        #expect(failure { access(name, F_OK) } == ENOENT)
        #expect(failure { mkdir(name, 0o755) } == EINVAL)
        #expect(kcs_open(name, O_CREAT | O_RDWR, 0o644) == -EINVAL)
        #expect(failure { unlink(name) } == ENOENT)
        #expect(failure { rmdir(name) } == ENOENT)
        #expect(failure { rename(mount.path(of: "sink"), name) } == EINVAL)
      }
    }

    @Test func `Links and device nodes are refused`() throws {
      try withMount { mount in
        #expect(failure { symlink("x", mount.path(of: "link")) } == EPERM)
        #expect(failure { link(mount.path(of: "sink"), mount.path(of: "link")) } == EPERM)
        #expect(failure { mkfifo(mount.path(of: "fifo"), 0o600) } == EPERM)
      }
    }

    @Test func `statfs shows the counts of files and no blocks`() throws {
      try withMount { mount in
        var facts = statvfs()
        #expect(statvfs(mount.path, &facts) == 0)
        #expect(facts.f_files == 1000 && facts.f_ffree == 992 && facts.f_blocks == 0 && facts.f_namemax == 64)
      }
    }

    @Test func `A dropped reply answers EIO, at once and when it was parked`() throws {
      try withMount { mount in
        let silent = try mount.open("silent")
        defer { close(silent) }
        #expect(readOnce(silent) == .failure(Failure(errno: EIO)))

        let reader = try Child.reading(mount.path(of: "stream"))
        #expect(eventually { mount.fileSystem.waitingReads == 1 })
        mount.fileSystem.dropWaiting()
        #expect(reader.wait()?.output == "errno \(EIO)\n")
        #expect(mount.fileSystem.interrupts.isEmpty)
      }
    }

    @Test func `Two handlers run at once`() throws {
      try withMount { mount in
        let readers = try (0..<2).map { _ in try Child.reading(mount.path(of: "meeting")) }
        for reader in readers { #expect(reader.wait()?.output == "met\n") }
      }
    }

    @Test func `A handle is released once, after its last descriptor is closed`() throws {
      try withMount { mount in
        let file = try mount.open("rendered")
        let second = dup(file)
        close(file)
        #expect(mount.fileSystem.openHandles == 1)
        close(second)
        #expect(eventually { mount.fileSystem.openHandles == 0 })
      }
    }
  }
}
