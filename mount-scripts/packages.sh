# Sourced by the other scripts: what they have in common. $program is the name that they speak under.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# A crashed Swift program would otherwise be held for minutes by the printing of its backtrace.
export SWIFT_BACKTRACE=enable=no

# What building takes: COMMAND:PACKAGE, or pc/NAME:PACKAGE for what pkg-config must find, or /PATH:PACKAGE for a file.
build_needs=(pkg-config:pkg-config pc/fuse3:libfuse3-dev pc/liburing:liburing-dev pc/sqlite3:libsqlite3-dev
  pc/libxxhash:libxxhash-dev git:git fusermount3:fuse3)

say() { echo "$program: $*"; }

fail() {
  echo "$program: $*" >&2
  exit 1
}

missing_packages() {
  local entry
  for entry in "$@"; do
    case $entry in
      pc/*)
        entry=${entry#pc/}
        pkg-config --exists "${entry%%:*}" 2>/dev/null || echo "${entry##*:}"
        ;;
      /*) [ -e "${entry%%:*}" ] || echo "${entry##*:}" ;;
      *) command -v "${entry%%:*}" >/dev/null || echo "${entry##*:}" ;;
    esac
  done | sort -u
}

# Installs the Debian packages that are missing, and says so.
install_missing() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || fail "missing, and there is no apt-get to install them: ${missing[*]}"
  [ "$(id -u)" = 0 ] || fail "missing, and only root can install them: ${missing[*]}"
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -eq 0 ] || fail "still missing after the installation: ${missing[*]}"
}

need_swift() {
  command -v swift >/dev/null || fail "swift is not in PATH; Swift 6.2 or later for Debian 12 is at swift.org/install"
}

need_root() { [ "$(id -u)" = 0 ] || fail "must run as root: it $1"; }

# Builds the daemon in release and sets $daemon to it; with $KCOPYFS_DAEMON set, takes that one.
build_daemon() {
  daemon=${KCOPYFS_DAEMON-}
  [ -z "$daemon" ] || return 0
  build_product kcopyfs
  daemon=$products/kcopyfs
}

# Builds a program in release and sets $products to the directory that it is in. Swift's own libraries go into the program: it
# runs where there is no Swift.
build_product() {
  need_swift
  say "building: swift build -c release --static-swift-stdlib --product $1"
  swift build --package-path "$root" -c release --static-swift-stdlib --product "$1"
  products=$(swift build --package-path "$root" -c release --show-bin-path)
}

# Builds a program in release with AddressSanitizer and what libFuzzer counts by, for the scripts that feed it with nonsense, and sets
# $products. They share one build.
build_with_address_sanitizer() {
  need_swift
  local build=(swift build --package-path "$root" --scratch-path "$root/.build-address" -c release --sanitize=address
    -Xswiftc -enable-testing -Xswiftc -sanitize-coverage=edge,indirect-calls,trace-cmp,inline-8bit-counters,pc-table)
  say "building with AddressSanitizer: $1"
  export KCOPYFS_FUZZ=1
  "${build[@]}" --product "$1"
  products=$("${build[@]}" --show-bin-path)
}
