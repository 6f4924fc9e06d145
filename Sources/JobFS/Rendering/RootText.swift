internal import CopyJobs
internal import FuseKit
internal import KCopy

/// What the files at the root say.
enum RootText {
  static let version: [UInt8] = Array("version=0.1.0\ninterface=1\n".utf8)

  /// Only the jobs whose files the reader may read.
  static func list(_ jobs: JobService, for requester: Requester) -> [UInt8] {
    var text: [UInt8] = []
    let reader = JobReader(requester)
    for job in jobs.jobs where job.isReadable(by: reader) { JobText.listed(job, to: &text) }
    return text
  }

  static func errors(_ jobs: JobService, for uid: UInt32) -> [UInt8] {
    var text: [UInt8] = []
    for entry in jobs.refusals.entries(for: uid) {
      Words.appendWord("time", FieldText.seconds(entry.time / 1000), to: &text)
      Words.appendWord("uid", entry.uid, to: &text)
      Words.appendWord("pid", entry.pid, to: &text)
      Words.appendWord("job", entry.job, to: &text)
      Words.appendWord("error", ErrnoName.of(entry.refusal.errno), to: &text)
      Words.appendWord("column", entry.refusal.column, to: &text)
      Words.appendWord("text", entry.refusal.text, to: &text)
      Words.appendLine("record", entry.record, to: &text)
    }
    return text
  }

  static let readme: [UInt8] = Array(
    """
    kcopyfs: each directory in jobs/ is a copy from one disk or file to one or more others.

      echo 'from=/dev/sda to=/dev/sdb to=/dev/sdc' > jobs/nightly    start a copy
      cat jobs/nightly/progress                                      bytes done, bytes in all
      cat jobs/nightly/status                                        everything about it
      cat jobs/nightly/result                                        wait; ok, or the read fails with the error
      cat jobs/nightly/wait                                          wait; then everything about it
      cat jobs/nightly/dest/0/map                                    a ddrescue mapfile: + is on the disk, - failed, ? the rest
      echo cancel > jobs/nightly/ctl                                 end it; or pause, resume, rate=20M, priority=0
      echo retry > jobs/nightly/ctl                                  try what failed or was cancelled again: only what is lacking
      rmdir jobs/nightly                                             forget it, once it has ended
      { echo 'from=... to=...' >&3 && read -r id <&3; } 3<>submit    a number for a name; many records, a line each
      { echo 'from=... to=...' >&3 && cat <&3; } 3<>check            what it would come to; nothing is started
      cat errors                                                     why the last records were refused
      cat list                                                       a line per job
      cat events                                                     each change of state as it comes; it doesn't end
      cat stats; cat metrics                                         counters, for people and for monitoring
      mkdir clients/night && echo 20M > clients/night/rate           limits of its own for jobs with client=night

    A record is one line of key=value words:
      from=PATH[@START[+COUNT]]   what to read; START and COUNT are 0 or a number with a unit:
                                  s (512-byte sectors), B, K, M, G or T
      to=PATH[@START]             where to write, 1 to 64 times
      op=zero                     no source: each to=PATH@START+COUNT is filled with zeroes
      op=none                     no source, nothing written: done when all jobs before it are final
      errors=stop                 any error ends the job; ignore: unreadable sectors become zeroes and are listed in
                                  the map, bad areas come last; pause: wait for resume; drop: as usual, others go on
      retries=N                   try again what fails
      order=sequential            write each destination in ascending order
      rate=SIZE priority=N        bytes per second at most; 0 (first) to 9
      client=NAME                 whose memory and limits it uses
      create=yes                  make a destination that does not exist, as a regular file
      tail=zero                   fill the last block of a destination with zeroes
      sync=none                   do not flush at the end
      verify=yes                  read each destination back after its flush, and compare
      hash=sha256                 digest= in status: the sha256sum of the source, from the same pass
      sparse=yes                  holes and zeroes become holes, or ranges that the device zeroes by itself
      clone=no                    copy even where files could share their blocks
      domain=MAPFILE              only what a ddrescue mapfile marks +
      after=NAME,NAME             begin when those jobs are done; fail if one of them is not
      context='any text'          given back in status
      name=NAME mode=0750         in submit: the job's name and mode bits
    A value with other characters than A-Za-z0-9_./:@+,%- stands in single quotes.

    done means written and flushed on every destination. A destination that is mounted, used as swap or
    held is refused, and so is one that is too small, before a byte is written.
    A job outlives a crash, a power cut and a restart, and goes on where it was: only on the devices that it was on,
    else it is paused with its reason, and resume tries again.

    """.utf8)
}
