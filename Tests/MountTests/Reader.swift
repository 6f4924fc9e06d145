import FaultKit
import Testing

/// A way to print the file `$F`; `$O` is a name for a file that it may write.
struct Reader: CustomTestStringConvertible, Sendable {
  let program: String
  let script: String
  var testDescription: String { "\(program): \(script)" }

  private static let whole = [
    "cat \"$F\"", "head -c 1000000 \"$F\"", "head -n 100000 \"$F\"", "tail -c +1 \"$F\"", "tail -c 1000000 \"$F\"", "tail -n +1 \"$F\"",
    "tail -n 100000 \"$F\"", "tac \"$F\" | tac", "grep '' \"$F\"", "sed '' \"$F\"", "mawk 1 \"$F\"", "gawk 1 \"$F\"", "cut -b 1- \"$F\"",
    "less \"$F\" | cat", "tee < \"$F\"", "sponge < \"$F\"", "gzip -c \"$F\" | gunzip", "base64 \"$F\" | base64 -d",
    "diff /dev/null \"$F\" | sed -n 's/^> //p'",
    "cp \"$F\" \"$O\" && cat \"$O\"", "cp -p \"$F\" \"$O\" && cat \"$O\"", "cp -a \"$F\" \"$O\" && cat \"$O\"",
    "cp --sparse=always --reflink=auto \"$F\" \"$O\" && cat \"$O\"", "install \"$F\" \"$O\" && cat \"$O\"",
    "dd if=\"$F\" status=none", "dd if=\"$F\" bs=1 status=none", "dd if=\"$F\" bs=4M iflag=direct status=none",
    "rsync \"$F\" \"$O\" && cat \"$O\"", "rsync -a --inplace \"$F\" \"$O\" && cat \"$O\"",
    "rsync -c --whole-file \"$F\" \"$O\" && cat \"$O\"",
    "tar -cf - -C \"${F%/*}\" \"${F##*/}\" | tar -xOf -", "busybox cat \"$F\"", "busybox cp \"$F\" \"$O\" && cat \"$O\"",
    "busybox tail -n +1 \"$F\"", "busybox dd if=\"$F\" bs=7 2> /dev/null", "printf ',p\\n' | ed -s \"$F\"",
    "vim -es -N -u NONE -i NONE -n -R -c \"w! $O\" -c q! \"$F\" < /dev/null && cat \"$O\"", "perl -pe 1 \"$F\"",
    "perl -e 'local $/; open(F, \"<\", $ENV{F}) or die; print <F>'", "perl -e 'print while sysread(STDIN, $_, 1)' < \"$F\"",
    "ruby -e 'print File.read(ENV[\"F\"])'", "ruby -e 'IO.copy_stream(ENV[\"F\"], $stdout)'",
    "node -e 'process.stdout.write(require(\"fs\").readFileSync(process.env.F))'",
    "node -e 'require(\"fs\").createReadStream(process.env.F).pipe(process.stdout)'",
    "node -e 'require(\"fs/promises\").readFile(process.env.F).then(t => process.stdout.write(t))'",
    "echo 'set f [open $env(F)]; fconfigure $f -translation binary; fconfigure stdout -translation binary; puts -nonewline [read $f]' "
      + "> \"$O\"; tclsh \"$O\"",
  ]

  private static let loops =
    SubmitClient.shells.map { Reader(program: $0, script: "while IFS= read -r line; do printf '%s\\n' \"$line\"; done < \"$F\"") }
    + ["bash", "zsh", "mksh"].map { Reader(program: $0, script: "printf '%s\\n' \"$(< \"$F\")\"") }
    + [Reader(program: "bash", script: "mapfile < \"$F\"; printf %s \"${MAPFILE[@]}\"")]

  private static let python = [
    "out.write(open(f, 'rb').read())", "out.writelines(open(f, 'rb'))", "out.write(pathlib.Path(f).read_bytes())",
    "shutil.copyfile(f, o); out.write(open(o, 'rb').read())", "shutil.copy2(f, o); out.write(open(o, 'rb').read())",
    "shutil.copyfileobj(open(f, 'rb', buffering=0), out, 5)", "out.write(mmap.mmap(os.open(f, 0), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)[:])",
    "fd = os.open(f, 0); out.write(b''.join(os.pread(fd, 1, i) for i in range(os.fstat(fd).st_size)))",
    "fd = os.open(f, 0); size = os.stat(f).st_size; assert os.sendfile(os.open(o, os.O_RDWR | os.O_CREAT), fd, 0, size) == size; "
      + "out.write(open(o, 'rb').read())",
    """
    r, w = os.pipe()
    fd = os.open(f, 0)
    while os.splice(fd, w, 16384): out.write(os.read(r, 65536))
    """,
    """
    fd = os.open(f, 0)
    first, rest = bytearray(10), bytearray(65536)
    count = os.preadv(fd, [first, rest], 0)
    out.write((first + rest)[:count])
    """,
  ]

  static let all = whole.map { Reader(program: "bash", script: $0) } + loops + python.map { Reader(program: "python3", script: $0) }

  func run(_ file: String, output: String) throws -> Outcome {
    if program == "python3" {
      let begin = "import mmap, os, pathlib, shutil, sys\nf, o = sys.argv[1:]\nout = sys.stdout.buffer\n"
      return try FaultKit.python(begin + script, file, output)
    }
    return try shell(script, with: program, environment: ["F": file, "O": output])
  }
}
